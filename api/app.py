"""The application: routes behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from api import assets, openapi
from api.assets import Assets
from api.auth import needs
from api.guard import Guard
from api.limits import STORE_THREADS, UPKEEP_SECONDS, WEBHOOK_LOOK_SECONDS
from api.problems import Problem, invalid
from api.routes import devices, health, jobs, keeping, lists, models, people, plan_views, plans, profiles, runs, session
from api.service import Service
from api.settings import ServiceSettings

_FOLDER = Path(__file__).parent
DASHBOARD = _FOLDER / "dashboard"
"""Files that are served at `/`."""


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service, on a database that is up to date (`api.store.migrate`)."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = STORE_THREADS
        tasks = [
            asyncio.create_task(service.solvers.warm_up()),
            asyncio.create_task(service.keep_up(service.upkeep.step, UPKEEP_SECONDS)),
        ]
        if service.webhook is not None:
            tasks.append(asyncio.create_task(service.keep_up(service.webhook.step, WEBHOOK_LOOK_SECONDS)))
        yield
        for task in tasks:
            task.cancel()
        await service.close()

    app = FastAPI(
        title=openapi.TITLE,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(Guard, service=service)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for part in (health, lists, models, profiles, plans, plan_views, devices, runs, jobs, session, keeping, people):
        app.include_router(part.router, dependencies=[] if part is health else [Depends(_known_query)])
    _add_pages(app)
    return app


def _add_pages(app: FastAPI) -> None:
    read = [Depends(needs("read"))]

    @app.get("/openapi.json", include_in_schema=False, dependencies=read)
    def description() -> dict[str, Any]:
        """The OpenAPI document."""
        if app.openapi_schema is None:
            app.openapi_schema = openapi.describe(app)
        return app.openapi_schema

    @app.get("/docs", include_in_schema=False, dependencies=read)
    def docs() -> FileResponse:
        """The page that shows it."""
        return FileResponse(_FOLDER / "pages" / "docs.html")

    version = assets.version_of(DASHBOARD)
    index = assets.first_page(DASHBOARD, version)

    @app.get("/", include_in_schema=False, dependencies=read)
    def dashboard(request: Request) -> Response:
        """The dashboard's first page."""
        return assets.page_answer(request, index)

    app.mount("/pages", Assets(_FOLDER / "pages"), name="pages")
    app.mount(f"/assets/{version}", Assets(DASHBOARD, is_versioned=True), name="assets")
    app.mount("/", Assets(DASHBOARD, html=True), name="dashboard")


async def _known_query(request: Request) -> None:
    """Refuse parameters that the route does not know: one that was misspelt would be taken for one left out."""
    route = request.scope["route"]
    if not request.query_params or not route.include_in_schema:
        return
    names = {field.alias for field in route.dependant.query_params}
    for name in request.query_params:
        if name not in names:
            known = ", ".join(sorted(names))
            raise invalid(f"query.{name[:60]}", f"is unknown here; {f'there is {known}' if known else 'there is none'}")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    """What FastAPI found wrong in path, query or headers."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    context = first.get("ctx", {})
    limits = [value for name, value in context.items() if name in ("le", "ge", "max_length") and type(value) is int]
    path = ".".join(str(step) for step in first["loc"])
    return invalid(path, str(first["msg"]), limits[0] if limits else None).response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: "not-found", 405: "method-not-allowed"}
    detail = str(error.detail)
    return Problem(error.status_code, kinds.get(error.status_code, "refused"), detail, headers=error.headers).response()

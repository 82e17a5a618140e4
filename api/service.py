"""Everything that the routes of one process share."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import limits
from api.bodies import BodyMeter
from api.known_models import KnownModels
from api.metrics import Metrics
from api.plan_cache import PlanCache
from api.problems import Problem, overloaded
from api.settings import ServiceSettings
from api.solving import SolverPool
from api.store import content
from api.store.database import Database
from api.store.runs import RunKey
from api.store.tables import plans
from api.store.writer import SampleWriter
from api.upkeep import Upkeep
from api.webhook import Webhook
from planner.system.files import free_bytes
from planner.units import format_bytes

_LOG = logging.getLogger("neuroflux.api")

_PAGES = Path(__file__).parent / "pages"

_KEPT = ("/v1/models", "/v1/profiles", "/v1/plans", "/v1/runs", "/v1/jobs")
"""What takes room."""

_REFUSED = (
    '<p role="alert">This is not the token of somebody who may read here. It may have been changed, or have ended.</p>'
)
_NONE_GIVEN = '<p role="alert">A token is needed.</p>'


class Bytes:
    """Documents that never change, the least used of which go when they take more than `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._items: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """The document, if it is here."""
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: str, value: bytes) -> None:
        """Keep a document."""
        if key in self._items:
            return
        self._items[key] = value
        self._held += len(value)
        while self._held > self._most:
            self._held -= len(self._items.popitem(last=False)[1])

    def remove(self, *keys: str) -> None:
        """Keep them no longer."""
        for key in keys:
            self._held -= len(self._items.pop(key, b""))


class Lane:
    """Requests being answered at one time: at most `most`, and at most `most_of_one` of one client."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """How many there are."""
        return self._held.total()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Hold a place. Raises Problem (503) where there is none."""
        if self.held >= self._most or self._held[client] >= self._most_of_one:
            raise overloaded("too many requests without a token are being answered")
        self._held[client] += 1
        try:
            yield
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]


class Changes:
    """Wakes the event streams of this process when a run has got something new, and when it is time to end."""

    def __init__(self) -> None:
        self._events: dict[int, asyncio.Event] = {}
        self.streams = 0
        self.are_over = False

    def notify(self, run: int) -> None:
        """A run has changed."""
        event = self._events.pop(run, None)
        if event is not None:
            event.set()

    def close(self) -> None:
        """End all streams: this process is about to."""
        self.are_over = True
        for run in list(self._events):
            self.notify(run)

    async def wait(self, run: int, seconds: float) -> None:
        """Until a run changes, or `seconds` have passed: another process may have changed it."""
        if self.are_over:
            return
        event = self._events.setdefault(run, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass


class Service:
    """The state of one process."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.database = Database(settings.database, is_patient=False)
        self.solvers = SolverPool(settings.solver_workers)
        self.models = KnownModels(self.database, self.solvers)
        self.metrics = Metrics()
        self.bodies = BodyMeter()
        self.changes = Changes()
        self.in_flight = 0
        self.open_lane = Lane(limits.MAX_WITHOUT_TOKEN, limits.MAX_WITHOUT_TOKEN_OF_ONE)
        self.plans = Bytes(limits.PLAN_CACHE_BYTES)
        self.plan_cache = PlanCache(limits.CACHED_PLANS)
        self.run_keys: OrderedDict[str, RunKey] = OrderedDict()
        self.upkeep = Upkeep(self.database, settings.keep_seconds, settings.quota_bytes)
        self.webhook = None if settings.webhook is None else Webhook(settings.webhook, self.database)
        self._looking: asyncio.Task[None] | None = None
        self._seen: dict[str, float] = {}
        self._found: OrderedDict[str, float] = OrderedDict()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is being answered. Raises Problem (503) where there are too many."""
        if self.in_flight >= limits.MAX_IN_FLIGHT:
            raise overloaded("too many requests are being answered")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count a request as an event stream instead."""
        self.in_flight -= 1
        self.changes.streams += 1
        try:
            yield
        finally:
            self.changes.streams -= 1
            self.in_flight += 1

    @cached_property
    def samples(self) -> SampleWriter:
        """The writer of samples; its thread starts with the first of them."""
        return SampleWriter(self.database)

    async def check_ready(self) -> None:
        """Raise an error where the database does not answer. Who asks meanwhile hears the same answer."""
        if self._looking is None:
            # A thread of its own, since those for requests may all be busy.
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _look(self) -> None:
        if self.database.file is not None:
            left = free_bytes(self.database.file.parent)
            if left < limits.LEAST_FREE_BYTES:
                raise Problem(503, "storage-full", f"{format_bytes(left)} are left for the database")
        with self.database.read() as connection:
            connection.execute(text("SELECT number FROM models LIMIT 1"))

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # whoever has asked may have gone

    async def keep_up(self, step: Callable[[], None], seconds: float) -> None:
        """Take a step every so many seconds, in a thread of its own. Whatever one step meets, there is a next one."""
        while True:
            try:
                await asyncio.to_thread(step)
            except Exception as error:
                _LOG.error("this service goes on after an error (%s)", type(error).__name__)
            await asyncio.sleep(seconds)

    def check_room(self, method: str, path: str) -> None:
        """Raise Problem (503) where something is to be kept and the database is beyond its quota."""
        if self.upkeep.is_full and method == "POST" and path.startswith(_KEPT):
            raise Problem(
                503,
                "storage-full",
                f"the database is beyond its quota of {format_bytes(self.settings.quota_bytes or 0)}; delete runs, or "
                "start the service with a larger --quota",
                headers={"Retry-After": str(limits.FULL_SECONDS)},
            )

    def is_news(self, device_id: str) -> bool:
        """Whether it is a while since this process has written down that a device was heard of."""
        now = time.monotonic()
        if now - self._seen.get(device_id, -math.inf) < limits.SEEN_SECONDS:
            return False
        self._seen[device_id] = now
        return True

    async def check_plan(self, plan_id: str) -> None:
        """Forget a plan that another process has deleted: from time to time it is looked whether it is there."""
        now = time.monotonic()
        if plan_id not in self._found or now - self._found[plan_id] < limits.DELETED_SECONDS:
            return
        if await run_in_threadpool(content.exists, self.database, plans, plan_id):
            self._found[plan_id] = now
        else:
            self.forget_plan(plan_id)

    def put_plan(self, plan_id: str, text: bytes) -> None:
        """Keep a plan that is in the database."""
        self.plans.put(plan_id, text)
        self._found[plan_id] = time.monotonic()
        while len(self._found) > limits.CACHED_PLANS:
            self._found.popitem(last=False)

    def forget_plan(self, plan_id: str) -> None:
        """One was deleted."""
        self.plans.remove(plan_id, f"frontier:{plan_id}", f"units:{plan_id}", f"peak:{plan_id}")
        self._found.pop(plan_id, None)

    def forget_run(self, run_id: str) -> None:
        """One was deleted."""
        key = self.run_keys.pop(run_id, None)
        if key is not None:
            self.changes.notify(key.number)

    def sign_in_page(self, root_path: str, refused: str | None = None) -> Response:
        """Where a browser hands in its token: a form, no script. `refused` is the token that was not taken."""
        words = "" if refused is None else _REFUSED if refused else _NONE_GIVEN
        text = (_PAGES / "sign_in.html").read_text()
        return Response(text.replace("{root}", root_path).replace("{refused}", words), 401, media_type="text/html")

    async def close(self) -> None:
        """End what was started."""
        if "samples" in self.__dict__:
            await asyncio.to_thread(self.samples.close)
        await self.solvers.close()
        self.database.close()

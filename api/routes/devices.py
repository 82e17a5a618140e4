"""Devices: enrolment by a token that is good once, then a token of the device's own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import bodies
from api.auth import needs, unauthorized
from api.problems import not_found
from api.routes.common import (
    BODY_PROBLEMS,
    DEFAULT_LIMIT,
    Archived,
    Cursor,
    Label,
    Limit,
    from_cursor,
    gives,
    json_answer,
    known,
    page_answer,
    reads,
    service_of,
    takes,
)
from api.schemas.requests import DeviceRequest, EnrolmentRequest
from api.schemas.responses import DeviceItem, DevicePage, EnrolledDevice, Enrolment, EnrolmentPage
from api.service import Service
from api.store import device_rows, marks, removal, tokens
from api.store.content import timestamp
from api.store.database import now_ms
from api.store.tables import devices
from api.store.tokens import Principal
from planner.system.machine import fingerprint

router = APIRouter(prefix="/v1", tags=["devices"])

_MACHINE = {
    "name": "Raspberry Pi 5 Model B",
    "architecture": "aarch64",
    "cpu_model": "Cortex-A76",
    "cores": 4,
    "isa": ["asimd", "neon"],
    "total_bytes": 8589934592,
    "available_bytes": 7516192768,
    "limit_bytes": None,
    "swap_bytes": 0,
    "allocator": "glibc",
    "kernel": "6.6.31",
    "python_version": "3.11.2",
    "torch_version": "2.13.0",
    "unified_memory": False,
}


@router.post(
    "/enrolments",
    operation_id="create_enrolment",
    openapi_extra=takes(EnrolmentRequest, {"seconds": 900}),
    responses=gives({201: ("The token, shown this once", Enrolment)}, BODY_PROBLEMS),
    dependencies=[Depends(needs("admin"))],
)
async def create_enrolment(request: Request) -> Response:
    """Let one device enrol: a token that is good once, for a short time."""
    asked = await bodies.read(request, EnrolmentRequest)
    return await run_in_threadpool(_create_enrolment, service_of(request), asked)


def _create_enrolment(service: Service, asked: EnrolmentRequest) -> Response:
    token = tokens.new_token()
    with service.database.write() as connection:
        identity = tokens.add(connection, token, "enrolment", seconds=asked.seconds)
    expires = timestamp(now_ms() + asked.seconds * 1000)
    return json_answer({"id": identity, "token": token, "expires_at": expires}, HTTPStatus.CREATED)


@router.get("/enrolments", **reads("list_enrolments", "A page of enrolments", EnrolmentPage, scope="admin"))
def list_enrolments(request: Request, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> Response:
    """Tokens for enrolment that nobody has used yet, newest first; not the tokens themselves."""
    return page_answer(tokens.page(service_of(request).database, ("enrolment",), from_cursor(cursor), limit))


@router.delete(
    "/enrolments/{enrolment_id}",
    operation_id="end_enrolment",
    status_code=204,
    responses=gives({204: ("Its token is worthless", None)}, (404,)),
    dependencies=[Depends(needs("admin"))],
)
def end_enrolment(request: Request, enrolment_id: Annotated[str, Path(max_length=64)]) -> Response:
    """Take an enrolment back that nobody has used yet."""
    if not tokens.end(service_of(request).database, ("enrolment",), enrolment_id):
        raise not_found(f"open enrolment {enrolment_id}")
    return Response(status_code=204)


@router.post(
    "/devices",
    operation_id="enrol_device",
    openapi_extra=takes(DeviceRequest, {"name": "bench-3", "machine": _MACHINE, "threads": 4}),
    responses=gives({201: ("Enrolled; the token is shown this once", EnrolledDevice)}, BODY_PROBLEMS),
)
async def enrol_device(request: Request, principal: Annotated[Principal, Depends(needs("enrol"))]) -> Response:
    """Enrol a device (`neuroflux enroll` does it), authenticated by an enrolment token, which is spent by it. One that
    shows a token of its own from before is the same device again: its profiles and runs are still its own.
    """
    asked = await bodies.read(request, DeviceRequest)
    return await run_in_threadpool(_enrol, service_of(request), principal, asked)


def _enrol(service: Service, principal: Principal, asked: DeviceRequest) -> Response:
    token = tokens.new_token()
    earlier = None if asked.earlier_token is None else tokens.device_of(service.database, asked.earlier_token)
    identity = earlier or tokens.new_id()
    machine = asked.machine
    identifies = fingerprint(machine, machine.torch_version, asked.threads)
    with service.database.write() as connection:
        if principal.kind == "enrolment" and not tokens.use_up(connection, principal.token_id):
            raise unauthorized()
        if earlier is None:
            device_rows.add(connection, identity, "device", asked.name, identifies, machine)
        else:
            tokens.revoke(connection, device_id=identity)
            device_rows.renew(connection, identity, asked.name, identifies, machine)
        tokens.add(connection, token, "device", identity)
    found = device_rows.one(service.database, identity)
    headers = {"Location": f"/v1/devices/{identity}"}
    return json_answer({"device": found, "token": token}, HTTPStatus.CREATED, headers)


@router.get("/devices", **reads("list_devices", "A page of devices", DevicePage))
def list_devices(
    request: Request,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
    archived: Archived = False,
    label: Label = None,
) -> Response:
    """Devices, newest first."""
    shown = marks.are_shown(devices, archived, label)
    return page_answer(device_rows.page(service_of(request).database, from_cursor(cursor), limit, shown))


@router.get("/devices/{device_id}", **reads("get_device", "The device", DeviceItem, 404))
def get_device(request: Request, device_id: Annotated[str, Path(max_length=64)]) -> Response:
    """A device."""
    found = device_rows.one(service_of(request).database, device_id)
    return json_answer(known(found, f"device {device_id}"))


@router.delete(
    "/devices/{device_id}",
    operation_id="revoke_device",
    status_code=204,
    responses=gives({204: ("Its tokens are worthless", None)}, (404,)),
    dependencies=[Depends(needs("admin"))],
)
def revoke_device(
    request: Request,
    device_id: Annotated[str, Path(max_length=64)],
    purge: Annotated[bool, Query(description="Delete it, with the profiles that it alone has sent")] = False,
) -> Response:
    """Revoke a device's tokens; what it uploaded stays. With `purge` the device is deleted, revoked or not: its runs
    stay, and are no device's.
    """
    database = service_of(request).database
    if not (removal.remove_device if purge else tokens.revoke_device)(database, device_id):
        raise not_found(f"enrolled device {device_id}")
    return Response(status_code=204)

"""Runs, plans, models and devices that are deleted, with all that nothing else speaks of."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import and_, delete, func, select, update

from api.store import profile_rows
from api.store.database import Database
from api.store.tables import devices, idempotency, models, plan_requests, plans, profile_owners, runs, samples, tokens

SAMPLES_AT_ONCE = 20_000
"""Rows of one transaction: others write in between."""


def remove_run(database: Database, identity: str) -> bool:
    """Delete a run, its report and its samples; False where there is none. One that is cut short is done again."""
    with database.read() as connection:
        number = connection.execute(select(runs.c.number).where(runs.c.id == identity)).scalar()
    if number is None:
        return False
    remove_samples(database, number)
    with database.write() as connection:
        connection.execute(delete(samples).where(samples.c.run == number))  # what has come meanwhile
        connection.execute(delete(idempotency).where(idempotency.c.resource_id == identity))
        return bool(connection.execute(delete(runs).where(runs.c.number == number)).rowcount)


def remove_samples(database: Database, run: int) -> None:
    """Delete a run's samples, some at a time."""
    while True:
        with database.write(is_patient=True) as connection:
            of_run = select(samples.c.sequence).where(samples.c.run == run).order_by(samples.c.sequence)
            last = connection.execute(of_run.offset(SAMPLES_AT_ONCE).limit(1)).scalar()
            if last is None:
                connection.execute(delete(samples).where(samples.c.run == run))
                return
            connection.execute(delete(samples).where(and_(samples.c.run == run, samples.c.sequence < last)))


def runs_of_plan(database: Database, identity: str) -> list[str]:
    """Ids of the runs that execute a plan."""
    with database.read() as connection:
        return list(connection.execute(select(runs.c.id).where(runs.c.plan_id == identity)).scalars())


def remove_plan(database: Database, identity: str) -> bool | int:
    """Delete a plan that no run executes; False where there is none, and else how many runs there are."""
    with database.write() as connection:
        executed = select(func.count()).select_from(runs).where(runs.c.plan_id == identity)
        count = connection.execute(executed).scalar_one()
        if count:
            return int(count)
        connection.execute(delete(plan_requests).where(plan_requests.c.plan_id == identity))
        return bool(connection.execute(delete(plans).where(plans.c.id == identity)).rowcount)


def remove_model(database: Database, identity: str) -> bool:
    """Delete a stored description; profiles and plans hold their own."""
    with database.write() as connection:
        return bool(connection.execute(delete(models).where(models.c.id == identity)).rowcount)


def remove_device(database: Database, identity: str) -> bool:
    """Delete an enrolled device with its tokens and the profiles that it alone has sent; False where there is none.

    Its runs stay, and are nobody's.
    """
    owned = select(profile_owners.c.profile_id).where(profile_owners.c.owner == identity)
    with database.write() as connection:
        known = select(devices.c.id).where(devices.c.id == identity, devices.c.kind == "device")
        if connection.execute(known).first() is None:
            return False
        for profile_id in connection.execute(owned).scalars().all():
            profile_rows.take_away(connection, profile_id, identity)
        connection.execute(delete(tokens).where(tokens.c.device_id == identity))
        ended = {"state": "interrupted", "reason": b"the device was deleted"}
        unfinished = and_(runs.c.device_id == identity, runs.c.state.in_(("queued", "running")))
        connection.execute(update(runs).where(unfinished).values(**ended))
        connection.execute(update(runs).where(runs.c.device_id == identity).values(device_id=None))
        return bool(connection.execute(delete(devices).where(devices.c.id == identity)).rowcount)


def remove(database: Database, kind: str, identity: str) -> bool | int:
    """Delete a thing of any kind; False where there is none, a number where so many runs execute the plan."""
    if kind == "profiles":
        return profile_rows.remove(database, identity, None)
    by_kind: dict[str, Callable[[Database, str], bool | int]] = {
        "runs": remove_run,
        "plans": remove_plan,
        "models": remove_model,
        "devices": remove_device,
    }
    return by_kind[kind](database, identity)

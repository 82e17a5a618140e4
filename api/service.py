"""Everything that the routes of one process share."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

from starlette.responses import Response

from api import limits
from api.bodies import BodyMeter
from api.metrics import Metrics
from api.plan_cache import PlanCache
from api.settings import ServiceSettings
from api.solving import SolverPool
from api.store.database import Database
from api.store.runs import RunKey
from api.store.writer import SampleWriter

_PAGES = Path(__file__).parent / "pages"


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


class Changes:
    """Wakes the event streams of this process when a run has got something new."""

    def __init__(self) -> None:
        self._events: dict[int, asyncio.Event] = {}
        self.streams = 0

    def notify(self, run: int) -> None:
        """A run has changed."""
        event = self._events.pop(run, None)
        if event is not None:
            event.set()

    async def wait(self, run: int, seconds: float) -> None:
        """Until a run changes, or `seconds` have passed: another process may have changed it."""
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
        self.database = Database(settings.database)
        self.solvers = SolverPool(settings.solver_workers)
        self.metrics = Metrics()
        self.bodies = BodyMeter()
        self.changes = Changes()
        self.in_flight = 0
        self.plans = Bytes(limits.PLAN_CACHE_BYTES)
        self.plan_cache = PlanCache(limits.CACHED_PLANS)
        self.run_keys: OrderedDict[str, RunKey] = OrderedDict()
        self._seen: dict[str, float] = {}

    @cached_property
    def samples(self) -> SampleWriter:
        """The writer of samples; its thread starts with the first of them."""
        return SampleWriter(self.database)

    def is_news(self, device_id: str) -> bool:
        """Whether it is a while since this process has written down that a device was heard of."""
        now = time.monotonic()
        if now - self._seen.get(device_id, -math.inf) < limits.SEEN_SECONDS:
            return False
        self._seen[device_id] = now
        return True

    def sign_in_page(self) -> Response:
        """Where a browser hands in its token: a form, no script."""
        return Response((_PAGES / "sign_in.html").read_bytes(), 401, media_type="text/html")

    async def close(self) -> None:
        """End what was started."""
        if "samples" in self.__dict__:
            await asyncio.to_thread(self.samples.close)
        await self.solvers.close()
        self.database.close()

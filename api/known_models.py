"""Models that requests mean. They are read by a solver's process, for a long description takes seconds: here is what is
known of them, and their text."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from api.limits import KNOWN_MODELS
from api.model_facts import ModelFacts
from api.problems import Problem, from_error, overloaded
from api.solving import SolverPool
from api.store import content
from api.store.database import Database
from api.store.tables import models
from planner.errors import DocumentError
from planner.model.zoo import ZOO, nearest
from planner.schema.codec import decode


@dataclass(frozen=True)
class KnownModel:
    """A model that was read."""

    facts: ModelFacts
    """What is known of it."""
    row: dict[str, Any]
    """As it is kept."""

    @property
    def body(self) -> bytes:
        """Its description."""
        text: str = self.row["body"]
        return text.encode()


class KnownModels:
    """The models that were asked for last."""

    def __init__(self, database: Database, solvers: SolverPool) -> None:
        self._database = database
        self._solvers = solvers
        self._known: OrderedDict[str, KnownModel] = OrderedDict()
        self._zoo: tuple[dict[str, Any], ...] | None = None

    async def of(self, value: Any, field: str) -> KnownModel:
        """The model that a request means: a zoo name, the id of a stored one, or a description. Raises Problem."""
        if not isinstance(value, str) or value in ZOO:
            text = json.dumps(value).encode()
            return await self._read(hashlib.sha256(text).hexdigest(), text, field)
        if content.is_id(value):
            found = await self.stored(value)
            if found is not None:
                return found
        words = f"{value[:60]!r} is neither in the zoo ({nearest(value)}) nor the id of a stored model"
        raise from_error(DocumentError(field, words))

    async def stored(self, identity: str) -> KnownModel | None:
        """A model that was stored."""
        if identity in self._known:
            return self._known[identity]
        body = await run_in_threadpool(content.body, self._database, models, identity)
        return None if body is None else await self._read(identity, body, "$")

    def forget(self, identity: str) -> None:
        """One was deleted."""
        self._known.pop(identity, None)

    async def _read(self, key: str, text: bytes, field: str) -> KnownModel:
        found = self._known.get(key)
        if found is None:
            answer = await self._solvers.read_model(text, field)
            found = KnownModel(decode(ModelFacts, answer["facts"]), answer["row"])
            self._known[key] = found
            while len(self._known) > KNOWN_MODELS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found

    async def zoo(self) -> tuple[dict[str, Any], ...]:
        """The zoo's models, as a list shows them."""
        if self._zoo is None:
            try:
                self._zoo = tuple(await self._solvers.list_zoo())
            except Problem as problem:  # nothing in the request is to blame
                raise overloaded(f"the zoo cannot be listed now: {problem.detail}") from None
        return self._zoo

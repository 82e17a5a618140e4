"""Which plan answered a request, by the request's text: one that is sent again is not read again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from api.store.profile_rows import ProfileKey


@dataclass(frozen=True)
class CachedPlan:
    """What is known of a request. Plans, profiles and models never change, so it is true as long as its profile is the
    one to be taken."""

    plan_id: str
    """The plan."""
    profile_id: str
    """The profile that it was made from."""
    subject: ProfileKey | None
    """What the profile was found by, to be looked up again; none: the request named the profile."""


class PlanCache:
    """The newest requests that got a plan, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: OrderedDict[bytes, CachedPlan] = OrderedDict()

    def get(self, text: bytes) -> CachedPlan | None:
        """What an equal text got."""
        key = _key(text)
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, text: bytes, answered: CachedPlan) -> None:
        """Remember it, in place of what was remembered of this text."""
        key = _key(text)
        self._items[key] = answered
        self._items.move_to_end(key)
        if len(self._items) > self._most:
            self._items.popitem(last=False)


def _key(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()

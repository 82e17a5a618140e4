"""The order of samples: a permutation that is a function of (seed, stream, index), kept in no memory.

Samples of a data set are drawn one by one. Those of a cache come in short runs of neighbours, because slow storage
reads a run in the time of one record; the cache was written in drawn order, so that neighbours there are strangers.

A four-round Feistel network over the next power of four, walked until it lands inside the range (Black and Rogaway,
2002, "cycle walking"): O(1) memory for any number of samples, where a shuffled index list would cost 8 bytes a sample.
"""

from __future__ import annotations

import hashlib

_ROUNDS = 4
_MASK = 2**64 - 1


class FeistelPermutation:
    """A permutation of `range(count)`; equal arguments give the same one on every machine."""

    def __init__(self, count: int, *key: int) -> None:
        self.count = count
        self._half_bits = max(1, ((count - 1).bit_length() + 1) // 2)
        self._half_mask = (1 << self._half_bits) - 1
        digest = hashlib.sha256(",".join(str(part) for part in key).encode()).digest()
        self._keys = [int.from_bytes(digest[8 * part : 8 * part + 8], "little") for part in range(_ROUNDS)]

    def __getitem__(self, index: int) -> int:
        """Where `index` goes."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        value = self._round_trip(index)
        while value >= self.count:
            value = self._round_trip(value)
        return value

    def _round_trip(self, value: int) -> int:
        left, right = value >> self._half_bits, value & self._half_mask
        for key in self._keys:
            left, right = right, left ^ self._mix(right ^ key)
        return (left << self._half_bits) | right

    def _mix(self, value: int) -> int:
        # The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
        value = (value & _MASK) * 0xBF58476D1CE4E5B9 & _MASK
        value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
        return (value ^ value >> 31) & self._half_mask


class RunPermutation:
    """A permutation of `range(count)` that keeps runs of `run` neighbours together; where runs begin moves with `key`.

    What `count` leaves over is a shorter run at the end.
    """

    def __init__(self, count: int, run: int, *key: int) -> None:
        self.count = count
        self._run = run
        self._whole = count // run
        self._runs = FeistelPermutation(max(1, self._whole), *key)
        self._shift = FeistelPermutation(count, *key, run)[0]

    def __getitem__(self, index: int) -> int:
        """Where `index` goes."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        number, offset = divmod(index, self._run)
        if number < self._whole:
            number = self._runs[number]
        return (number * self._run + offset + self._shift) % self.count

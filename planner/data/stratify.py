"""Which samples are held out: a tenth of every class, drawn by seed. Where a sample stands in a file decides nothing.

Each class is drawn from by selection sampling (Knuth, The Art of Computer Programming 2, section 3.4.2, algorithm S):
samples come one by one, exactly the wanted number is taken, every choice of so many is equally likely, and no more
than three numbers for each class are in memory, however many samples there are.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence

from planner.schema.data import PartName

HELD_OUT_EVERY = 10
"""Of a set without a test part a tenth is kept from training and tested on; another tenth may choose an exit."""


def held_out_counts(counts: Sequence[int], from_every_class: bool) -> array[int]:
    """Of so many samples by class, how many of each are held out: a tenth of all, by largest remainder.

    A class keeps at least one. With `from_every_class` one that has two gives at least one, so that what is tested on
    has every class that it can have.
    """
    wanted = sum(counts) // HELD_OUT_EVERY
    shares = array("Q", (count // HELD_OUT_EVERY for count in counts))
    left = wanted - sum(shares)
    largest_first = sorted(range(len(counts)), key=lambda label: (-(counts[label] % HELD_OUT_EVERY), label))
    for label in largest_first[:left]:
        shares[label] += 1
    for label, count in enumerate(counts):
        least = 1 if from_every_class and count > 1 else 0
        shares[label] = min(max(shares[label], least), max(0, count - 1))
    return shares


class Draw:
    """Says of training samples, one by one in the order of the files, to which part they go."""

    def __init__(self, counts: Sequence[int], test: bool, validation: bool, seed: int) -> None:
        """`counts` are the samples of each class; `test` and `validation` say which parts are drawn from them."""
        nothing = array("Q", bytes(8 * len(counts)))
        self._seed = seed
        self._counts = array("Q", counts)
        self.test = held_out_counts(counts, from_every_class=True) if test else nothing
        """Samples of each class that are tested on."""
        rest = [count - taken for count, taken in zip(counts, self.test, strict=True)]
        self.validation = held_out_counts(rest, from_every_class=False) if validation else nothing
        """Samples of each class that an exit is chosen by."""

    def parts(self, labels: Iterable[int]) -> Iterator[PartName]:
        """The part of every sample; `labels` are those of all samples in order."""
        left, test, validation = self._counts[:], self.test[:], self.validation[:]
        for label in labels:
            drawn = self._drawn(label, left[label])
            left[label] -= 1
            if drawn < test[label]:
                test[label] -= 1
                yield "test"
            elif drawn < test[label] + validation[label]:
                validation[label] -= 1
                yield "validation"
            else:
                yield "train"

    def _drawn(self, label: int, left: int) -> int:
        """A number below `left`: a function of seed, class and how many of the class are left."""
        digest = hashlib.sha256(f"{self._seed} held out {label} {left}".encode()).digest()
        return int.from_bytes(digest[:8], "little") % left

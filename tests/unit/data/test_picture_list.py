"""However many names a folder has, they come back in order, and few of them are in memory."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.data.picture_list import PictureList
from planner.data.pictures_found import PicturesFound
from planner.data.stored_names import sorted_names
from planner.units import MIB
from tests.unit.data.support import random_images, write_image

NAMES = st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: b"\0" not in name), max_size=60)


@given(NAMES, st.integers(1, 70))
def test_names_come_in_order_however_few_are_sorted_at_once(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], at_once: int
) -> None:
    place = tmp_path_factory.getbasetemp()
    assert list(sorted_names(iter(names), place, at_once)) == sorted(names)


def test_names_longer_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    chance = random.Random(3)
    names = [bytes(chance.randrange(1, 256) for _ in range(chance.randrange(250))) + b"." for _ in range(2000)]
    assert list(sorted_names(iter(names), tmp_path, 700)) == sorted(names)
    assert list(tmp_path.iterdir()) == []


def test_every_image_is_found_again_by_its_number(tmp_path: Path) -> None:
    images = random_images(3, 2, 2)
    for name in "ba":
        for number in range(150):  # several pieces of the list
            path = tmp_path / "set" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if number < 3:
                write_image(path, images[number])
            else:
                path.hardlink_to(path.with_name("0.png"))
    with ExitStack() as resources:
        found = PicturesFound()
        listed = PictureList(tmp_path / "set", ["a", "b"], tmp_path / "work", resources, found)
        right = [(tmp_path / "set" / name / f"{number}.png", label)
                 for label, name in enumerate("ab") for number in sorted(range(150), key=str)]  # fmt: skip
        assert [listed.at(index) for index in range(listed.count)] == right
        assert list(listed.labels()) == [label for _, label in right]
        assert listed.count == found.count == 300


GROWTH = """
import sys
from pathlib import Path
from planner.data.stored_names import sorted_names
from planner.system.proc import read_memory, reset_peak

def names(count):
    return (b"picture-%09d.png" % (number * 7919 % count) for number in range(count))

for _ in sorted_names(names(40_000), Path(sys.argv[1])):
    pass
reset_peak()
before = read_memory().resident_bytes
last = b""
for name in sorted_names(names(400_000), Path(sys.argv[1])):
    assert name > last
    last = name
print(read_memory().peak_bytes - before)
"""


def test_memory_does_not_grow_with_the_names_of_a_folder(tmp_path: Path) -> None:
    """400,000 names are 22 MB of Python's objects, and a list of 3."""
    done = subprocess.run([sys.executable, "-c", GROWTH, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 6 * MIB

from __future__ import annotations

from dataclasses import replace

from planner.report.data_tables import data_table, data_text
from planner.report.text import DASH
from planner.schema.data import DataDescription, DataPart

DATA = DataDescription(
    "data/1", "set", "folder", (3, 4, 5), 3, ("ant", "b\x1b[0m", "cat"),
    (DataPart("train", 1800, (600, 600, 600)), DataPart("validation", 6, (2, 2, 2)), DataPart("test", 9, (3, 3, 3))),
    ("validation",), 0, "d" * 64, "c" * 64, ("left out: 2 files (2 .txt)",),
)  # fmt: skip


def test_a_data_set_in_some_lines() -> None:
    assert data_text(DATA).splitlines() == [
        "set: 1,815 images of 3×4×5 in 3 classes ('ant', 'b\\x1b[0m', 'cat')",
        "  1,800 to train on, 6 to choose an exit by (held out of the training part), 9 to test on",
        "  note: left out: 2 files (2 .txt)",
    ]


def test_masks_are_shown_by_the_pixels_of_each_class() -> None:
    masks = replace(DATA, layout="masks", labels="mask", class_pixels=(900, 75, 25), ignored_pixels=1234)
    shown = data_table(masks, 2048, ("", 0)).splitlines()
    assert shown[-6].split() == ["label", "class", "pixels", "share"]
    assert shown[-4].split() == ["0", "ant", "900", "90.0%"]
    assert shown[-1].split() == [DASH, "ignored", "1,234", DASH]
    assert any("folders of images with masks" in line for line in shown)


def test_a_data_set_as_a_table_holds_nothing_that_moves_a_cursor() -> None:
    shown = data_table(DATA, 2048, ("/a/big.png", 3 * 2**20))
    assert "\x1b" not in shown
    for words in ("2.0 KiB in a run's folder", "at most about 3.0 MiB (/a/big.png)", "    0  ant      600"):
        assert words in shown

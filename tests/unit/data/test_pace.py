from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from planner.data import pace
from planner.data.pace import Pace, Progress
from planner.data.prepare import Wanted, prepare_in_child
from planner.tasks.kinds import CLASSIFICATION
from tests.unit.data.discs import save


def test_every_step_is_told_where_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_EVERY_SECONDS", 0.0)
    told: list[Progress] = []
    found = Pace(told.append)
    found.step()
    found.begin("writing", 2)
    found.step()
    found.step()
    assert told == [Progress("finding", 1, None), Progress("writing", 1, 2), Progress("writing", 2, 2)]


def test_not_every_step_is_told() -> None:
    told: list[Progress] = []
    found = Pace(told.append)
    for _ in range(1000):
        found.step()
    assert len(told) < 100
    Pace().step()  # nobody listens


def test_the_preparing_process_tells_how_far_it_is(tmp_path: Path) -> None:
    """Pictures that take so long to decode that it is told several times."""
    save(tmp_path / "set" / "a" / "0.png", Image.effect_noise((1500, 1500), 90))
    for name in "ab":
        (tmp_path / "set" / name).mkdir(exist_ok=True)
        for number in range(1, 21):
            (tmp_path / "set" / name / f"{number}.png").hardlink_to(tmp_path / "set" / "a" / "0.png")
    wanted = Wanted(str(tmp_path / "set"), str(tmp_path / "work"), (1, 32, 32), 2, "the model", CLASSIFICATION, 0)
    told: list[Progress] = []
    found = prepare_in_child(wanted, told.append)
    written = [each.done for each in told if each.doing == "writing"]
    assert written and written == sorted(set(written))
    assert {each.total for each in told if each.doing == "writing"} == {41}
    assert sum(part.samples for part in found.description.parts) == 41
    assert replace(found, peak_bytes=0, reused=True) == replace(
        prepare_in_child(wanted), peak_bytes=0
    )  # nobody listens

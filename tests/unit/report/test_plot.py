from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

from planner.errors import InputError, StorageError
from planner.report.plot import draw_memory, make_figure
from planner.report.read import MemorySample, RunRecord
from tests.unit.report.documents import (
    LINES,
    PLAN,
    POLISHED,
    POLISHED_REPORT,
    REPORT,
    block,
    line,
    make_model,
    make_plan,
)

MIB = 2**20
SAMPLES = tuple(MemorySample(**value) for value in LINES)
RECORD = RunRecord(PLAN, replace(REPORT, seconds=10.0), SAMPLES)


def texts(path: Path) -> str:
    """Everything the picture says, as one string."""
    return "\n".join("".join(element.itertext()) for element in ElementTree.parse(path).iter() if element.text)


def named(*names: str) -> RunRecord:
    """The record with units of these five names."""
    model = make_model(names)
    return replace(RECORD, plan=make_plan(model, (block(0, (1, 3), (8, 24), 16), block(3, (5,), (None,), 32))))


def numbers(values: object) -> list[float]:
    assert isinstance(values, Iterable)
    return [float(value) for value in values]


def lines_of(figure: Figure, label: str) -> list[tuple[list[float], list[float]]]:
    """x and y of every curve drawn as the legend's `label`."""
    curves = figure.axes[0].get_lines()
    look = next(
        (line.get_color(), line.get_linestyle(), line.get_linewidth()) for line in curves if line.get_label() == label
    )
    alike = [line for line in curves if (line.get_color(), line.get_linestyle(), line.get_linewidth()) == look]
    return [(numbers(line.get_xdata()), numbers(line.get_ydata())) for line in alike]


def test_the_picture_names_budget_blocks_and_curves(tmp_path: Path) -> None:
    draw_memory(RECORD, tmp_path / "memory.svg")
    said = texts(tmp_path / "memory.svg")
    assert "budget 267.0 MiB" in said
    assert "peak 260.0 MiB" in said
    for text in ("block 0, units 0–2", "alpha..gamma", "block 1, units 3–4", "delta..omega", "time (s)", "small-net"):
        assert text in said
    for text in ("resident after a step", "peak of a step", "predicted peak of a block"):
        assert text in said


def test_curves_are_the_records_numbers_in_mib() -> None:
    figure = make_figure(RECORD)
    assert lines_of(figure, "resident after a step") == [
        ([1.0, 2.0], [200_000_000 / MIB, 200_000_000 / MIB]),
        ([5.5], [210_000_000 / MIB]),
    ]
    assert lines_of(figure, "peak of a step") == [
        ([1.0, 2.0], [250_000_000 / MIB, 251_000_000 / MIB]),
        ([5.5], [250_000_000 / MIB]),
    ]
    assert lines_of(figure, "predicted peak of a block") == [
        ([1.0, 5.5], [255_000_000 / MIB] * 2),
        ([5.5, 10.0], [271_000_000 / MIB] * 2),
    ]
    assert lines_of(figure, "peak of a block, all phases") == [
        ([1.0, 5.5], [260_100_000 / MIB] * 2),
        ([5.5, 10.0], [268_290_000 / MIB] * 2),
    ]


def test_the_axis_begins_at_zero_and_holds_budget_and_peaks() -> None:
    high = replace(SAMPLES[0], peak_bytes=900 * MIB)
    for record, highest in ((RECORD, 280_000_000 / MIB), (replace(RECORD, samples=(high, *SAMPLES)), 900)):
        low, top = make_figure(record).axes[0].get_ylim()
        assert low == 0
        assert highest < top < highest * 1.2
    budget = [line for line in make_figure(RECORD).axes[0].get_lines() if line.get_linestyle() == "--"]
    assert [numbers(line.get_ydata()) for line in budget] == [[280_000_000 / MIB] * 2]


def test_long_runs_count_minutes() -> None:
    figure = make_figure(replace(RECORD, report=replace(REPORT, seconds=600.0)))
    assert figure.axes[0].get_xlabel() == "time (min)"
    assert figure.axes[0].get_xlim() == (0, 10)
    assert lines_of(figure, "resident after a step")[0][0] == [1 / 60, 2 / 60]


def test_ten_thousand_steps_keep_their_peak_in_a_small_picture(tmp_path: Path) -> None:
    many = tuple(MemorySample(0.01 * step, 0, 0, step, MIB, (2 + step % 7) * MIB, 1.0) for step in range(10_000))
    record = replace(RECORD, samples=(*many[:5000], replace(many[5000], peak_bytes=260 * MIB), *many[5001:]))
    peaks = lines_of(make_figure(record), "peak of a step")[0][1]
    assert max(peaks) == 260
    assert 500 <= len(peaks) <= 2000
    draw_memory(record, tmp_path / "memory.svg")
    assert (tmp_path / "memory.svg").stat().st_size < 300_000


@pytest.mark.parametrize("name", ["<script>x</script>", "a&b", "$\\frac$", '"quoted"', "日本", "]]>", "_hidden"])
def test_names_are_shown_as_text(tmp_path: Path, name: str) -> None:
    draw_memory(named(name, "b", "c", "d", "e"), tmp_path / "memory.svg")
    assert f"{name}..c" in texts(tmp_path / "memory.svg")
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "memory.svg").iter()}
    assert "script" not in tags


def test_control_characters_of_names_do_not_reach_the_file(tmp_path: Path) -> None:
    draw_memory(named("a\x1b[31m", "b", "c", "\x00\ufffe", "e"), tmp_path / "memory.svg")
    assert "a\ufffd[31m..c" in texts(tmp_path / "memory.svg")


def test_narrow_blocks_are_named_as_well(tmp_path: Path) -> None:
    late = replace(RECORD, samples=(SAMPLES[0], replace(SAMPLES[2], seconds=1.4)))
    draw_memory(late, tmp_path / "memory.svg")
    assert "0: alpha..gamma" in texts(tmp_path / "memory.svg")


def test_the_same_record_gives_the_same_bytes_whatever_is_configured(tmp_path: Path) -> None:
    draw_memory(RECORD, tmp_path / "one.svg")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        draw_memory(RECORD, tmp_path / "two.svg")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_a_run_without_steps_has_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no step is recorded"):
        draw_memory(replace(RECORD, samples=()), tmp_path / "memory.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_single_step_at_the_start_has_a_picture(tmp_path: Path) -> None:
    first = replace(SAMPLES[0], seconds=0.0)
    draw_memory(replace(RECORD, report=replace(REPORT, seconds=0.0), samples=(first,)), tmp_path / "memory.svg")
    assert "block 0" in texts(tmp_path / "memory.svg")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        draw_memory(RECORD, tmp_path / "absent" / "memory.svg")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'neuroflux-planner\[report\]'"):
        draw_memory(RECORD, tmp_path / "memory.svg")


def test_matplotlib_is_loaded_only_to_draw_and_pyplot_never(tmp_path: Path) -> None:
    code = """
import json, sys
import planner.report.plot, planner.report.read, planner.report.tables
before = sorted({name.partition(".")[0] for name in sys.modules} & {"matplotlib", "numpy", "torch"})
from planner.report.plot import draw_memory
from tests.unit.report.test_plot import RECORD
from pathlib import Path
draw_memory(RECORD, Path(sys.argv[1]))
print(json.dumps([before, "matplotlib.pyplot" in sys.modules]))
"""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code, str(tmp_path / "memory.svg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False]


def test_a_polish_is_a_stage_of_its_own(tmp_path: Path) -> None:
    samples = (*SAMPLES, MemorySample(**line(7.0, block=2, step=0)))
    draw_memory(RunRecord(POLISHED, replace(POLISHED_REPORT, seconds=12.0), samples), tmp_path / "memory.svg")
    assert "the polish, units 0–4" in texts(tmp_path / "memory.svg")

"""The figures that ship are those that the fit makes of the log that ships."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import fit
from benchmarks.accuracy.case import EPOCHS, LOG
from planner.solver import accuracy_figures


def test_the_shipped_figures_are_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "FIGURES", tmp_path / "figures.py")
    runs = fit.paired(fit.read(LOG))
    fit.write_figures(fit.fit(runs), runs)
    assert accuracy_figures.__file__ is not None
    assert (tmp_path / "figures.py").read_text() == Path(accuracy_figures.__file__).read_text()


def test_a_loss_that_follows_the_model_is_found_again() -> None:
    runs = [
        fit.Run("net", segments, "pooled-conv", False, seed, 10, 2.0 * log2(segments) ** 1.5, 0.0)
        for segments in (2, 4, 8, 10)
        for seed in range(30)
    ]
    runs += [replace(run, overlap=1, lost=0.4 * run.lost) for run in runs]
    found = fit.fit(runs)
    assert found.exponent == 1.5
    assert found.points["pooled-conv"] == pytest.approx(2.0, abs=0.05)
    assert found.points["mlp"] == fit.PAPERS["mlp"]
    assert found.windows == pytest.approx(0.6, abs=0.02)
    assert found.predicted(runs[-1]) == pytest.approx(runs[-1].lost, abs=0.1)


def test_a_kind_that_helps_by_chance_is_not_counted_on() -> None:
    runs = [fit.Run("net", 4, "lookahead", False, seed, 10, -5.0, -5.0) for seed in range(9)]
    assert fit.fit(runs).points["lookahead"] > 0


def test_runs_are_paired_with_backpropagation_of_the_same_network_and_seed() -> None:
    def line(
        network: str, segments: int, seed: int, accuracy: float, epochs: int = EPOCHS, **more: int
    ) -> dict[str, Any]:
        exits = [accuracy + 1, accuracy]
        return {"network": network, "segments": segments, "seed": seed, "accuracy": accuracy, "epochs": epochs} | {
            "exits": exits, "ends": [1, 2, 3], "head": "mlp", "blocks": "apart", "units": 3, **more,
        }  # fmt: skip

    lines = [line("a", 1, 0, 90.0), line("a", 1, 1, 91.0), line("a", 1, 0, 50.0, epochs=1), line("a", 0, 0, 88.5)]
    lines += [line("a", 0, 1, 91.5), line("b", 0, 0, 70.0), line("a", 1, 2, 90.0), line("a", 0, 2, 80.0, held_out=9)]
    lines += [line("a", 1, 1, 92.0, held_out=9000), line("a", 0, 1, 91.0, held_out=9000)]
    runs = fit.paired(lines)
    assert [(run.seed, run.segments, run.lost, run.lost_by_best_exit) for run in runs] == [
        (0, 3, 1.5, 0.5),
        (1, 3, 1.0, 0.0),
    ]

"""Pools give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run, reference


def _cases() -> dict[str, Case]:
    found = {}
    shapes = {1: (3, 11), 2: (3, 9, 11), 3: (2, 7, 6, 9)}
    for n, shape in shapes.items():
        for up in ("false", "true"):
            for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (2, 3, 1), (4, 3, 0)):
                window = f"[{kernel}], [{stride}], [{padding}]"
                found[f"max_pool{n}d {window} {up}"] = case(shape, f"max_pool{n}d(x, {window}, [1], {up})")
                found[f"avg_pool{n}d {window} {up}"] = case(shape, f"avg_pool{n}d(x, {window}, {up})")
                found[f"avg_pool{n}d {window} {up}, without padding"] = case(
                    shape, f"avg_pool{n}d(x, {window}, {up}, false)"
                )
        found[f"max_pool{n}d dilated"] = case(shape, f"max_pool{n}d(x, [2], [1], [0], [3])")
        found[f"max_pool{n}d default stride"] = case(shape, f"max_pool{n}d(x, [2])")
        found[f"max_pool{n}d_with_indices"] = case(shape, f"y, _ = max_pool{n}d_with_indices(x, [3], [2], [1])")
        for out in ([1] * n, [3, 3, 3][:n], [2, 4, 5][-n:], [13] * n, list(shape[1:])):
            found[f"adaptive_avg_pool{n}d {out}"] = case(shape, f"adaptive_avg_pool{n}d(x, {out})")
            found[f"adaptive_max_pool{n}d {out}"] = case(shape, f"y, _ = adaptive_max_pool{n}d(x, {out})")
        for up in ("false", "true"):
            if n > 1:
                found[f"avg_pool{n}d divisor {up}"] = case(shape, f"avg_pool{n}d(x, [3], [2], [1], {up}, true, 5)")
    found["samples as channels"] = case((11,), "adaptive_avg_pool1d(x, [3])")
    found["samples as channels, windows"] = case((11,), "max_pool1d(x, [3], [2], [1])")
    return found


CASES = _cases()

REFERENCE_FAULTS = {
    "adaptive_max_pool1d [1]": "its global maximum takes two axes",
    "adaptive_max_pool3d [1, 1, 1]": "its global maximum takes two axes",
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    if run is reference and name in REFERENCE_FAULTS:
        pytest.skip(f"onnx's reference: {REFERENCE_FAULTS[name]}")
    assert max(differences(CASES[name], run)) < 1e-5

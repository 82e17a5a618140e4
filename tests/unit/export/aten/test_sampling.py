"""Dropout and other resolutions give what PyTorch gives, written in ONNX, for any number of samples."""

from __future__ import annotations

import pytest

from tests.unit.export.graphs import IMAGE, Case, case, differences
from tests.unit.export.runtimes import RUNTIMES, Run, reference


def _resizes() -> dict[str, Case]:
    found: dict[str, Case] = {}
    shapes = {1: (3, 5), 2: (3, 5, 7), 3: (2, 3, 4, 5)}
    names = {
        "upsample_nearest{}d.vec": (1, 2, 3),
        "_upsample_nearest_exact{}d.vec": (1, 2, 3),
        "upsample_linear{}d.vec": (1,),
        "upsample_bilinear{}d.vec": (2,),
        "upsample_trilinear{}d.vec": (3,),
        "upsample_bicubic{}d.vec": (2,),
    }
    for pattern, ranks in names.items():
        for n in ranks:
            corners = ("",) if "nearest" in pattern else ("false, ", "true, ")
            for corner in corners:
                for size, factors in (
                    (str([8, 4, 3][:n]), "none"),
                    ("none", str([2.0] * n)),
                    ("none", str([1.3, 0.7, 1.5][:n])),
                    ("none", str([1.1, 1.3, 1.2][:n])),
                ):
                    name = f"{pattern.format(n)} {corner}{size}{factors}"
                    found[name] = case(shapes[n], f"{pattern.format(n)}(x, {size}, {corner}{factors})")
    for mode in (0, 1, 2):
        for border in (0, 1, 2):
            for aligned in ("true", "false"):
                found[f"grid_sampler {mode} {border} {aligned}"] = case(
                    (3, 5, 7),
                    "a = slice.Tensor(x, 1, 0, 2)",
                    "b = permute(a, [0, 2, 3, 1])",
                    f"grid_sampler(x, b, {mode}, {border}, {aligned})",
                )
    for aligned in ("true", "false"):
        found[f"affine_grid {aligned}"] = case((2, 3), f"affine_grid_generator(x, [batch, 3, 4, 5], {aligned})")
    return found


CASES: dict[str, Case] = {
    **{
        name: case(IMAGE, f"a = {name}(x, 0.5, training)", "relu(a)")
        for name in (
            "dropout",
            "feature_dropout",
            "alpha_dropout",
            "feature_alpha_dropout",
        )
    },
    **_resizes(),
}

REFERENCE_FAULTS = {
    "grid_sampler 2 1 true": "its cubic samples differ at the border",
    "grid_sampler 2 1 false": "its cubic samples differ at the border",
}


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_torch_gives(name: str, run: Run) -> None:
    if run is reference and name in REFERENCE_FAULTS:
        pytest.skip(f"onnx's reference: {REFERENCE_FAULTS[name]}")
    assert max(differences(CASES[name], run)) < 1e-5

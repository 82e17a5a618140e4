"""Networks for other tasks than classification: what they give decides whether they fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from planner.errors import InputError, ModelError
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from planner.python.datasets import look
from planner.tasks.kinds import USUAL

SAMPLE = torch.zeros(2, 3, 8, 8)


def _pixels(channels: int) -> nn.Sequential:
    """A network that gives so many channels, of its input's height and width."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, channels, 1)
    )


def test_outputs_are_what_the_task_has() -> None:
    found = import_module(Given(_pixels(5), SAMPLE, task=USUAL["segmentation"]))
    assert (found.task, found.classes, found.output) == (USUAL["segmentation"], 5, (5, 8, 8))
    found = import_module(Given(_pixels(3), SAMPLE, task=USUAL["autoencoder"]))
    assert (found.classes, found.output) == (3, (3, 8, 8))
    one = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    assert import_module(Given(one, SAMPLE, task=USUAL["regression"])).classes == 1


@pytest.mark.parametrize(
    ("kind", "channels", "message"),
    [
        ("classification", 5, r"gives 2×5×8×8 at batch 2; \(batch, classes\) is needed.*task='segmentation'"),
        ("regression", 5, r"gives 2×5×8×8 at batch 2; \(batch, classes\) is needed$"),
        ("autoencoder", 5, r"gives 5×8×8 per sample; autoencoder needs 3×8×8"),
        ("next-token", 5, r"gives 5×8×8 per sample; next-token needs"),
    ],
)
def test_other_outputs_are_refused(kind: str, channels: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        import_module(Given(_pixels(channels), SAMPLE, task=USUAL[kind]))


def test_a_label_of_another_kind_is_refused_before_anything_is_measured() -> None:
    model = import_module(Given(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), SAMPLE, task=USUAL["regression"]))
    image = torch.zeros(3, 8, 8)
    looked = look([(image, [0.5, 1.5])] * 4, model, 0, False)
    assert (looked.class_names, looked.training_samples) == ((), 4)
    with pytest.raises(InputError, match=r"data\[0\]: its label has 1 number; 2 numbers are needed"):
        look([(image, 3)] * 4, model, 0, False)
    with pytest.raises(InputError, match=r"data\[0\]: its label holds nan"):
        look([(image, [1.0, float("nan")])] * 4, model, 0, False)

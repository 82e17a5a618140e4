"""Weights of a program's own modules, wrapped or not ready, on their way to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from planner.errors import InputError
from planner.python.weights import initial_file


def test_a_wrapped_modules_weights_have_its_own_names(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    compiled: Any = torch.compile(net)
    for wrapped in (net, compiled, nn.DataParallel(net)):
        found = load_file(initial_file(wrapped, tmp_path))
        assert found.keys() == net.state_dict().keys()
        assert torch.equal(found["0.weight"], net.get_parameter("0.weight"))


def test_layers_without_a_shape_have_no_weights_yet(tmp_path: Path) -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(10))
    message = r"^init: 0\.weight has no shape yet; run the module once on a sample$"
    with pytest.raises(InputError, match=message):
        initial_file(net, tmp_path)
    net(torch.zeros(1, 3, 8, 8))
    assert load_file(initial_file(net, tmp_path)).keys() == net.state_dict().keys()

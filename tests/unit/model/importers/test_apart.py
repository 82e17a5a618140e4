"""Imports in a copy of this process: the same models and refusals, and what becomes of a copy that dies or hangs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from planner.errors import ModelError, PlannerError, RunError
from planner.model.importers.apart import describe_apart, import_apart
from planner.model.importers.given import Given
from planner.model.importers.module import import_module
from tests.unit.model.importers.networks import Net, chain

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_model_comes_back_and_nothing_was_run_here(tmp_path: Path) -> None:
    """The class is local, and holds a lambda: nothing of it could be pickled."""

    def forward(net: Net, x: Tensor) -> object:
        (tmp_path / str(os.getpid())).touch()
        return net.body(x)

    net = Net(forward, body=chain())
    model = import_apart(Given(net, SAMPLE))
    assert model.classes == 10
    assert len(list(tmp_path.iterdir())) == 1
    assert not (tmp_path / str(os.getpid())).exists()
    assert import_module(Given(net, SAMPLE)) == model


def _exits(net: Net, x: Tensor) -> object:
    sys.exit("no licence")


def _fails(net: Net, x: Tensor) -> object:
    raise ValueError("why not")


@pytest.mark.parametrize(
    ("forward", "kind", "message"),
    [
        (_exits, ModelError, r"^.*test_apart\.py:[0-9]+: its code calls sys\.exit \(no licence\)$"),
        (_fails, ModelError, r"^layer '1': fails at batch 4 \(ValueError: why not\) at .*test_apart\.py:[0-9]+$"),
        (lambda net, x: os._exit(3), RunError, r"^the process that exports the network was ended \(exit 3\)"),
        (
            lambda net, x: os.kill(os.getpid(), signal.SIGSEGV),
            RunError,
            r"^the process that exports the network was ended \(SIGSEGV\) by a fault in a library",
        ),
    ],
)
def test_code_that_ends_the_process_ends_the_copy_alone(
    forward: Callable[[Net, Tensor], object], kind: type[PlannerError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        import_apart(Given(chain(Net(forward)), SAMPLE))


def test_where_a_copy_stands_still_this_process_does_it_and_says_so() -> None:
    here, lock = os.getpid(), threading.Lock()

    def forward(net: Net, x: Tensor) -> object:
        if os.getpid() != here:
            lock.acquire()
        return x

    with (
        lock,
        pytest.warns(UserWarning, match="in this process, which grows by that: a copy of it stood still for 1 s"),
    ):
        assert describe_apart(Given(chain(Net(forward)), SAMPLE), standstill_seconds=1.0).accepted


def test_where_cuda_was_used_this_process_does_it_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with (
        pytest.warns(UserWarning, match="in this process, which grows by that: CUDA was used here"),
        pytest.raises(ModelError, match=r"^it has no parameter that requires a gradient"),
    ):
        import_apart(Given(nn.Flatten(), SAMPLE))


def test_autograd_that_a_copy_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch does in a fork after a backward pass on a machine with a GPU."""

    def refuse(self: Tensor) -> None:
        raise RuntimeError("Unable to handle autograd's threading in combination with fork-based multiprocessing.")

    monkeypatch.setattr(Tensor, "backward", refuse)
    with (
        pytest.warns(UserWarning, match="autograd does not work in a copy of a process that has used a GPU"),
        pytest.raises(ModelError, match=r"^sample: is empty"),
    ):
        import_apart(Given(chain(), SAMPLE[:0]))

"""How samples pass through units without gradients: at which sizes, with which dry step, watched by what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing

from torch import Tensor, nn

from planner.model.activations import Activations
from planner.runner.input.samples import Samples
from planner.runner.train.guard import MemoryGuard
from planner.runner.train.stop import StopSignal
from planner.training.runtime import release_memory, trim_after_each

Pass = Callable[[Activations, Tensor], object]
"""What is done with one micro-batch: inputs (micro-batch, …) and labels. What it returns goes at once."""


class Watch(StopSignal):
    """Checked between micro-batches of a pass: whether to stop, and whether the last one stayed within its limit."""

    def __init__(self, stop: StopSignal, guard: MemoryGuard, what: str, has_smaller: bool) -> None:
        """Make a check for one pass.

        Args:
            stop: Whether the run is to stop.
            guard: Measures peaks.
            what: What runs, for the error's message.
            has_smaller: Whether a smaller micro-batch is left; without one, peaks are recorded and never refused.
        """
        super().__init__()
        self._stop = stop
        self._guard = guard
        self._what = what
        self._has_smaller = has_smaller

    def check(self) -> None:
        """Raise InterruptedRunError if asked to stop, OverBudgetError where too much was taken."""
        self._stop.check()
        if self._has_smaller:
            self._guard.check(self._what)
        else:
            self._guard.take()


def rehearse(
    modules: Iterable[nn.Module], run: Pass, samples: Samples, count: int, watch: Watch, ready: Callable[[], None]
) -> None:
    """The dry step of a pass over `count` samples: a whole micro-batch and the odd last one, each done twice.

    The first time makes kernels: library pages that only this touches are given back behind every module. Then `ready`
    is called; the second time is as high as any micro-batch of the pass. Raises as `Watch.check`.
    """
    sizes = sorted({min(samples.micro_batch, count), count % samples.micro_batch} - {0})
    with trim_after_each(modules):
        _some(run, samples, sizes)
    release_memory()
    ready()
    _some(run, samples, sizes)
    watch.check()


def _some(run: Pass, samples: Samples, sizes: Sequence[int]) -> None:
    with closing(samples.sized(sizes)) as loaded:
        for inputs, labels in loaded:
            run(inputs, labels)
            del inputs

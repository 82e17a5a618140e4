"""Start torch in as few resident bytes as it can be had.

The order matters and is the reason this is one function: allocator policy before the first large allocation, torch's
libraries before torch (their start-up code touches pages that nobody needs again), a trim after each stage, and one
tiny training step so that threads and kernels exist before anybody measures or limits memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.errors import InputError
from planner.schema.common import DeviceKind, Dtype, Policy, TorchStart
from planner.system.allocator import apply_policy, release
from planner.system.proc import read_memory
from planner.system.resident import hide_numpy, preload_torch_libraries, trim_clean_pages
from planner.training.lean import LeanStartError, Names, left_out, names_left_out, torch_version

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from planner.training.device import Accelerator


@dataclass(frozen=True)
class Started:
    """What starting cost."""

    baseline_bytes: int
    """Resident bytes after the tiny step."""
    peak_bytes: int
    """Highest resident bytes until then."""
    start: TorchStart = "plain"
    """How torch was imported."""


def start_torch(policy: Policy, threads: int, numpy: bool = False, start: TorchStart = "plain") -> Started:
    """Import torch under `policy`, use `threads` threads, run a tiny step and say what it cost.

    Call it once, before anything imports torch.

    Args:
        policy: of the allocator.
        threads: to compute with.
        numpy: without it, torch is kept from importing it (17 MiB here).
        start: `lean` where this version of torch is known, else `plain` all the same.

    Raises:
        LeanStartError: a lean start failed, and this process cannot start torch any more (`planner.training.start`).
    """
    # How long GNU's OpenMP threads spin before they sleep. Its default of 300,000 makes a step 5-50 times slower as
    # soon as anything else runs on the device; not spinning at all makes small steps twice as slow when nothing does.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    apply_policy(policy)
    if not numpy:
        hide_numpy()
    preload_torch_libraries()
    names = names_left_out(torch_version() or "") if start == "lean" else None
    if names is None:
        _import_torch(threads, None)
        used: TorchStart = "plain"
    else:
        try:
            _import_torch(threads, names)
        except MemoryError:
            raise  # no other way of starting takes less
        except Exception as error:  # whatever torch makes of what it lacks; who catches this starts plainly
            raise LeanStartError(f"{type(error).__name__}: {error}") from error
        used = "lean"
    memory = read_memory()
    return Started(memory.resident_bytes, memory.peak_bytes, used)


def _import_torch(threads: int, names: Names | None) -> None:
    """Import torch, without `names` where some are given, and take the first steps."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # said at once, or by the first step
        with nullcontext() if names is None else left_out(names):
            import torch
        trim_clean_pages()
        torch.set_num_threads(threads)
        _tiny_step()
    release_memory()
    _tiny_step()


def start_accelerator(kind: DeviceKind) -> Accelerator:
    """Open the device and run a tiny step there, so that its context and first kernels exist before anybody measures.

    Torch has been started. Raises InputError where it reaches no device of that kind.
    """
    import torch

    from planner.training.device import accelerator_of

    backend = accelerator_of(kind)
    if not backend.is_available():
        raise InputError(
            f"a {backend.name} was asked for (--device {kind}), but torch {torch.__version__} reaches none here; "
            "install its driver and a build of torch for it, or profile and plan for the processor (--device cpu)"
        )
    backend.prepare()  # a run that is resumed ends as one that was not
    for _ in range(2):
        _tiny_step(backend.device)
    backend.synchronize()
    backend.release_cached()
    return backend


def check_arithmetic(dtype: Dtype, kind: DeviceKind = "cpu") -> None:
    """Raise InputError where torch, which has been started, computes in `dtype` only number by number here."""
    from planner.training.device import backend_of

    backend = backend_of(kind)
    if dtype == "bfloat16" and not backend.computes_bfloat16():
        raise InputError(
            f"the plan computes in bfloat16, for which this {backend.name} has no instructions; plan in float32 "
            "(neuroflux plan --dtype float32)"
        )


def release_memory() -> None:
    """Give back what is free: the allocators' own free pages and clean pages of libraries not needed just now."""
    from planner.training.device import release_cached

    release_cached()
    release()
    trim_clean_pages()


@contextmanager
def trim_after_each(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within this, `release_memory` after each module's forward and after what lies behind it has run backward."""

    def release_around(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        release_memory()
        first = output[0] if isinstance(output, tuple) else output
        if first.requires_grad:
            first.register_hook(lambda gradient: release_memory())  # type: ignore[no-untyped-call]  # torch gives it no type

    handles = [module.register_forward_hook(release_around) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tiny_step(device: torch.device | None = None) -> None:
    import torch
    from torch.nn import functional

    from planner.tasks.kinds import CLASSIFICATION
    from planner.training.tasks import make_arithmetic

    weight = torch.ones(8, 3, 3, 3, device=device, requires_grad=True)
    scale = torch.ones(8, device=device, requires_grad=True)
    images = torch.ones(4, 3, 8, 8, device=device)
    features = functional.conv2d(images, weight, padding=1)
    features = functional.batch_norm(features, None, None, scale, scale, training=True).relu()
    pooled = functional.max_pool2d(features, 2).mean((2, 3))
    task = make_arithmetic(CLASSIFICATION)
    loss = task.loss(pooled, task.examples(4, 8, (3, 8, 8)).to(device))
    loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no type

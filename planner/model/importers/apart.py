"""`import_module` in a copy of this process, so that this one does not grow by what it takes. Needs torch.

`torch.export` and what it brings along (sympy, dynamo) take 70 MiB, two copies of the network that are compared several
times its weights. All that is a child's.

The child is a fork of this process. A new process would have to be handed the module, and pickling cannot be had for
classes that are local, stand in `__main__` or a notebook, or hold a lambda; and starting torch anew takes seconds. A
fork has the module as it is, at no cost, as the workers of torch's DataLoader have their data set. Its dangers, and
what is done about them:

- OpenMP's threads are not there after a fork, and whoever waits for them waits for ever: the child computes with one
  thread, as DataLoader's workers do.
- CUDA does not work in a fork once it was used here, nor does autograd once a backward pass has begun threads for a
  GPU: then the module is imported in this process. Tensors on an accelerator are, too.
- A lock that another thread of this process holds at that moment stays held in the child: a child that uses no
  processor time for half a minute is given up, and the module is imported in this process.

Each time this process has to do it, a warning says so, and why.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from planner.errors import ModelError
from planner.model.importers.description import Description
from planner.model.importers.given import Given, lazy_tensors
from planner.model.importers.module import import_module
from planner.model.importers.obstacles import Obstacle, obstacles_of, refusal
from planner.model.importers.places import line_of_error
from planner.schema.codec import to_json
from planner.schema.model import Model
from planner.system.fork import StandstillError, ask_copy

_STANDSTILL_SECONDS = 30.0


@dataclass(frozen=True)
class ImportReply:
    """What the child says: a description, or that it cannot compute here at all."""

    description: Description | None = None
    """Of the network."""


def import_apart(given: Given) -> Model:
    """As `import_module`, in a process of its own wherever that is possible.

    Raises ModelError as that does, OverBudgetError or RunError where the child was ended.
    """
    found = describe_apart(given)
    if found.model is None:
        raise refusal(found.obstacles)
    return found.model


def describe_apart(given: Given, *, standstill_seconds: float = _STANDSTILL_SECONDS) -> Description:
    """The module's model, or all obstacles; in a process of its own wherever that is possible.

    Raises OverBudgetError or RunError where the child was ended.
    """
    reason = _hindrance(given)
    if reason is None:
        found, reason = _asked(lambda: described(given), standstill_seconds)
        if found is not None:
            return found
    warnings.warn(f"the network is exported in this process, which grows by that: {reason}", stacklevel=3)
    return described(given)


def described(given: Given) -> Description:
    """The module's model, or all obstacles."""
    module: Any = given.module  # a person may give something else
    try:
        lazy = lazy_tensors(module) if isinstance(module, nn.Module) else []
        return Description.of(import_module(given), lazy)
    except ModelError as error:
        return Description(None, obstacles_of(error))


def _hindrance(given: Given) -> str | None:
    """Why a fork of this process could not do it; None where it can."""
    module: Any = given.module  # a person may give something else
    sample: Any = given.sample
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch gives it no type
        return "CUDA was used here, and does not work in a copy of a process"
    if not isinstance(module, nn.Module) or not isinstance(sample, Tensor):
        return None
    kinds = {tensor.device.type for tensor in (sample, *module.parameters(), *module.buffers())} - {"cpu", "meta"}
    return f"its tensors are on {min(kinds)}, which a copy of a process cannot use" if kinds else None


def _asked(work: Callable[[], Description], standstill_seconds: float) -> tuple[Description | None, str]:
    """What the child says; None and the reason where it could not."""

    def do(send: Callable[[str], None]) -> None:
        torch.set_num_threads(1)
        gc.disable()  # it ends soon, and looking through what it has of this process copies that, page by page
        send(to_json(_reply(work), indent=None))

    try:
        done = ask_copy(do, standstill_seconds)
    except StandstillError:
        return None, f"a copy of it stood still for {standstill_seconds:.0f} s; another thread may hold what it needs"
    reply = done.decoded(ImportReply, "the process that exports the network", "free some")
    return reply.description, "autograd does not work in a copy of a process that has used a GPU"


def _reply(work: Callable[[], Description]) -> ImportReply:
    try:
        torch.zeros(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]  # nor this one
    except RuntimeError:
        return ImportReply()
    try:
        return ImportReply(work())
    except SystemExit as error:
        obstacle = Obstacle(f"its code calls sys.exit ({error.code})", line_of_error(error))
        return ImportReply(Description(None, (obstacle,)))

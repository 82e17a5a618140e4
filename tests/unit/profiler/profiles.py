"""Profiles of this very device and of others, computed by formulas, not measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planner.profiler.profile import ProfileRequest
from planner.schema.codec import content_id
from planner.schema.common import Device, DeviceKind, Machine
from planner.schema.model import Model
from planner.schema.profile import Profile
from planner.system.machine import fingerprint, probe
from tests.unit.solver.chains import SGD, computed_profile, zoo_profile


def of(
    machine: Machine,
    threads: int = 1,
    name: str = "cnn6",
    batch: int = 128,
    kind: DeviceKind = "cpu",
    model: Model | None = None,
    **changes: Any,
) -> Profile:
    """A profile of a zoo network, or of `model`, measured on `machine` up to `batch`, id included."""
    version = machine.torch_version or "2.13.0"
    device = Device(machine.name, fingerprint(machine, version, threads, kind), kind, threads, version, 2**34)
    sizes = (*(size for size in (1, 2, 8, 32, 128) if size < batch), batch)
    measured = zoo_profile(name, sizes) if model is None else computed_profile(model, sizes)
    profile = replace(measured, device=device, machine=machine, **changes)
    return replace(profile, id=content_id(profile))


def here(**options: Any) -> Profile:
    """A profile of this device."""
    return of(with_torch(probe()), **options)


def answer(asked: ProfileRequest, *_: object) -> Profile:
    """What `take_profile` is asked for, by formulas in no time."""
    return here(
        model=asked.model,
        batch=asked.batch,
        threads=asked.threads,
        kind=asked.device,
        dtype=asked.dtype,
        optimizer=asked.optimizer,
    )


def with_torch(machine: Machine) -> Machine:
    """The machine, with a torch where none is installed."""
    return replace(machine, torch_version=machine.torch_version or "2.13.0")


FOREIGN = Machine(
    name="Other Board",
    architecture="riscv64",
    cpu_model="Other Core",
    cores=77,
    isa=("other",),
    total_bytes=2**32,
    available_bytes=2**31,
    limit_bytes=None,
    swap_bytes=0,
    allocator="musl",
    kernel="6.1.0",
    python_version="3.99.1",
    torch_version="1.2.3",
    unified_memory=True,
    gpu_name="Other GPU",
)
"""A machine that differs from every real one in everything."""


def request(batch: int = 128, **changes: Any) -> ProfileRequest:
    """What such a profile answers."""
    wanted = ProfileRequest(zoo_profile("cnn6", (1,)).model, SGD, batch, threads=1)
    return replace(wanted, **changes)

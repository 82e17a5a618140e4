"""Which builds of torch an Arm processor can run, told without importing one: a wrong build ends with SIGILL."""

from __future__ import annotations

from dataclasses import dataclass

from planner.schema.common import Machine

NEWEST_WITHOUT_ATOMICS = "2.9.1"
"""From the next version on torch brings mimalloc on aarch64, which is compiled for Armv8.1 (in its libc10)."""

NEWEST_FOR_PROCESSORS = "2.10.0"
"""What PyPI has for aarch64 is a CUDA build from the next version on."""


@dataclass(frozen=True)
class TorchFit:
    """What a processor can run, and whether the torch that is installed is among it."""

    fits: bool
    """False where the installed torch would be ended by SIGILL; true where none is installed."""
    text: str
    """The same in words, and what to install."""


def torch_fit(machine: Machine, atomics: bool) -> TorchFit | None:
    """Whether the installed torch runs on an Arm processor, with or without Armv8.1's `atomics`; None on others."""
    if machine.architecture != "aarch64":
        return None
    if atomics:
        return TorchFit(
            True,
            f"any build (this processor has Armv8.1 atomics); PyPI's newest without CUDA is {NEWEST_FOR_PROCESSORS}",
        )
    install = f"pip install torch=={NEWEST_WITHOUT_ATOMICS}"
    # A mimalloc that the person has preloaded says nothing of an older torch.
    if (
        machine.torch_version
        and machine.allocator == "mimalloc"
        and _release(machine.torch_version) > _release(NEWEST_WITHOUT_ATOMICS)
    ):
        return TorchFit(
            False,
            f"torch {machine.torch_version} needs Armv8.1 atomics (LSE), which this processor lacks, and would end "
            f"with SIGILL; {install}",
        )
    return TorchFit(
        True,
        f"up to {NEWEST_WITHOUT_ATOMICS} (this processor lacks the Armv8.1 atomics that later ones need); {install}",
    )


def _release(version: str) -> tuple[int, ...]:
    """The major and minor number of a version such as `2.10.0a0+nv25`."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())

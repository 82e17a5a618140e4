"""Every kind of device that documents may name has a backend, and the processor's runs load no other."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from planner.schema.common import DeviceKind, is_accelerator
from planner.training.device import accelerator_of, backend_of, device_of, release_cached
from planner.training.runtime import start_accelerator
from tests.gpu import tell_of_a_gpu
from tests.unit.system.support import run_child

KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_backend_on_its_own_device(kind: DeviceKind) -> None:
    assert backend_of(kind).device == device_of(kind)
    assert device_of(kind).type == kind
    assert torch.default_generator in backend_of("cpu").generators()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if is_accelerator(kind)])
def test_an_accelerator_that_torch_does_not_reach_is_refused(kind: DeviceKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator_of(kind), "is_available", lambda: False)
    with pytest.raises(Exception, match=rf"was asked for \(--device {kind}\), but torch .* reaches none here"):
        start_accelerator(kind)


def test_a_gpus_memory_is_read_in_the_parts_that_the_driver_and_the_allocator_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = tell_of_a_gpu(monkeypatch)
    told.reserve(500, kept=200)
    found = accelerator_of("cuda").memory()
    assert (found.reserved_bytes, found.peak_bytes, found.beside_bytes) == (200, 500, told.beside)
    assert found.used_bytes == told.beside + 200
    release_cached()
    assert accelerator_of("cuda").memory().reserved_bytes == 0


def test_the_processor_loads_no_other_kinds_module() -> None:
    code = """
        import json, sys
        from planner.training.device import backend_of, release_cached
        backend_of("cpu").synchronize()
        release_cached()
        print(json.dumps([name for name in sys.modules if name.startswith("planner.training.devices")]))
    """
    assert run_child(code) == []

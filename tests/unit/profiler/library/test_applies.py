from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.profiler.library.applies import covers, differences, read_profile
from planner.schema.codec import to_json
from planner.schema.common import Allocator, Machine
from planner.system.machine import probe
from tests.unit.profiler import profiles
from tests.unit.system.support import run_child

HERE = profiles.with_torch(probe())


def test_a_profile_of_this_device_applies_whatever_threads_it_used() -> None:
    for threads in (1, 3):
        assert differences(profiles.of(HERE, threads=threads), HERE) == ()


def test_memory_and_updates_make_no_profile_stale() -> None:
    later = replace(HERE, total_bytes=5, available_bytes=1, limit_bytes=4, kernel="9", torch_threads=9)
    assert differences(profiles.of(HERE), later) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Old Board"}, "the device was Old Board, here it is {0.name}"),
        ({"cpu_model": "Old Core"}, "the processor was Old Core, here it is {0.cpu_model}"),
        ({"cores": 1001}, "the number of cores was 1001, here it is {0.cores}"),
        ({"architecture": "m68k"}, "the architecture was m68k, here it is {0.architecture}"),
        ({"torch_version": "0.4"}, "torch was 0.4, here it is {0.torch_version}"),
        ({"python_version": "3.2.9"}, "Python was 3.2, here it is 3."),
        ({"isa": ("mmx", "vis")}, "the instruction sets was mmx, vis, here it is "),
        ({"isa": ()}, "the instruction sets was none, here it is "),
        ({"gpu_name": "Voodoo"}, "the GPU was Voodoo, here it is "),
        ({"unified_memory": None}, "unified memory was "),
        ({"page_bytes": 65536}, "the size of pages was 65536, here it is "),
    ],
)
def test_each_difference_is_named_alone(change: dict[str, Any], said: str) -> None:
    if "unified_memory" in change:
        change = {"unified_memory": not HERE.unified_memory}
    found = differences(profiles.of(replace(HERE, **change)), HERE)
    assert len(found) == 1
    assert found[0].startswith(said.format(HERE))


def test_another_allocator_is_named() -> None:
    other: Allocator = "musl" if HERE.allocator != "musl" else "glibc"
    (found,) = differences(profiles.of(replace(HERE, allocator=other)), HERE)
    assert found == f"the allocator was {other}, here it is {HERE.allocator}"


def test_where_everything_differs_everything_is_named() -> None:
    unusual = (HERE.huge_pages == "always") + (HERE.page_bytes != 4096)
    assert len(differences(profiles.of(profiles.FOREIGN), HERE)) == 10 + unusual


def test_a_profile_that_tells_no_machine_names_what_its_device_says() -> None:
    foreign = replace(profiles.of(profiles.FOREIGN), machine=None)
    assert differences(foreign, HERE) == (
        f"the device was Other Board, here it is {HERE.name}",
        f"torch was 1.2.3, here it is {HERE.torch_version}",
    )
    own = profiles.of(HERE)
    assert differences(replace(own, machine=None), HERE) == ()
    stale = replace(own, machine=None, device=replace(own.device, fingerprint="0" * 64))
    (said,) = differences(stale, HERE)
    assert "fingerprint" in said


def test_a_device_without_torch_differs_from_one_with() -> None:
    bare: Machine = replace(HERE, torch_version=None)
    assert differences(profiles.of(HERE), bare) == (f"torch was {HERE.torch_version}, here it is none",)


def test_a_profile_covers_what_its_shortest_table_reaches() -> None:
    profile = profiles.here(batch=64)
    assert [covers(profile, batch) for batch in (1, 63, 64, 65)] == [True, True, True, False]
    head = profile.heads[0]
    short = replace(head, cost=replace(head.cost, costs=head.cost.costs[:-1]))
    assert covers(replace(profile, heads=(short, *profile.heads[1:])), 32)
    assert not covers(replace(profile, heads=(short, *profile.heads[1:])), 33)


def test_a_profile_changed_after_measuring_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    profile = profiles.here()
    file.write_text(to_json(profile))
    assert read_profile(file) == profile
    file.write_text(to_json(replace(profile, runtime=replace(profile.runtime, baseline_bytes=1))))
    with pytest.raises(InputError, match=r"profile\.json: its content does not match its id"):
        read_profile(file)


def test_comparing_imports_no_torch() -> None:
    code = """
        import json, sys
        import planner.profiler.library.applies, planner.profiler.library.shipped, planner.schema.device
        print(json.dumps("torch" in sys.modules))
    """
    assert run_child(code) is False

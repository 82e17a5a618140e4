from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.schema.codec import decode, encode, parse_json, to_json
from planner.schema.common import Machine
from planner.system.machine import check_dtype, fingerprint, installed_torch_version, probe
from tests.unit.system import trees
from tests.unit.system.support import run_child

MIB = 2**20

CORTEX = """\
processor\t: {core}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp {extra}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 1

"""


def test_this_machine_is_described_as_the_system_describes_it() -> None:
    machine = probe()
    assert machine.architecture == platform.machine()
    assert machine.kernel == os.uname().release
    assert machine.python_version == platform.python_version()
    assert machine.total_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < machine.available_bytes <= machine.total_bytes
    assert 1 <= machine.cores <= len(os.sched_getaffinity(0))
    assert machine.name
    assert machine.cpu_model


def test_a_description_survives_being_a_document() -> None:
    machine = probe()
    assert decode(Machine, parse_json(to_json(machine))) == machine
    assert set(encode(machine)) == {field.name for field in dataclasses.fields(Machine)}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch installed, as a second opinion")
def test_instruction_sets_are_those_that_torch_finds() -> None:
    code = """
        import json, torch
        print(json.dumps(torch.backends.cpu.get_cpu_capability()))
    """
    capability = run_child(code)
    isa = probe().isa
    assert list(isa) == sorted(isa)
    if platform.machine() == "x86_64":
        assert ("avx512f" in isa) == (capability == "AVX512")
        assert ("avx2" in isa) == (capability in ("AVX2", "AVX512"))


def test_probing_imports_no_torch_and_no_numpy() -> None:
    code = """
        import json, sys
        from planner.system.machine import probe
        version = probe().torch_version
        print(json.dumps([version, "torch" in sys.modules, "numpy" in sys.modules]))
    """
    version, torch, numpy = run_child(code)
    assert (torch, numpy) == (False, False)
    assert version == installed_torch_version()


def test_torch_version_is_that_of_the_package() -> None:
    try:
        expected: str | None = metadata.version("torch")
    except metadata.PackageNotFoundError:
        expected = None
    assert installed_torch_version() == expected
    code = """
        import json, sys
        sys.path = [entry for entry in sys.path if "site-packages" not in entry]
        from planner.system.machine import installed_torch_version
        print(json.dumps(installed_torch_version()))
    """
    assert run_child(code) is None


def test_affinity_counts_as_cores() -> None:
    first = min(os.sched_getaffinity(0))
    code = f"""
        import json, os
        os.sched_setaffinity(0, {{{first}}})
        from planner.system.machine import probe
        print(json.dumps(probe().cores))
    """
    assert run_child(code) == 1


def probe_tree(root: Path, files: dict[str, str]) -> Machine:
    return probe(trees.write(root, {**trees.meminfo(4_000_000, 3_000_000, swap_kib=1000), **files}))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        (trees.v2("/a") | {"sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        (trees.v2("/a") | {"sys/fs/cgroup/a/cpu.max": "150000 100000\n"}, 2),
        (trees.v2("/a") | {"sys/fs/cgroup/a/cpu.max": "max 100000\n", "sys/fs/cgroup/cpu.max": "90000 100000\n"}, 1),
        (trees.v2("/a") | {"sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 10**6),
        (trees.v1("/") | {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, 10**6),
        (
            trees.v1("/")
            | {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "20000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            1,
        ),
        ({}, 10**6),
    ],
)
def test_a_quota_of_time_counts_as_cores(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert probe_tree(tmp_path, files).cores == min(cores, len(os.sched_getaffinity(0)))


def test_a_board_with_a_device_tree(tmp_path: Path) -> None:
    machine = probe_tree(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/cpuinfo": "".join(CORTEX.format(core=core, part="0xd42", extra="uscat") for core in range(6)),
        },
    )
    assert machine.name == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.cpu_model == "implementer 0x41 part 0xd42"
    assert machine.isa == ("asimd", "asimdhp")
    assert machine.unified_memory is True
    assert (machine.total_bytes, machine.available_bytes, machine.swap_bytes) == (
        4_000_000 * 1024,
        3_000_000 * 1024,
        1000 * 1024,
    )
    assert machine.limit_bytes is None


def test_mixed_cores_have_only_what_all_of_them_have(tmp_path: Path) -> None:
    little = CORTEX.format(core=0, part="0xd05", extra="")
    big = CORTEX.format(core=4, part="0xd44", extra="sve bf16")
    machine = probe_tree(tmp_path, {"proc/cpuinfo": little + big})
    assert machine.isa == ("asimd", "asimdhp")
    assert machine.cpu_model == "implementer 0x41 part 0xd05, implementer 0x41 part 0xd44"
    assert machine.name == machine.cpu_model


@pytest.mark.parametrize(
    ("vendor", "product", "name"),
    [
        ("Dell Inc.", "Latitude 5430", "Dell Inc. Latitude 5430"),
        ("To Be Filled By O.E.M.", "B550M", "B550M"),
        ("ASUS", "System Product Name", "Example CPU @ 2 GHz"),
        (None, None, "Example CPU @ 2 GHz"),
    ],
)
def test_a_computer_with_firmware_tables(tmp_path: Path, vendor: str | None, product: str | None, name: str) -> None:
    files = {"proc/cpuinfo": "model name\t: Example  CPU @ 2 GHz\nflags\t\t: fpu avx2 amx_tile sse\n"}
    if vendor is not None and product is not None:
        files |= {"sys/class/dmi/id/sys_vendor": vendor + "\n", "sys/class/dmi/id/product_name": product + "\n"}
    machine = probe_tree(tmp_path, files)
    assert machine.name == name
    assert machine.isa == ("amx_tile", "avx2")


GPU_FILE = "proc/driver/nvidia/gpus/{bus}/information"
GPU = """\
Model: \t\t {name}
IRQ:   \t\t 213
GPU UUID: \t GPU-4f6e4b1c-7d0e-5a5b-9a3f-000000000000
Video BIOS: \t 92.00.45.00.06
Bus Type: \t PCIe
DMA Size: \t 47 bits
Device Minor: \t 0
GPU Excluded:\t No
"""


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ([], None),
        (["NVIDIA A100-SXM4-40GB"], "NVIDIA A100-SXM4-40GB"),
        (["NVIDIA T4", "NVIDIA T4"], "NVIDIA T4"),
        (["NVIDIA T4", "NVIDIA A10"], "NVIDIA A10, NVIDIA T4"),
        (["", "NVIDIA T4"], "NVIDIA T4"),
    ],
)
def test_gpus_have_the_names_that_their_driver_gives(tmp_path: Path, names: list[str], name: str | None) -> None:
    files = {GPU_FILE.format(bus=f"0000:0{bus}:00.0"): GPU.format(name=text) for bus, text in enumerate(names)}
    machine = probe_tree(tmp_path, files)
    assert machine.gpu_name == name
    assert (machine.gpu_total_bytes, machine.gpu_context_bytes, machine.torch_threads) == (None, None, None)


def test_a_board_of_unified_memory_is_its_own_gpu(tmp_path: Path) -> None:
    board = "NVIDIA Jetson Orin Nano Developer Kit"
    assert probe_tree(tmp_path, {"proc/device-tree/model": board + "\0"}).gpu_name == board


def test_hostile_firmware_text_still_makes_a_document(tmp_path: Path) -> None:
    machine = probe_tree(tmp_path, {"proc/device-tree/model": "a\x1b[31m\n" + "b" * 5000 + "\0"})
    assert machine.name.isprintable()
    assert decode(Machine, parse_json(to_json(machine))) == machine


MACHINE = Machine(
    name="Board",
    architecture="aarch64",
    cpu_model="Core",
    cores=4,
    isa=("asimd",),
    total_bytes=4 * 2**30,
    available_bytes=3 * 2**30,
    limit_bytes=None,
    swap_bytes=0,
    allocator="glibc",
    kernel="6.1.0",
    python_version="3.11.7",
    torch_version="2.13.0",
    unified_memory=False,
)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Other"},
        {"architecture": "x86_64"},
        {"cpu_model": "Other"},
        {"cores": 2},
        {"isa": ("asimd", "sve")},
        {"allocator": "mimalloc"},
        {"python_version": "3.12.1"},
        {"unified_memory": True},
        {"gpu_name": "GPU"},
        {"huge_pages": "always"},
        {"page_bytes": 16384},
    ],
)
def test_what_decides_the_cost_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(dataclasses.replace(MACHINE, **change), "2.13.0", 2) != fingerprint(MACHINE, "2.13.0", 2)


@pytest.mark.parametrize(
    "change",
    [
        {"available_bytes": 5},
        {"total_bytes": 5},
        {"limit_bytes": 5},
        {"swap_bytes": 5},
        {"kernel": "6.1.1"},
        {"python_version": "3.11.9"},
        {"gpu_total_bytes": 5},
        {"gpu_context_bytes": 5},
        {"torch_threads": 5},
        {"huge_pages": "madvise"},
        {"huge_pages": "never"},
        {"page_bytes": 4096},
    ],
)
def test_what_changes_from_day_to_day_does_not(change: dict[str, Any]) -> None:
    assert fingerprint(dataclasses.replace(MACHINE, **change), "2.13.0", 2) == fingerprint(MACHINE, "2.13.0", 2)


def test_torch_and_threads_are_part_of_the_fingerprint() -> None:
    prints = {fingerprint(MACHINE, version, threads) for version in ("2.13.0", "2.12.0", None) for threads in (1, 2)}
    assert len(prints) == 6
    assert all(len(text) == 64 and int(text, 16) >= 0 for text in prints)


def test_where_tensors_live_is_part_of_the_fingerprint() -> None:
    assert fingerprint(MACHINE, "2.13.0", 2, "cuda") != fingerprint(MACHINE, "2.13.0", 2, "cpu")
    assert fingerprint(MACHINE, "2.13.0", 2, "cpu") == fingerprint(MACHINE, "2.13.0", 2)


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = """
        from planner.system.machine import fingerprint, probe
        import json
        print(json.dumps(fingerprint(probe(), "2.13.0", 1)))
    """
    assert run_child(code) == run_child(code) == fingerprint(probe(), "2.13.0", 1)


def test_the_kernel_agrees_about_the_processor() -> None:
    try:
        found = subprocess.run(["lscpu"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the command lscpu (util-linux), as a second opinion")
    names = [line.partition(":")[2].strip() for line in found.stdout.splitlines() if line.startswith("Model name:")]
    if platform.machine() == "x86_64":
        assert probe().cpu_model in {" ".join(name.split()) for name in names}


@pytest.mark.parametrize("isa", [("avx2", "avx512f"), ("asimd", "bf16")])
def test_a_processor_with_such_instructions_computes_in_bfloat16(isa: tuple[str, ...]) -> None:
    check_dtype(dataclasses.replace(probe(), isa=isa), "bfloat16")


def test_a_processor_without_them_does_not() -> None:
    old = dataclasses.replace(probe(), isa=("avx2",), cpu_model="Old 80")
    check_dtype(old, "float32")
    with pytest.raises(InputError, match=r"^dtype is bfloat16, but this processor \(Old 80\) has neither AVX-512 nor"):
        check_dtype(old, "bfloat16")

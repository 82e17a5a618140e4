from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from planner.errors import RunError
from planner.profiler.torch_facts import complete
from planner.system.machine import probe
from tests.unit.system.support import environment, run_child

torch_is_missing = importlib.util.find_spec("torch") is None
needs_torch = pytest.mark.skipif(torch_is_missing, reason="needs torch installed")


@needs_torch
def test_default_threads_are_those_of_a_fresh_process() -> None:
    env = {name: text for name, text in environment().items() if name != "OMP_NUM_THREADS"}
    code = """
        import json
        from planner.profiler.torch_facts import complete
        from planner.system.machine import probe
        print(json.dumps(complete(probe()).torch_threads))
    """
    judge = "import json, torch; print(json.dumps(torch.get_num_threads()))"
    assert run_child(code, env=env) == run_child(judge, env=env)
    assert run_child(code, env={**env, "OMP_NUM_THREADS": "1"}) == 1


@needs_torch
def test_asking_imports_no_torch_and_changes_nothing_else() -> None:
    code = """
        import json, sys
        from dataclasses import replace
        from planner.profiler.torch_facts import complete
        from planner.system.machine import fingerprint, probe
        machine = probe()
        whole = complete(machine)
        same = replace(whole, torch_threads=None, gpu_total_bytes=None, gpu_context_bytes=None) == machine
        print(json.dumps([same, fingerprint(machine, "2", 1) == fingerprint(whole, "2", 1), "torch" in sys.modules]))
    """
    assert run_child(code) == [True, True, False]


def test_without_torch_nobody_is_asked() -> None:
    machine = replace(probe(), torch_version=None)
    assert complete(machine) == machine


def test_a_torch_that_cannot_be_asked_is_a_run_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RunError, match=r"torch 9\.9 cannot be asked .* ended \(exit 1\): it said nothing"):
        complete(replace(probe(), torch_version="9.9"))


def test_a_torch_for_another_processor_is_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nulimit -c 0\nkill -ILL $$\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(RunError, match=r"ended \(SIGILL\) for an instruction that this processor lacks: this build of"):
        complete(replace(probe(), torch_version="9.9"))


def test_a_torch_that_takes_longer_than_it_may_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(RunError, match=r"torch 9\.9 gave no answer within 500\.0 ms; allow it more \(--max-seconds\)"):
        complete(replace(probe(), torch_version="9.9"), 0.5)


@needs_torch
def test_a_gpu_that_torch_does_not_reach_has_no_memory() -> None:
    code = """
        import json
        from dataclasses import replace
        from planner.profiler.torch_facts import complete
        from planner.system.machine import probe
        found = complete(replace(probe(), gpu_name="GPU"))
        print(json.dumps([found.gpu_name, found.gpu_total_bytes, found.gpu_context_bytes]))
    """
    assert run_child(code, env=environment(CUDA_VISIBLE_DEVICES="")) == ["GPU", None, None]


@pytest.mark.gpu
@pytest.mark.skipif(probe().gpu_name is None, reason="no GPU on this machine")
def test_a_gpu_has_a_name_and_memory_of_which_a_context_takes_a_part() -> None:
    judge = """
        import json, torch
        print(json.dumps([torch.cuda.get_device_name(0), torch.cuda.mem_get_info()[1]]))
    """
    name, total = run_child(judge)
    machine = complete(probe())
    assert machine.gpu_name is not None and name in machine.gpu_name
    assert machine.gpu_total_bytes == total
    assert machine.gpu_context_bytes is not None
    assert 16 * 2**20 < machine.gpu_context_bytes < 4 * 2**30

"""The account of a process: every part read from its own source, and little left over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from planner.model.shapes import model_sizes
from planner.model.zoo import from_zoo
from planner.profiler.child.account import AccountResult, Accounts, _blocks_at_peak
from planner.profiler.child.meter import Node
from planner.profiler.job import Job
from planner.schema.codec import decode, parse_json, to_json
from planner.schema.common import OptimizerConfig
from tests.heads import conv_heads
from tests.unit.system.support import run_child

MODEL = from_zoo("vgg11", (3, 32, 32), 10)
JOB = Job(MODEL, OptimizerConfig("sgd", 0.05, 0.9), (2, 8), conv_heads(16), "cpu", 1, "tight", 2**40)


@pytest.fixture(scope="module", params=["tight", "fast"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """The accounts of a step of 8 under an allocator policy, and times of others."""
    path = tmp_path_factory.mktemp("account") / "job.json"
    path.write_text(to_json(JOB))
    command = [sys.executable, "-m", "planner.profiler.child.account", str(path), request.param, "8", "2", "4"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = decode(AccountResult, parse_json(done.stdout)).accounts
    assert found is not None
    return found


def test_the_parts_explain_the_process_but_for_two_per_cent(found: Accounts) -> None:
    account = found.account
    parts = {name: size for name, size in vars(account).items() if name not in ("micro_batch", "peak_bytes")}
    assert sum(parts.values()) == account.peak_bytes
    assert abs(account.rest_bytes) <= 0.02 * account.peak_bytes
    assert account.peak_bytes > found.baseline_bytes + found.live_bytes - found.untouched_bytes


def test_steps_are_timed_at_every_micro_batch_asked_for(found: Accounts) -> None:
    assert [step.micro_batch for step in found.steps] == [2, 4, 8]
    assert all(step.seconds > 0 for step in found.steps)


def test_what_arithmetic_knows_is_in_the_account(found: Accounts) -> None:
    account = found.account
    sizes = model_sizes(MODEL)
    assert account.parameters_bytes == sum(4 * (each.parameters + each.buffers) + 8 * each.counters for each in sizes)
    assert account.optimizer_bytes == 4 * sum(each.parameters for each in sizes)
    assert account.data_bytes == 8 * (4 * 3 * 32 * 32 + 8)
    assert 0 < account.gradients_bytes <= account.optimizer_bytes  # at the peak some may not exist yet
    # Every image's first saved outputs alone: three tensors of 64 × 32 × 32 floats.
    assert account.activations_bytes >= 8 * 3 * 4 * 64 * 32 * 32
    parts = account.data_bytes + account.parameters_bytes + account.optimizer_bytes
    resident = found.live_bytes - found.untouched_bytes
    assert resident == parts + account.gradients_bytes + account.activations_bytes


def _call(address: int, size: int) -> Node:
    return Node("[memory]", SimpleNamespace(ptr=address, alloc_size=size), 0, 0, ())


def test_what_lay_at_a_gradients_address_before_it_is_not_kept() -> None:
    calls = [(1, 100), (2, 50), (1, -100), (1, 60)]
    blocks = _blocks_at_peak([_call(address, size) for address, size in calls])
    assert [(block.address, block.bytes, block.is_kept) for block in blocks] == [(1, 100, False), (2, 50, True)]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ("RuntimeError('no kernel for this' + chr(10) + 'and more')", "no kernel for this"),
        ('RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', "it does not fit"),
        ("ValueError()", "ValueError"),
        ("RunError('not here')", "not here"),
    ],
)
def test_a_step_that_cannot_be_taken_leaves_its_reason(tmp_path: Path, error: str, problem: str) -> None:
    (tmp_path / "job.json").write_text(to_json(JOB))
    code = """
        import sys
        from planner.errors import RunError
        from planner.profiler.child import account
        def fail(*_):
            raise eval(sys.argv[1])
        account.take_accounts = fail
        account.main(sys.argv[2], "fast", 8, [])
    """
    assert run_child(code, error, str(tmp_path / "job.json")) == {"accounts": None, "problem": problem}

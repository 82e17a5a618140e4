"""What is resident behind training is found in a process that has trained, and found there again."""

from __future__ import annotations

from pathlib import Path

from planner.model.zoo import from_zoo
from planner.profiler.job import Job
from planner.schema.codec import to_json
from planner.schema.common import OptimizerConfig
from planner.units import MIB
from tests.heads import conv_heads
from tests.unit.system.support import run_child

WATCH = """
    import json, sys
    from pathlib import Path
    from planner.training.runtime import start_torch
    baseline = start_torch("tight", 1).baseline_bytes
    from planner.profiler.child.finishing import watch_finishing
    from planner.profiler.child.network import WholeNetwork
    from planner.profiler.job import Job
    from planner.schema.codec import encode, read_document
    network = WholeNetwork(read_document(Path(sys.argv[1]), Job))
    data = network.data(4)
    network.step(*data)
    before = [parameter.detach().clone() for parameter in network.parameters]
    found = watch_finishing(network, data)
    same = all(bool((a == b).all()) for a, b in zip(before, network.parameters))
    training = all(unit.training for unit in network.units)
    print(json.dumps({"found": encode(found), "baseline": baseline, "unchanged": same and training}))
"""


def test_passes_take_more_than_rest_and_converting_comes_on_top(tmp_path: Path) -> None:
    job = Job(
        from_zoo("cnn6", (1, 28, 28), 10),
        OptimizerConfig("sgd", 0.05, 0.9),
        (4,),
        conv_heads(16),
        "cpu",
        1,
        "tight",
        2**40,
    )
    path = tmp_path / "job.json"
    path.write_text(to_json(job))
    child = run_child(WATCH, str(path))
    found = child["found"]
    assert child["unchanged"]
    assert found["still_bytes"] < found["pass_bytes"] <= min(found["heads_bytes"], found["fit_bytes"])
    # Code of torch and the interpreter that a pass needs, and no tensors: these would be ten times as much.
    assert abs(found["pass_bytes"] - child["baseline"]) < 16 * MIB
    # Every unit with weights brings code of its own into a pass that has none; none brings more than all of them.
    assert found["still_bytes"] - MIB < found["common_bytes"] < found["pass_bytes"]
    assert len(found["units"]) == 6
    for unit in found["units"]:
        assert MIB < unit["pass_bytes"] <= unit["heads_bytes"]
        assert found["common_bytes"] + unit["pass_bytes"] <= found["pass_bytes"] + MIB // 4
    # Quantising calls for kernels that nothing else needs (minimum, maximum, division, rounding).
    assert MIB // 2 < found["uint8_bytes"] < 8 * MIB
    assert found["float32_bytes"] < MIB  # what these units compute in

"""What a supervisor and a child are said to take, they take while they hold a network's description."""

from __future__ import annotations

from pathlib import Path

from planner.operators.unit_graph import UnitGraph
from planner.profiler.profile import measure_start
from planner.schema.codec import to_json
from planner.schema.model import Model, Unit
from tests.unit.joint_chains import CLASSES, CLASSIFIER, conv, unit
from tests.unit.system.support import run_child

UNITS = 300
READING = """
    import json, sys
    from pathlib import Path
    from planner.schema.codec import read_document
    from planner.schema.model import Model
    from planner.system.proc import read_memory
    before = read_memory().anonymous_bytes
    model = read_document(Path(sys.argv[1]), Model)
    print(json.dumps(read_memory().anonymous_bytes - before))
"""


def _deep() -> Model:
    """Many graphs."""
    relus = tuple(f"r{index} = relu(r{index - 1})" for index in range(1, 20))
    units = (Unit(f"unit{index}", (UnitGraph("graph", ("r0 = relu(x)", *relus), "r19"),)) for index in range(UNITS))
    first = unit("a", conv("a", "x"), ("r",), (), 16, 3, 3, 3)
    return Model("model/2", "deep", (3, 16, 16), CLASSES, (first, *units, CLASSIFIER))


def test_a_networks_description_is_counted_in_both_processes(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(to_json(_deep()))
    held = run_child(READING, str(path))
    assert held > path.stat().st_size  # megabytes
    alone, holding = measure_start("tight", 1), measure_start("tight", 1, described=path)
    assert holding.baseline_bytes - alone.baseline_bytes > 0.8 * held
    assert holding.supervisor_bytes - alone.supervisor_bytes > 0.8 * held

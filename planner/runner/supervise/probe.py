"""What a run costs before any training: `python -m planner.runner.supervise.probe POLICY THREADS START [MODEL]`.

Starts supervisor and child as a run does and answers with one JSON object: the child's resident bytes after its first
tiny step, its highest until then, the supervisor's highest, and how the child imported torch: leanly only where START
is `lean` and that works here. Both hold what a run's hold: the command's modules, and the network's description (MODEL
is its file), which takes megabytes where a network is many graphs. The profiler asks; it takes a process of its own
because the figures are the process's.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import cast

from planner.model.shapes import model_sizes
from planner.runner.protocol.events import ChildReady, Message
from planner.runner.supervise import supervisor  # noqa: F401  # loaded, for a run's supervisor has it resident
from planner.runner.supervise.own_memory import GROWTH_BYTES, release_start_memory
from planner.schema.codec import content_id, decode, parse_json, read_document
from planner.schema.common import Policy, TorchStart
from planner.schema.model import Model
from planner.system.answers import Answers
from planner.system.child import STANDARD_ERROR, ChildProcess
from planner.system.ends import End
from planner.system.proc import read_memory

_COMMAND = ("planner.cli.main", "planner.cli.run", "planner.cli.progress")
"""Every run is the command `neuroflux run`, whose process is the supervisor. Loaded by name: this room is below it."""

_CHILD = """
import sys
from pathlib import Path
from planner.schema.codec import to_json
from planner.runner.train import child
from planner.runner.protocol.events import ChildReady, Message
from planner.system.answers import Answers
from planner.schema.codec import read_document
from planner.schema.model import Model
answers = Answers()
described = [read_document(Path(path), Model) for path in sys.argv[4:]]
from planner.training.start import start_child
started = start_child(answers, sys.argv[1], int(sys.argv[2]), sys.argv[3])
import planner.runner.train.session
ready = ChildReady("ready", started.baseline_bytes, started.peak_bytes, started.start)
answers.emit(to_json(Message(ready), indent=None))
"""


def probe(policy: Policy, threads: int, start: TorchStart, models: list[str]) -> dict[str, int | str]:
    """Bytes of child and supervisor under `policy` with `threads` threads; `models` names the description, if any."""
    for name in _COMMAND:
        importlib.import_module(name)
    described = [read_document(Path(path), Model) for path in models]
    for model in described:  # as a run looks whether its plan is whole, and what the exits are like
        content_id(model)
        model_sizes(model)
    release_start_memory()
    with ChildProcess(["-c", _CHILD, policy, str(threads), start, *models], STANDARD_ERROR) as child:
        line = child.answers.readline()
        if child.process.wait():
            raise SystemExit(End(child.process.returncode).passed_on())
        ready = decode(Message, parse_json(line)).event
    assert isinstance(ready, ChildReady)
    own = read_memory().peak_bytes + GROWTH_BYTES
    return {
        "baseline_bytes": ready.baseline_bytes,
        "start_peak_bytes": ready.peak_bytes,
        "supervisor_bytes": own,
        "start": ready.start,
    }


if __name__ == "__main__":
    answers = Answers()
    policy, start = cast(Policy, sys.argv[1]), cast(TorchStart, sys.argv[3])
    answers.emit(json.dumps(probe(policy, int(sys.argv[2]), start, sys.argv[4:])))

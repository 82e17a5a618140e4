"""What supervisor and child cost before any training: `python -m planner.runner.supervise.probe POLICY THREADS`.

Starts both as a run does and answers with one JSON object: the child's resident bytes after its first tiny step, its
highest until then, and the supervisor's highest. The profiler asks; it takes a process of its own because the figures
are the process's.
"""

from __future__ import annotations

import json
import sys
from typing import cast

from planner.runner.protocol.events import ChildReady, Message
from planner.runner.supervise import supervisor  # noqa: F401  # loaded, for a run's supervisor has it resident
from planner.runner.supervise.own_memory import GROWTH_BYTES, release_start_memory
from planner.schema.codec import decode, parse_json
from planner.schema.common import Policy
from planner.system.answers import Answers
from planner.system.child import STANDARD_ERROR, ChildProcess
from planner.system.ends import End
from planner.system.proc import read_memory

_CHILD = """
import sys
from planner.schema.codec import to_json
from planner.runner.train import child
from planner.runner.protocol.events import ChildReady, Message
from planner.system.answers import Answers
answers = Answers()
from planner.training.runtime import start_torch
started = start_torch(sys.argv[1], int(sys.argv[2]))
import planner.runner.train.session
answers.emit(to_json(Message(ChildReady("ready", started.baseline_bytes, started.peak_bytes)), indent=None))
"""


def probe(policy: Policy, threads: int) -> dict[str, int]:
    """Bytes of child and supervisor under `policy` with `threads` threads."""
    release_start_memory()
    with ChildProcess(["-c", _CHILD, policy, str(threads)], STANDARD_ERROR) as child:
        line = child.answers.readline()
        if child.process.wait():
            raise SystemExit(End(child.process.returncode).passed_on())
        ready = decode(Message, parse_json(line)).event
    assert isinstance(ready, ChildReady)
    own = read_memory().peak_bytes + GROWTH_BYTES
    return {"baseline_bytes": ready.baseline_bytes, "start_peak_bytes": ready.peak_bytes, "supervisor_bytes": own}


if __name__ == "__main__":
    answers = Answers()
    answers.emit(json.dumps(probe(cast(Policy, sys.argv[1]), int(sys.argv[2]))))

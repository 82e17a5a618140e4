"""What supervisor and child cost before any training: `python -m planner.runner.probe POLICY THREADS`.

Starts both as a run does and prints one JSON object: the child's resident bytes after its first tiny step, its highest
until then, and the supervisor's highest. The profiler asks; it takes a process of its own because the figures are the
process's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import cast

from planner.runner import supervisor
from planner.settings import Policy
from planner.system.ends import End
from planner.system.proc import read_memory

_CHILD = """
import sys
from planner.runner import child
from planner.training.runtime import start_torch
started = start_torch(sys.argv[1], int(sys.argv[2]))
import planner.runner.session
print(started.baseline_bytes, started.peak_bytes)
"""


def probe(policy: Policy, threads: int) -> dict[str, int]:
    """Bytes of child and supervisor under `policy` with `threads` threads."""
    supervisor.slim_down()
    done = subprocess.run([sys.executable, "-c", _CHILD, policy, str(threads)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(End(done.returncode).passed_on())
    baseline, peak = (int(word) for word in done.stdout.split())
    own = read_memory().peak_bytes + supervisor.GROWTH_BYTES
    return {"baseline_bytes": baseline, "start_peak_bytes": peak, "supervisor_bytes": own}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(cast(Policy, sys.argv[1]), int(sys.argv[2]))) + "\n")

"""A measurement for the service: `python -m planner.cli.profile_job FOLDER PARENT_PID CPU_SECONDS`.

Reads request.json in the folder, writes profile.json there; it answers with its progress, a JSON object a line.
Everything temporary lies in the folder too: whoever ends this process removes it with the folder.
The service runs this as a program, since it knows neither profiler nor torch.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from planner.cli.output import print_note
from planner.errors import PlannerError
from planner.profiler.library.store import ProfileStore
from planner.profiler.profile import ProfileRequest, take_profile
from planner.schema.codec import decode, read_json, to_json
from planner.system.answers import Answers
from planner.system.files import write_atomically
from planner.system.machine import probe
from planner.system.rlimit import die_with_parent

_NICE = 5
_MAX_FILE_BYTES = 4 * 2**30


def main() -> int:
    """Measure, and return what the process exits with."""
    folder, parent_pid, cpu_seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent_pid)
    os.environ["TMPDIR"] = str(folder)
    answers = Answers()

    def on_progress(done: int, total: int, name: str) -> None:
        answers.emit(json.dumps({"phase": name, "done": done, "total": total}))

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 10))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    os.nice(_NICE)
    try:
        request = decode(ProfileRequest, {**read_json(folder / "request.json"), "threads": probe().cores})
        profile = ProfileStore.default().obtain(
            request,
            lambda: take_profile(request, on_progress),
            fresh=True,
            waiting=lambda: on_progress(0, 0, "waiting its turn"),
        )
        write_atomically(folder / "profile.json", to_json(profile, indent=None))
    except PlannerError as error:
        print_note(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

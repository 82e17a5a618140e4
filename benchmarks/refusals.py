"""How long bad input takes to be refused: `python -m benchmarks.refusals > benchmarks/results/refusals.md`.

Every command line runs as `neuroflux` does, in this process, three times; the longest counts. That leaves out what
starting Python costs, and leaves in reading and checking files. Times are this process's on a core, so that other work
on the machine hardly shows.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planner.cli.main import main as neuroflux
from planner.model.zoo import from_zoo
from planner.profiler.library.shipped import profile_path
from planner.schema.common import usual_optimizer

ROOT = Path(__file__).resolve().parents[1]
TIMES = 3
LIMIT_SECONDS = 0.05


def cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What is wrong, and the command line."""
    shipped = profile_path(from_zoo("vgg16", (3, 32, 32), 10), usual_optimizer("sgd"))
    known = ["--model", "vgg16", "--any-device"]
    for budget in ("0", "-1", "1MiB", "1e400", "300 miles", "100000TiB"):
        yield f"budget {budget}", [*known, "--budget", budget, "--profile", str(shipped)]
    here = [*known, "--budget", "300MiB"]
    yield "batch 0", [*here, "--profile", str(shipped), "--batch", "0"]
    yield "a profile of another model", [*here, "--profile", str(shipped), "--model", "vgg11"]
    document = json.loads(shipped.read_text())
    for what, value in (("negative", -1), ("overflowing", 10**30), ("fractional", 0.5)):
        document["units"][3]["parameter_bytes"] = value
        yield f"a profile with {what} bytes", [*here, "--profile", str(_written(folder / f"{what}.json", document))]
    unit = {"name": "unit", "layers": [{"kind": "relu", "name": "relu"}]}
    model: dict[str, Any] = {"schema": "model/1", "name": "long", "input": [3, 32, 32], "classes": 10}
    path = _written(folder / "long.json", {**model, "units": [unit] * 10**6})
    yield "a model of 10^6 units", [*here, "--model", str(path)]


def _written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def refuse(arguments: list[str]) -> tuple[float, int, str]:
    """Seconds, exit code, and the last line said."""
    said = io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = neuroflux(["plan", *arguments])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    return time.process_time() - started, code, said.getvalue().strip().splitlines()[-1]


def main() -> None:
    """Print the table."""
    print("Made by `python -m benchmarks.refusals`.\n")
    print("| what is wrong | ms | exit code | answer |\n| --- | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as name:
        refuse(["--budget", "0"])  # imports what a first use imports
        slow = 0
        for what, arguments in cases(Path(name)):
            found = [refuse(arguments) for _ in range(TIMES)]
            seconds, code, line = max(found)
            slow += seconds > LIMIT_SECONDS
            answer = line.replace(name, "…").replace(str(ROOT), ".").replace("|", "/")
            print(f"| {what} | {seconds * 1000:.1f} | {code} | {answer} |", flush=True)
    print(
        "\nBelow what the runtime takes, the answer names the exact smallest budget in both scopes, which is searched."
    )
    print(f"{slow} of them took longer than {LIMIT_SECONDS * 1000:.0f} ms.")


if __name__ == "__main__":
    main()

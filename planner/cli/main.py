"""`neuroflux`: one module per command, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from planner.cli.output import print_error
from planner.errors import InfeasibleError, PlannerError

COMMANDS = {
    "doctor": "show what this device is: memory, cores, allocator, disk speed, what torch costs",
    "profile": "measure what every part of a network costs on this device, in bytes and seconds",
    "plan": "plan a training that stays within a memory budget and is as fast as it can be",
    "run": "train a network as a plan says, without exceeding its budget",
    "report": "compare what a run did with what its plan said, and draw memory against time",
    "evaluate": "measure how good and how fast an exported model is, one unit in memory at a time",
    "export": "write a trained model as an ONNX file for other tools",
    "serve": "hand out plans over REST, keep profiles and runs",
    "enroll": "make this device known to a service, so that it may report to it",
    "demo": "do all of it on bundled images, in minutes: profile, plan, run, report",
}
"""Every command and what it does."""

_EPILOG = """\
start with:   neuroflux demo
then yours:   neuroflux plan --model vgg16 --data PATH --budget 300MiB -o plan.json
              neuroflux run plan.json --data PATH

exit codes:   0 done · 2 bad input · 3 the budget is infeasible · 4 the run failed · 130 interrupted
"""


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of one command, or of the list of commands."""
    if command is None:
        parser = argparse.ArgumentParser(
            prog="neuroflux",
            description="Train a neural network within the memory you name.",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        for name, text in COMMANDS.items():
            commands.add_parser(name, help=text)
        return parser
    parser = argparse.ArgumentParser(prog=f"neuroflux {command}", description=f"{COMMANDS[command].capitalize()}.")
    importlib.import_module(f"planner.cli.{command}").add_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. What goes wrong is said in a line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given and given[0] in COMMANDS else None
    parsed = _parser(command).parse_args(given if command is None else given[1:])
    as_json = getattr(parsed, "json", False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # tables use ×, – and …, which an ASCII terminal lacks
    try:
        code: int = importlib.import_module(f"planner.cli.{command}").run(parsed)
    except PlannerError as error:
        minimum = error.minimum_bytes if isinstance(error, InfeasibleError) else None
        print_error(str(error), error.exit_code, as_json, minimum)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted", 130, as_json)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to tell and nothing to flush it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        print_error(
            f"{_save_traceback()} holds the details of an error in neuroflux itself: {error!r:.200}", 4, as_json
        )
        return 4
    return code


def _save_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="neuroflux-error-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name


if __name__ == "__main__":
    sys.exit(main())

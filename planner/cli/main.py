"""`neuroflux`: one module per command, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planner.cli.output import print_error, print_note
from planner.cli.streams import lasting_streams
from planner.errors import InfeasibleError, InputError, PlannerError

COMMANDS = {
    "doctor": "show what this device is: memory, cores, allocator, disk speed, what torch costs",
    "profile": "measure what every part of a network costs on this device, in bytes and seconds",
    "plan": "plan a training that stays within a memory budget and is as fast as it can be",
    "describe": "show whether a network comes in: as which units, or everything that is in its way",
    "models": "list the networks that go by a name, with their sizes and the least memory that each needs",
    "check": "show what is wrong with a network's description, and where, or what it amounts to",
    "schema": "print JSON Schema of a document: model, profile, plan or report",
    "check-data": "show what is found in a data set and how it is parted, without training",
    "run": "train a network as a plan says, without exceeding its budget",
    "report": "compare what a run did with what its plan said, and draw memory against time",
    "evaluate": "measure how good and how fast an exported model is, one unit in memory at a time",
    "export": "write a trained model as an ONNX file for other tools",
    "export-run": "hand a run to a tool that shows runs: MLflow, Trackio, TensorBoard, Perfetto, PyTorch's visualiser",
    "serve": "hand out plans over REST, keep profiles and runs",
    "service": "administrate a service where its database is: backup, tokens, devices, what is kept",
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


def parser_of(command: str | None) -> argparse.ArgumentParser:
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
    _module(command).add_arguments(parser)
    return parser


def _module(command: str) -> Any:
    """The command's module: `add_arguments` and `run`."""
    return importlib.import_module(f"planner.cli.{command.replace('-', '_')}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. What goes wrong is said in a line on standard error."""
    with lasting_streams():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(given: list[str]) -> int:
    command = given[0] if given and given[0] in COMMANDS else None
    parsed = parser_of(command).parse_args(given if command is None else given[1:])
    as_json = getattr(parsed, "json", False)
    try:
        _check_names(given)
        code: int = _module(command or "").run(parsed)
    except PlannerError as error:
        minimum = error.minimum_bytes if isinstance(error, InfeasibleError) else None
        print_error(str(error), error.exit_code, as_json, minimum)
        for note in getattr(error, "__notes__", ()):
            print_note(note)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted", 130, as_json)
        return 130
    except Exception as error:
        print_error(f"{_save_traceback()}an error in neuroflux itself: {error!r:.200}", 4, as_json)
        return 4
    return code


def _check_names(words: Sequence[str]) -> None:
    """Raise InputError where a name is no text: documents and the processes of a run tell each other paths as text."""
    try:
        here = str(Path.cwd())
    except OSError:  # it was removed: what needs it will say so
        here = ""
    for word in (*words, here):
        if not any("\udc80" <= letter <= "\udcff" for letter in word):
            continue  # none of its bytes could not be read
        name = os.fsencode(word)
        shown = name.decode(errors="backslashreplace")
        if shown.encode() == name:
            raise InputError(
                f"'{shown}': Python takes names for {sys.getfilesystemencoding()} here, and this one is UTF-8; set "
                "PYTHONUTF8=1, or a locale that is UTF-8"
            )
        raise InputError(
            f"'{shown}': is not UTF-8, as names of files and folders have to be here; rename it, or give it a second "
            "name by a link (ln -s)"
        )


def _save_traceback() -> str:
    """Where the details lie, to be followed by what they are of; nothing where there is no room for them."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="neuroflux-error-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return ""
    return f"{file.name} holds the details of "


if __name__ == "__main__":
    sys.exit(main())

"""`neuroflux doctor`: what this device is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.cli import options
from planner.cli.commands import RUNS
from planner.cli.output import print_note, print_result
from planner.schema.codec import encode, to_json
from planner.units import format_bytes

if TYPE_CHECKING:
    from planner.schema.device import DeviceDocument

_LABELS = {
    "total_bytes": "memory total",
    "available_bytes": "memory available",
    "limit_bytes": "memory limit",
    "torch_threads": "torch default threads",
    "threads": "threads used",
    "page_bytes": "memory pages",
    "gpu_total_bytes": "gpu memory",
    "gpu_context_bytes": "gpu context overhead",
}
"""Names of rows where the field's own would not do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where output folders would lie; its storage is timed (default: runs, or the current folder)",
    )
    parser.add_argument(
        "--max-seconds",
        type=options.count("max-seconds", 1, options.MOST_SECONDS),
        metavar="N",
        help="most seconds that torch may take to say what it knows, and again to start (default 120, and 600)",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Look at the device and print what was found."""
    found = examine(arguments.folder, arguments.max_seconds)
    print_result(to_json(found) if arguments.json else _table(found))
    _warn_of_memory(arguments.folder or RUNS)
    return 0


def _warn_of_memory(folder: Path) -> None:
    """Say where runs would store things in memory."""
    from planner.system.storage import memory_kind

    kind = memory_kind(folder)
    if kind is not None:
        print_note(
            f"warning: {folder} is memory ({kind}): what a run keeps there counts in its budget; name an output folder "
            "on storage (neuroflux run --out)"
        )


def examine(folder: Path | None = None, max_seconds: float | None = None) -> DeviceDocument:
    """Look at this device: the machine, the storage behind `folder` (none: where runs lie), what torch costs.

    Torch may take `max_seconds` to answer, and as long to start; none: two minutes, and ten.
    """
    from planner.profiler.bounded import Bounds
    from planner.profiler.profile import measure_start, measured_storage
    from planner.profiler.torch_facts import complete
    from planner.schema.device import Baseline, DeviceDocument
    from planner.system.machine import fingerprint, has_atomics, probe
    from planner.system.torch_fit import torch_fit

    machine = probe()
    fit = torch_fit(machine, has_atomics())
    starts = machine.torch_version is not None and (fit is None or fit.fits)
    if starts:
        machine = complete(machine, max_seconds)
    storage = measured_storage(folder)
    runtime = None
    if starts:
        start = measure_start("tight", machine.cores, Bounds.begin(max_seconds=max_seconds))
        runtime = Baseline(start.baseline_bytes, start.start_peak_bytes, start.supervisor_bytes)
    return DeviceDocument(
        schema="device/1",
        machine=machine,
        threads=machine.cores,
        fingerprint=fingerprint(machine, machine.torch_version, machine.cores),
        storage=storage,
        runtime=runtime,
        torch_fit=None if fit is None else fit.text,
    )


def _table(document: DeviceDocument) -> str:
    fields = encode(document)
    if document.torch_fit is None:
        del fields["torch_fit"]  # every build fits: nothing to choose by
    rows = _rows("", {**fields.pop("machine"), **{name: fields[name] for name in fields if name != "schema"}})
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows)


def _rows(prefix: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        name = prefix + _LABELS.get(key, key).replace("_bytes_per_second", " speed").replace("_bytes", "").replace(
            "_", " "
        )
        if isinstance(value, dict):
            rows += _rows(f"{name} ", value)
        elif key.endswith("_bytes_per_second"):
            rows.append((name, f"{format_bytes(int(value))}/s"))
        elif key.endswith("_bytes") and value is not None:
            rows.append((name, format_bytes(value)))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(str(item) for item in value) or "-"))
        else:
            rows.append((name, _word(value)))
    return rows


def _word(value: Any) -> str:
    if isinstance(value, bool):  # asked first: one core is no "yes"
        return "yes" if value else "no"
    return "none" if value is None else str(value)

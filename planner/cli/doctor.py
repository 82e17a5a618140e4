"""`neuroflux doctor`: what this device is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from planner.cli import options
from planner.cli.output import print_result
from planner.units import format_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where caches would lie; its storage is timed (default: the temporary folder)",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Probe the device and print what was found."""
    from planner.profiler.profile import measure_start
    from planner.system.machine import fingerprint, installed_torch_version, probe
    from planner.system.storage import measure_storage

    machine = probe()
    torch_version = installed_torch_version()
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as name:
        speed = measure_storage(arguments.folder or Path(name))
    found: dict[str, Any] = {
        **dataclasses.asdict(machine),
        "torch": torch_version,
        "fingerprint": fingerprint(machine, torch_version, machine.cores),
        "storage": dataclasses.asdict(speed),
        "runtime": dataclasses.asdict(measure_start("tight", machine.cores)) if torch_version else None,
    }
    print_result(json.dumps(found, indent=1) if arguments.json else _table(found))
    return 0


def _table(found: dict[str, Any]) -> str:
    rows = list(_rows("", found))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows)


def _rows(prefix: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        name = f"{prefix}{key}".replace("_bytes_per_second", " speed").replace("_bytes", "").replace("_", " ")
        if isinstance(value, dict):
            rows += _rows(f"{name} ", value)
        elif key.endswith("_bytes_per_second"):
            rows.append((name, f"{format_bytes(int(value))}/s"))
        elif key.endswith("_bytes") and value is not None:
            rows.append((name, format_bytes(value)))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(str(item) for item in value) or "-"))
        else:
            rows.append((name, {None: "none", True: "yes", False: "no"}.get(value, str(value))))
    return rows

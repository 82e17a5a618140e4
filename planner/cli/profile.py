"""`neuroflux profile`: measure a network on this device."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import options
from planner.cli.measure import measured_profile
from planner.cli.output import print_note, print_result, print_stored_result
from planner.cli.reporting import add_service, check_client
from planner.cli.subject import subject_from
from planner.errors import InputError
from planner.extras import lacks
from planner.schema.codec import to_json
from planner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from planner.schema.profile import Profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    options.add_model(parser)
    options.add_training(parser)
    options.add_head(parser, "heads to measure besides the usual ones, for `neuroflux plan --head`")
    group = parser.add_argument_group("what measuring may take")
    group.add_argument(
        "--max-bytes",
        type=options.size("max-bytes"),
        metavar="BYTES",
        help="most memory of each measuring process (default: 80 %% of what is available here)",
    )
    group.add_argument(
        "--max-seconds",
        type=options.count("max-seconds", 1, options.MOST_SECONDS),
        metavar="N",
        help="most seconds of the whole measurement (default 600)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where output folders will lie; its storage is timed (default: runs, or the current folder)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="also write the profile here, and a picture beside it"
    )
    add_service(parser, "also store the profile")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the file."""
    from planner.report.profile_tables import profile_table
    from planner.system.files import check_target, write_atomically

    if arguments.output is not None and arguments.output.suffix == ".svg":
        raise InputError(f"{arguments.output}: is the name the picture gets; name the profile itself, such as p.json")
    if arguments.output is not None and (missing := lacks("matplotlib", "drawing")) is not None:
        print_note(f"{arguments.output.with_suffix('.svg').name} will not be drawn: {missing}")
    if arguments.output is not None:
        check_target(arguments.output)
    if arguments.report_to is not None:
        _send(arguments, None)  # what would be refused afterwards is refused before minutes are spent
    with tempfile.TemporaryDirectory(prefix="neuroflux-") as work:
        subject = subject_from(arguments, Path(work))
    profile = measured_profile(
        subject.model,
        options.optimizer_from(arguments).optimizer(),
        arguments.batch,
        arguments.dtype,
        arguments.device or "cpu",
        fresh=True,
        max_bytes=arguments.max_bytes,
        max_seconds=arguments.max_seconds,
        folder=arguments.folder,
        head=arguments.head,
    )
    if arguments.output is not None:
        write_atomically(arguments.output, to_json(profile))
        _draw(profile, arguments.output.with_suffix(".svg"))
    show = print_result if arguments.output is None and arguments.report_to is None else print_stored_result
    show(to_json(profile) if arguments.json else profile_table(profile))
    note = left_out_note(profile)
    if note is not None:
        print_note(note)
    if arguments.output is not None:
        print_note(f"written to {arguments.output}")
    if arguments.report_to is not None:
        _send(arguments, profile)
        print_note(f"stored at {arguments.report_to} as {profile.id[:12]}")
    return 0


def _send(arguments: argparse.Namespace, profile: Profile | None) -> None:
    """Store the profile at the service; without one, see only whether the service would have us."""
    check_client()
    from planner.client.credentials import token_given
    from planner.client.service import ServiceClient

    with ServiceClient(arguments.report_to, token_given(arguments.report_to, arguments.token_file)) as service:
        if profile is None:
            service.check()
        else:
            service.store_profile(profile)


def _draw(profile: Profile, path: Path) -> None:
    """The picture beside the profile; without what draws, a note in its place."""
    from planner.report.profile_plot import draw_profile
    from planner.solver.explain.training_step import training_step

    try:
        draw_profile(profile, training_step(profile), path)
    except InputError as error:
        print_note(f"{path.name} was not drawn: {error}")
    else:
        print_note(f"drawn to {path}")


def left_out_note(profile: Profile) -> str | None:
    """What the limits kept from being measured, in one line; None where that is nothing."""
    limits = profile.limits
    if limits is None or not limits.left_out:
        return None
    counts = Counter(left.reason for left in limits.left_out)
    reasons = {
        "does not fit": f"{counts['does not fit']} do not fit in {format_bytes(limits.max_bytes)}",
        "out of time": f"{counts['out of time']} did not come to it within {format_seconds(limits.max_seconds)}",
    }
    components = [*profile.units, *(head.cost for head in profile.heads)]
    least = min(component.costs[-1].micro_batch for component in components)
    wanted = max(left.micro_batch for left in limits.left_out)
    return (
        f"{len(limits.left_out)} micro-batches were left out ({'; '.join(reasons[reason] for reason in counts)}): "
        f"every part was measured up to {least} samples of {wanted}, larger ones are extrapolated"
    )

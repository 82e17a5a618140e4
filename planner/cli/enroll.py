"""`neuroflux enroll`: make this device known to a service."""

from __future__ import annotations

import argparse
import os
import sys

from planner.cli.output import print_note, print_stored_result
from planner.cli.reporting import check_client
from planner.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("url", metavar="URL", help="the service, for instance http://bench.local:8000")
    parser.add_argument(
        "--token",
        metavar="T",
        help="the enrolment token, from POST /v1/enrolments; better in $NEUROFLUX_TOKEN or, with -, on standard input",
    )
    parser.add_argument("--name", metavar="NAME", help="what to call this device (default: its maker's name)")


def run(arguments: argparse.Namespace) -> int:
    """Enrol, and keep the device's own token."""
    check_client()
    from planner.client.credentials import KnownService, remember, token_for
    from planner.client.service import ServiceClient
    from planner.system.machine import probe

    token = (
        sys.stdin.readline().strip() if arguments.token == "-" else arguments.token or os.environ.get("NEUROFLUX_TOKEN")
    )
    if not token:
        raise InputError("--token: an enrolment token is needed; the service's admin gets one from POST /v1/enrolments")
    here = probe()
    if here.torch_version is None:
        print_note("torch is not installed here yet; enrol again when it is, for it decides which profiles apply")
    with ServiceClient(arguments.url, token) as service:
        earlier = token_for(service.address)
        device_id, own = service.enrol(arguments.name or here.name, here, here.cores, earlier)
        path = remember(KnownService(service.address, device_id, own))
    print_stored_result(f"enrolled as {device_id}")
    print_note(f"this device's token is kept in {path}")
    return 0

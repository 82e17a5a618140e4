"""`neuroflux schema`: JSON Schema of a document."""

from __future__ import annotations

import argparse
import json

from planner.cli.output import print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("document", choices=("model", "profile", "plan", "report"), help="which kind of document")


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    from planner.model.written.expand import WrittenModel
    from planner.schema.json_schema import json_schema
    from planner.schema.model import ZooReference
    from planner.schema.plan import Plan
    from planner.schema.profile import Profile
    from planner.schema.report import Report

    kinds: dict[str, tuple[type, ...]] = {
        "model": (WrittenModel, ZooReference),
        "profile": (Profile,),
        "plan": (Plan,),
        "report": (Report,),
    }
    found = json_schema(f"neuroflux {arguments.document}", *kinds[arguments.document])
    print_result(json.dumps(found, indent=1, ensure_ascii=False))
    return 0

"""`neuroflux schema`: JSON Schema of a document."""

from __future__ import annotations

import argparse
import json
from typing import Any

from planner.cli.output import print_result

DOCUMENTS = ("model", "profile", "plan", "report")
"""Kinds of documents that have a schema."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("document", choices=DOCUMENTS, help="which kind of document")


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    print_result(json.dumps(schema_of(arguments.document), indent=1, ensure_ascii=False))
    return 0


def schema_of(document: str) -> dict[str, Any]:
    """The schema of a kind of document."""
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
    return json_schema(f"neuroflux {document}", *kinds[document])

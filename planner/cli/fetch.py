"""`python -m planner.cli.fetch URL [TOKEN_FILE]`: answer with the plan at a URL.

A process of its own, so that what httpx takes is gone before the training begins.
"""

from __future__ import annotations

import sys
from pathlib import Path

from planner.cli.output import print_note
from planner.client.credentials import token_given
from planner.client.service import ServiceClient
from planner.errors import PlannerError
from planner.schema.codec import to_json
from planner.system.answers import Answers


def main() -> int:
    """Tell it, and return what the process exits with."""
    answers = Answers()
    url, token_file = sys.argv[1], next(map(Path, sys.argv[2:]), None)
    try:
        with ServiceClient(url, token_given(url, token_file)) as service:
            answers.emit(to_json(service.plan_at(url), indent=None))
    except PlannerError as error:
        print_note(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What an image installs besides the project: `python wanted.py PYPROJECT EXTRA…` prints it, one a line."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def wanted(pyproject: Path, extras: list[str]) -> list[str]:
    """What the project needs, with these extras, and what builds it (without isolation, so that the lock holds)."""
    found = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = found["project"]
    optional = [each for extra in extras for each in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *optional, *found["build-system"]["requires"]]


if __name__ == "__main__":
    sys.stdout.write("\n".join(wanted(Path(sys.argv[1]), sys.argv[2:])) + "\n")

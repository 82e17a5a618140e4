"""Write the pages of `docs/reference` that come from the code, or say which are stale.

python -m docs.generate            write them
python -m docs.generate --check    say which differ; exit code 1 where any does
"""

from __future__ import annotations

import sys
from pathlib import Path

from docs.generate import command_line, documents, errors, python_api, rest

FOLDER = Path(__file__).parents[1] / "reference"


def pages() -> dict[str, str]:
    """Every page that is made, by its file's name."""
    return {
        "command-line.md": command_line.render(),
        "python.md": python_api.render(),
        "rest.md": rest.render(),
        "errors.md": errors.render(),
        **documents.pages(),
    }


def stale(folder: Path, made: dict[str, str]) -> list[str]:
    """The names of pages in `folder` that are not what the code says now."""
    return [
        name
        for name, text in made.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write or check."""
    made = pages()
    differing = stale(FOLDER, made)
    if arguments == ["--check"]:
        for name in differing:
            print(f"docs/reference/{name} is not what the code says: run `make reference`", file=sys.stderr)
        return 1 if differing else 0
    FOLDER.mkdir(exist_ok=True)
    for name in differing:
        (FOLDER / name).write_text(made[name], encoding="utf-8")
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

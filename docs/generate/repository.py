"""A hook of MkDocs: files of the repository that lie outside `docs/` become pages, and links to them lead there.

So a link like `../benchmarks/results/memory.md` works where the repository is read, and in the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PATTERNS = ("*.md", "benchmarks/results/*.md", "benchmarks/results/*.svg", "examples/*.py")
_FOLDER = "repository"
_LINK = re.compile(r"(\]\()([^)\s#]+)")


def published() -> dict[str, str]:
    """Files outside `docs/` that are pages or pictures of the site: the address of each, by its path."""
    found = (path.relative_to(ROOT).as_posix() for pattern in _PATTERNS for path in sorted(ROOT.glob(pattern)))
    return {path: f"{_FOLDER}/{path}" for path in found}


def redirected(text: str, path: str, files: dict[str, str]) -> str:
    """The text of the page at `path`, with links between files of the repository as links between pages.

    Args:
        text: Markdown.
        path: where the page lies in the repository, for instance `docs/tutorial.md`.
        files: as `published` has them.
    """
    here = posixpath.dirname(_address(path, files) or path)

    def link(found: re.Match[str]) -> str:
        target = found[2]
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        address = _address(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)), files)
        return found[0] if address is None else f"{found[1]}{posixpath.relpath(address, here or '.')}"

    return _LINK.sub(link, text)


def _address(path: str, files: dict[str, str]) -> str | None:
    """Where a file of the repository is in the site; none where it is not."""
    return path.removeprefix("docs/") if path.startswith("docs/") else files.get(path)


def on_files(files: Any, config: Any) -> Any:
    """MkDocs has collected `docs/`: add what lies elsewhere."""
    from mkdocs.structure.files import File

    for path, address in published().items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs has read a page."""
    address: str = page.file.src_uri
    outside = address.removeprefix(f"{_FOLDER}/")
    return redirected(markdown, outside if outside != address else f"docs/{address}", published())

"""The dashboard's files: compressed, and kept by browsers under an address that changes with what they hold."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

_TEXTS = frozenset({".js", ".css", ".html", ".svg"})
"""What is worth compressing."""

_FOREVER = "private, max-age=31536000, immutable"
_ASK_AGAIN = "private, no-cache"

_LINKS = ("icon.svg", "vendor/", "style.css", "main.js")
"""What the first page names."""


class Assets(StaticFiles):
    """A folder of files. `is_versioned`: its address changes with it, so browsers need not ask again."""

    def __init__(self, directory: Path, is_versioned: bool = False, html: bool = False) -> None:
        super().__init__(directory=directory, html=html)
        self._policy = _FOREVER if is_versioned else _ASK_AGAIN
        self._zipped: dict[tuple[str, float], bytes] = {}

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """A file, compressed for who takes that, or that it has not changed."""
        asked = Headers(scope=scope)
        found: Response = FileResponse(full_path, status_code=status_code, stat_result=stat_result)
        is_text = Path(full_path).suffix in _TEXTS
        if is_text and "gzip" in asked.get("accept-encoding", "") and scope["method"] == "GET":
            kind, etag = found.headers["content-type"], found.headers["etag"].strip('"')
            found = Response(self._compressed(str(full_path), stat_result.st_mtime), status_code)
            found.headers.update({"Content-Type": kind, "Content-Encoding": "gzip", "ETag": f'"{etag}-gzip"'})
        found.headers["Cache-Control"] = self._policy
        if is_text:
            found.headers["Vary"] = "Accept-Encoding"
        return NotModifiedResponse(found.headers) if self.is_not_modified(found.headers, asked) else found

    def _compressed(self, path: str, changed: float) -> bytes:
        """Its bytes, compressed once. Files of a release do not change; an edited one is compressed anew."""
        key = (path, changed)
        if key not in self._zipped:
            self._zipped[key] = gzip.compress(Path(path).read_bytes(), 9, mtime=0)
        return self._zipped[key]


def version_of(folder: Path) -> str:
    """What a folder's files hold, in short."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def first_page(folder: Path, version: str) -> str:
    """`index.html`, naming its files below `assets/VERSION`."""
    text = (folder / "index.html").read_text()
    for link in _LINKS:
        text = text.replace(f'="{link}', f'="assets/{version}/{link}')
    return text


def page_answer(request: Request, text: str) -> Response:
    """A page that browsers ask for again, and are told when it has not changed."""
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": _ASK_AGAIN}
    if etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    return Response(text, headers=headers, media_type="text/html")

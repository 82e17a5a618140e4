"""Files of the dashboard: compressed, kept by browsers, and never an old one beside a new one."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from starlette.testclient import TestClient

from api import app, assets


def test_files_are_compressed_for_who_takes_that(local: TestClient) -> None:
    plain = local.get("/style.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == (app.DASHBOARD / "style.css").read_bytes()
    with local.stream("GET", "/style.css", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip" and answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"] == plain.headers["content-type"]
    assert gzip.decompress(raw) == plain.content and len(raw) < len(plain.content) / 2
    assert answer.headers["etag"] != plain.headers["etag"]


def test_the_first_page_names_files_that_browsers_may_keep(local: TestClient) -> None:
    page = local.get("/")
    assert page.headers["cache-control"] == "private, no-cache"
    again = local.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    links = re.findall(r'(?:src|href)="([^"#]*\.(?:js|css|svg))"', page.text)
    assert len(links) >= 4 and all(link.startswith("assets/") for link in links)
    for link in links:
        answer = local.get(f"/{link}")
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    assert local.get("/assets/0000000000000000/main.js").status_code == 404  # of another release


def test_a_file_that_has_not_changed_is_not_sent_again(local: TestClient) -> None:
    for encoding in ("identity", "gzip"):
        headers = {"Accept-Encoding": encoding}
        first = local.get("/pages/docs.js", headers=headers)
        again = local.get("/pages/docs.js", headers={**headers, "If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_changed_file_changes_the_address(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "one.js").write_text("1")
    before = assets.version_of(tmp_path)
    (tmp_path / "views" / "one.js").write_text("2")
    assert assets.version_of(tmp_path) != before

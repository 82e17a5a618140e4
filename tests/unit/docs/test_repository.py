"""Links between files of the repository lead to pages of the site."""

from __future__ import annotations

import pytest

from docs.generate.repository import published, redirected

FILES = {"CHANGELOG.md": "repository/CHANGELOG.md", "benchmarks/results/a.md": "repository/benchmarks/results/a.md"}


@pytest.mark.parametrize(
    ("path", "link", "expected"),
    [
        ("docs/index.md", "data.md", "data.md"),
        ("docs/how-to/x.md", "../data.md#csv", "../data.md#csv"),
        ("docs/index.md", "../benchmarks/results/a.md", "repository/benchmarks/results/a.md"),
        ("docs/how-to/x.md", "../../CHANGELOG.md", "../repository/CHANGELOG.md"),
        ("CHANGELOG.md", "docs/data.md", "../data.md"),
        ("benchmarks/results/a.md", "../../CHANGELOG.md", "../../CHANGELOG.md"),
        ("docs/index.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("docs/index.md", "#part", "#part"),
        ("docs/index.md", "../nowhere.py", "../nowhere.py"),
    ],
)
def test_a_link_leads_where_its_file_is_in_the_site(path: str, link: str, expected: str) -> None:
    assert redirected(f"see [it]({link}).", path, FILES) == f"see [it]({expected})."


def test_what_is_published_lies_outside_docs() -> None:
    found = published()
    assert found["CHANGELOG.md"] == "repository/CHANGELOG.md"
    assert not any(path.startswith("docs/") for path in found)

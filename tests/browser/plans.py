"""What tests of a plan's pages share."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, Route

from tests.browser.served import Served


def shown_plan(page: Page, served: Served) -> Any:
    """The plan that the address names."""
    found = re.search(r"#/plans/([0-9a-f]{64})", page.url)
    assert found is not None, page.url
    return served.get(f"/v1/plans/{found[1]}")


def hold(page: Page, pattern: str) -> list[Route]:
    """Requests, held until the test lets them go on."""
    held: list[Route] = []
    page.route(pattern, lambda route: held.append(route))  # Playwright takes no builtin
    return held


def open_experts(page: Page) -> None:
    """Unfold the fields that few people need."""
    page.locator("details:has(> summary:text('More terms'))").evaluate("one => one.open = true")

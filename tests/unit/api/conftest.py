"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.unit.api.service import service


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A service without authentication, on each kind of database."""
    with service(database_url, tmp_path) as found:
        yield found


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A service without authentication, where the kind of database does not matter."""
    with service(sqlite_url, tmp_path) as found:
        yield found


@pytest.fixture
def guarded(sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A service that asks for tokens."""
    with service(sqlite_url, tmp_path, authentication=True) as found:
        yield found

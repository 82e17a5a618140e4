"""Real databases for tests: files of SQLite, and a PostgreSQL server that is started for the session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from api.store.migrate import upgrade

USER = "neuroflux"


def _program(name: str) -> str | None:
    folders = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, up to the database's name. Skips where there is none."""
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="nfx-pg-") as name:
        folder, port = Path(name), _free_port()
        user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            if subprocess.run(["id", "postgres"], capture_output=True).returncode:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
            shutil.chown(folder, "postgres")
            user = "postgres"
        data = folder / "data"
        make: list[str | Path] = [initdb, "-D", data, "-A", "trust", "-U", USER, "--no-sync"]
        made = subprocess.run(make, capture_output=True, user=user, group=user)
        if made.returncode:
            pytest.skip(f"initdb failed: {made.stderr.decode(errors='replace')[-300:]}")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        server: list[str | Path] = [control, "-D", data, "-l", folder / "log", "-w"]
        quiet = subprocess.DEVNULL
        subprocess.run([*server, "-o", options, "start"], check=True, stdout=quiet, user=user, group=user)
        try:
            yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/"
        finally:
            subprocess.run([*server, "-m", "immediate", "stop"], check=True, stdout=quiet, user=user, group=user)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "service.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_copies(postgres: str) -> Callable[[], str]:
    """Makes databases that are up to date already."""
    numbers = iter(range(10**6))

    def create(name: str, source: str) -> None:
        engine = create_engine(postgres + "postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {source}"))
        engine.dispose()

    create("migrated", "template0")
    upgrade(postgres + "migrated")

    def copy() -> str:
        name = f"test_{next(numbers)}"
        create(name, "migrated")
        return postgres + name

    return copy


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of the test's own, once of each kind."""
    if request.param == "postgres":
        copies: Callable[[], str] = request.getfixturevalue("_postgres_copies")
        return copies()
    template: Path = request.getfixturevalue("_sqlite_template")
    shutil.copy(template, tmp_path / "service.sqlite3")
    return f"sqlite:///{tmp_path / 'service.sqlite3'}"


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """A file of the test's own."""
    shutil.copy(_sqlite_template, tmp_path / "service.sqlite3")
    return f"sqlite:///{tmp_path / 'service.sqlite3'}"


@pytest.fixture
def postgres_url(_postgres_copies: Callable[[], str]) -> str:
    """A database of the test's own."""
    return _postgres_copies()

"""Real processes of the service, started as a person starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")

_START_SECONDS = 60


class Server:
    """`neuroflux serve`, and a client of it."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / f"log-{time.monotonic_ns()}").open("w+b")
        serve = [sys.executable, "-m", "planner.cli.main", "serve", "--port", "0"]
        command: list[str | Path] = [*serve, "--data-dir", folder, *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "XDG_DATA_HOME": str(folder / "xdg"), **(environment or {})},
        )
        assert self.process.stdout is not None
        self.url = "" if "worker" in arguments else self._address()
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def _address(self) -> str:
        killer = threading.Timer(_START_SECONDS, self.process.kill)
        killer.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        killer.cancel()
        assert line.startswith("listening on "), self.log()
        return line.split()[-1]

    def log(self) -> str:
        """What it wrote on standard error."""
        self._log.seek(0)
        return self._log.read().decode()

    def kill(self) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def children(self, module: str) -> list[int]:
        """Pids of this process's own children that run a module."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split() if module in _command(int(pid))]

    def close(self) -> None:
        """Leave nothing running."""
        self.client.close()
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@contextmanager
def serving(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A server that is gone at the end."""
    server = Server(folder, *arguments, environment=environment)
    try:
        yield server
    finally:
        server.close()


def until(look: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    """What `look` finds, once it does."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        pause.wait(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")

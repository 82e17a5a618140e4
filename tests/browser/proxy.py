"""A network between browser and service that can be cut: connections break, and none gets through until mended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Wire:
    """Listens on a port of its own and passes everything on to `port`."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._whole = threading.Event()
        self._whole.set()
        self._head_only = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._whole.clear()
        with self._lock:
            for each in self._sockets:
                _end(each)

    def cut_within_answers(self) -> None:
        """Break every connection behind the head of the next answer on it."""
        self._head_only.set()

    def mend(self) -> None:
        """Let connections and whole answers through again."""
        self._head_only.clear()
        self._whole.set()

    def close(self) -> None:
        """No more of it."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole.is_set():
                near.close()
                continue
            far = socket.create_connection(self._to)
            with self._lock:
                self._sockets |= {near, far}
            for source, target, is_answer in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pass, args=(source, target, is_answer), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self._head_only.is_set():
                    head, end, _ = data.partition(b"\r\n\r\n")
                    target.sendall(head + end)
                    break
                target.sendall(data)
        with self._lock:
            for each in (source, target):
                _end(each)
                self._sockets.discard(each)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)

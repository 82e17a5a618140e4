"""The end of a child process: its exit code or signal, what that most likely means, and in words."""

from __future__ import annotations

import signal
from dataclasses import dataclass

_SHELL_BASE = 128
"""A process whose own child was ended by signal N exits with this much more, as shells do."""

_MEANINGS = {
    signal.SIGKILL: "most likely by the kernel for lack of memory",
    signal.SIGABRT: "by a library that gave up, perhaps for lack of memory",
    signal.SIGSEGV: "by a fault in a library, which some have where memory is refused",
    signal.SIGBUS: "by a mapped file that could not be read: a failing storage, or a file that was cut short",
    signal.SIGILL: "for an instruction that this processor lacks: this build of torch is meant for newer ones; install "
    "one that is not (on Armv8.0, such as Cortex-A53 and A72, torch 2.9 or older)",
    signal.SIGFPE: "by a fault in a library's arithmetic",
    signal.SIGXCPU: "by a limit on processor time",
    signal.SIGXFSZ: "by a limit on the size of files",
}

_MAY_BE_MEMORY = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)


@dataclass(frozen=True)
class End:
    """How a child has ended."""

    code: int
    """As `subprocess` gives it: the exit code, or the negative number of the signal that ended it."""

    @property
    def signal(self) -> int:
        """The signal that ended it, or that ended its own child (exit 128 + signal); 0 where it ended by itself."""
        if self.code < 0:
            return -self.code
        number = self.code - _SHELL_BASE
        return number if 0 < number < signal.NSIG else 0

    @property
    def may_be_memory(self) -> bool:
        """Whether lack of memory may be the cause, so that needing less may help: SIGKILL (most likely the kernel's),
        SIGABRT and SIGSEGV (a library that cannot handle a refused allocation; a guess)."""
        return self.signal in _MAY_BE_MEMORY

    @property
    def name(self) -> str:
        """`SIGKILL`, `signal 40`, `exit 3`."""
        if not self.signal:
            return f"exit {self.code}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"

    @property
    def words(self) -> str:
        """`killed (SIGKILL)`, `ended (SIGILL)`, `ended (exit 3)`: what follows "the process was"."""
        return f"{'killed' if self.signal == signal.SIGKILL else 'ended'} ({self.name})"

    @property
    def explained(self) -> str:
        """The same and what it means, where that is known."""
        meaning = _MEANINGS.get(signal.Signals(self.signal)) if self.name.startswith("SIG") else None
        return self.words if meaning is None else f"{self.words} {meaning}"

    def passed_on(self) -> int:
        """The exit code for this process, so that its own parent learns how the child ended."""
        return _SHELL_BASE + self.signal if self.signal else self.code

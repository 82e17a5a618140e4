"""The pool of warm solver workers: what a request makes the solver do has a ceiling in memory and in time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from api.limits import MAX_PROFILE_BYTES, MAX_WAITING_SOLVES, SOLVER_BYTES, SOLVER_PROFILES, SOLVER_SECONDS
from api.problems import Problem, overloaded
from planner.errors import RunError
from planner.schema.codec import to_json
from planner.schema.request import Request
from planner.system.child import STANDARD_ERROR, answering
from planner.system.ends import End
from planner.tasks.kinds import AnyTask

_LOG = logging.getLogger("neuroflux.api")

_START_SECONDS = 30.0
_WARM_UP_SECONDS = 0.5
_END_SECONDS = 5.0


@dataclass
class _Worker:
    """One process, and which profiles it holds."""

    process: asyncio.subprocess.Process
    answers: asyncio.StreamReader
    held: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def holds(self, profile_id: str) -> bool:
        """Whether the profile is there; afterwards it is, and the one unused for longest may have gone."""
        was_there = profile_id in self.held
        self.held[profile_id] = None
        self.held.move_to_end(profile_id)
        while len(self.held) > SOLVER_PROFILES:
            self.held.popitem(last=False)
        return was_there


class SolverPool:
    """Some processes that solve, one request at a time each. Started on first use, replaced when one breaches."""

    def __init__(self, workers: int, memory_bytes: int = SOLVER_BYTES) -> None:
        self._memory_bytes = memory_bytes
        # The last one that came back goes first: it is there, and it holds the profiles that are asked for.
        self._free: asyncio.LifoQueue[_Worker | None] = asyncio.LifoQueue()
        for _ in range(workers):
            self._free.put_nowait(None)
        self._warm = asyncio.Event()
        self._warm.set()
        self._running: dict[asyncio.subprocess.Process, asyncio.ReadTransport] = {}
        self.waiting = 0
        self.solved = 0
        self.replaced = 0

    async def warm_up(self) -> None:
        """Start one worker, so that the first request finds it ready; not at once, for the first answer comes first."""
        await asyncio.sleep(_WARM_UP_SECONDS)
        if self._running or self._free.empty():
            return
        worker = self._free.get_nowait()
        self._warm.clear()
        try:
            worker = await self._start()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            _LOG.warning("a solver worker cannot be started: %s", error)
        finally:
            self._free.put_nowait(worker)
            self._warm.set()

    async def solve(self, profile_id: str, profile: bytes, request: Request) -> dict[str, Any]:
        """The plan, as a row. Raises Problem: infeasible, wrong, over a ceiling, or too many requests."""
        answer = await self._answer(profile_id, profile, {"request": request})
        self.solved += 1
        row: dict[str, Any] = answer["plan"]
        return row

    async def look(self, profile_id: str, profile: bytes, plan: dict[str, Any], about: str) -> list[Any]:
        """The plan's frontier, or its units: what `about` names. Raises Problem as `solve` does."""
        question = {"request": None, "plan": plan, "about": about}
        rows: list[Any] = (await self._answer(profile_id, profile, question))["rows"]
        return rows

    async def check_profile(self, profile: bytes) -> dict[str, Any]:
        """A profile that was sent in, as a row. Raises Problem where it is none."""
        row: dict[str, Any] = (await self._answer("", profile, {"request": None}))["row"]
        return row

    async def read_onnx(self, file: bytes, task: AnyTask) -> tuple[dict[str, Any], list[str]]:
        """The network of an ONNX file, for `task`, as a row, and what is to be known of it. Raises Problem where it is
        none."""
        answer = await self._answer("", file, {"request": None, "about": "onnx", "task": task})
        return answer["row"], answer["notes"]

    async def read_model(self, text: bytes, field: str) -> dict[str, Any]:
        """A model: `row` as it is kept, `facts` as `ModelFacts`. `text` is a description or a zoo name, as JSON.

        Raises Problem, at `field`, where it is none.
        """
        return await self._answer("", text, {"request": None, "about": "model", "field": field})

    async def list_zoo(self) -> list[dict[str, Any]]:
        """The zoo's models in short."""
        rows: list[dict[str, Any]] = (await self._answer("", b"", {"request": None, "about": "zoo"}))["rows"]
        return rows

    async def _answer(self, profile_id: str, profile: bytes, question: dict[str, Any]) -> dict[str, Any]:
        if self.waiting >= MAX_WAITING_SOLVES:
            raise overloaded("too many plans are being made")
        self.waiting += 1
        try:
            await self._warm.wait()  # a worker that is being started is ready sooner than one that is started now
            worker = await self._free.get()
        finally:
            self.waiting -= 1
        try:
            worker = worker or await self._start()
            answer = await asyncio.wait_for(self._ask(worker, profile_id, profile, question), SOLVER_SECONDS)
        except BaseException as error:
            # Cancelled requests included: the worker is in the middle of an answer that nobody waits for any more.
            broken = isinstance(error, (ConnectionError, asyncio.IncompleteReadError))
            try:
                end = await _end_of(worker) if broken and worker is not None else None
            finally:
                self._end(worker)
                worker = None
            if end is not None and not end.may_be_memory:
                raise RunError(f"a solver's process was {end.explained}, unexpectedly") from None
            if isinstance(error, TimeoutError):
                raise _over("time", f"solving takes more than {SOLVER_SECONDS:.0f} s", int(SOLVER_SECONDS)) from None
            if broken or isinstance(error, MemoryError):
                detail = "solving takes more memory than one request may have"
                raise _over("memory", detail, self._memory_bytes) from None
            raise
        finally:
            self._free.put_nowait(worker)
        if "kind" in answer:
            raise Problem(answer["status"], answer["kind"], answer["detail"], **answer["extra"])
        return answer

    async def _start(self) -> _Worker:
        with answering() as (source, target, environment):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "api.solver_worker",
                str(os.getpid()),
                str(self._memory_bytes),
                stdin=asyncio.subprocess.PIPE,
                stdout=STANDARD_ERROR,
                env=environment,
                pass_fds=(target,),
            )
        answers, self._running[process] = await _open(source)
        await asyncio.wait_for(answers.readuntil(b"ready\n"), _START_SECONDS)
        return _Worker(process, answers)

    async def _ask(self, worker: _Worker, profile_id: str, profile: bytes, question: dict[str, Any]) -> dict[str, Any]:
        stdin = worker.process.stdin
        assert stdin is not None
        sent = profile if not profile_id or not worker.holds(profile_id) else b""
        message = {"profile_id": profile_id, "profile_bytes": len(sent), **question}
        stdin.write(to_json(message, indent=None).encode() + b"\n" + sent)
        await stdin.drain()
        answer: dict[str, Any] = json.loads(await worker.answers.readuntil(b"\n"))
        if "over" in answer:
            raise MemoryError
        return answer

    def _end(self, worker: _Worker | None) -> None:
        if worker is None:
            return
        self.replaced += 1
        _LOG.warning("a solver worker is replaced")
        if worker.process.returncode is None:
            worker.process.kill()
        if worker.process in self._running:
            self._running.pop(worker.process).close()

    async def close(self) -> None:
        """End all workers."""
        for process, pipe in self._running.items():
            pipe.close()
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _end_of(worker: _Worker) -> End | None:
    """How a worker that has closed its pipe ended; None where it has not."""
    try:
        return End(await asyncio.wait_for(worker.process.wait(), _END_SECONDS))
    except TimeoutError:
        return None


async def _open(pipe: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """What arrives in a pipe, and what closes it."""
    reader = asyncio.StreamReader(limit=2 * MAX_PROFILE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    return reader, transport


def _over(what: str, detail: str, limit: int | None) -> Problem:
    return Problem(422, f"solver-{what}-limit", f"{detail}; send a smaller model or profile", limit=limit)

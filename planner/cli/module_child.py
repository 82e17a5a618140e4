"""`python -m planner.cli.module_child PARENT_PID`: a `ModuleQuestion` in, a `ModuleReply` out. Brings torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from planner.cli.module import ModuleQuestion, ModuleReply
from planner.errors import ModelError, PlannerError
from planner.model.importers.apart import described
from planner.model.importers.description import Description
from planner.model.importers.factory import made_by
from planner.model.importers.given import Given, state_of, unwrapped
from planner.model.importers.obstacles import Obstacle, obstacles_of
from planner.runner.storage.weights import save_tensors
from planner.schema.child_failed import ChildFailed
from planner.schema.codec import decode, parse_json, to_json
from planner.system.answers import Answers
from planner.system.rlimit import die_with_parent

_PICK = "pick one: outputs=lambda out: "


def _reply(question: ModuleQuestion) -> ModuleReply:
    torch.manual_seed(0)  # equal code gives equal descriptions, which a profile is kept by
    try:
        module = made_by(question.name)
        dtype = torch.int64 if question.input_dtype == "int64" else torch.float32
        sample = torch.zeros(2, *question.input, dtype=dtype)
        found = described(Given(module, sample, question.classes, None, question.task, question.input_dtype))
    except ModelError as error:
        return ModuleReply(Description(None, obstacles_of(error)))
    if found.accepted and question.state_dict is not None:
        _save(module, Path(question.state_dict))
    return ModuleReply(replace(found, obstacles=tuple(map(_without_python, found.obstacles))))


def _without_python(obstacle: Obstacle) -> Obstacle:
    """The command line has no `outputs`: the function picks."""
    words = obstacle.remedy.removeprefix(_PICK)
    return obstacle if words == obstacle.remedy else replace(obstacle, remedy=f"have its forward return {words}")


def _save(module: nn.Module, target: Path) -> None:
    save_tensors(target, state_of(unwrapped(module)).items())


def main(parent_pid: int) -> int:
    """Answer what is asked on standard input."""
    die_with_parent(parent_pid)
    answers = Answers()
    question = decode(ModuleQuestion, parse_json(sys.stdin.buffer.read()))
    try:
        reply = _reply(question)
    except PlannerError as error:
        reply = ModuleReply(failed=ChildFailed.of(error))
    answers.emit(to_json(reply, indent=None))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

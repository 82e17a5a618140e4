"""The page of exit codes and errors, from the tree of errors and what there is to do about each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from docs.generate import markdown
from planner import errors

_ABOUT = """
A command prints one sentence on standard error: what was wrong, where, and what would be right. Its exit code says
which kind of thing it was. From Python the same sentence is the text of an exception; all of them come from
`planner.errors.PlannerError`. With `--json`, the sentence is the field `error` of a document on standard output.
"""

_CODES: Mapping[int, tuple[str, str]] = {
    0: ("Done", "Nothing. What was asked for is there, and a run stayed within its budget."),
    2: (
        "Bad input",
        "Read the sentence: it names the option, file or field, its value, and what would be right. Correct that and "
        "type the command again. Nothing was written.",
    ),
    3: (
        "The budget is infeasible",
        "Nothing was trained. The sentence names the smallest budget (or storage) that is enough, and what takes most "
        "of it. Give that much, or ask for less: a smaller `--batch`, `--dtype bfloat16`, another `--strategy` (`auto` "
        "needs least), no `--max-cuts`, a smaller network.",
    ),
    4: (
        "The run failed, or was above its budget",
        "What was trained is kept in the output folder. `neuroflux report DIR` says what happened and which command "
        "goes on; `child.log` in the folder has the training process's own words. See "
        "[Troubleshooting](../troubleshooting.md).",
    ),
    130: (
        "Interrupted",
        "It was stopped by Ctrl-C or SIGTERM and has saved first. `neuroflux run … --resume` goes on.",
    ),
}

WHAT_TO_DO: Mapping[str, str] = {
    "PlannerError": "Base of all others; catch it to catch them all.",
    "InputError": "Correct the option, argument or file that the sentence names.",
    "DocumentError": "Correct the field at `path`. `neuroflux schema KIND` prints what the document may hold, and "
    "`neuroflux check MODEL.json` looks at a network's description. A document of a newer version wants a newer "
    "neuroflux.",
    "ModelError": "Correct the unit that is named, or, where it came from a module, the line of your code. "
    "[How networks come in](../networks.md) says what is possible.",
    "RefusedModelError": "`planner.describe(module, sample)` or `neuroflux describe` lists every obstacle with the "
    "line of your code and a way round it.",
    "DataError": "Look at the file and record that are named; `neuroflux check-data PATH` shows what is found. "
    "[What data is read](../data.md).",
    "InfeasibleError": "Give `minimum_bytes`, or ask for less (see exit code 3 above).",
    "RunError": "`neuroflux report DIR` and `child.log` in the folder say why. Where a block has diverged, take a "
    "lower `--lr` or a `--warmup`; the last good checkpoint is kept.",
    "OverBudgetError": "Every smaller setting was tried. Something else than the plan foresees takes memory: measure "
    "again (`neuroflux profile`), plan anew, or leave more room with `--reserve`.",
    "ExceededError": "The network is trained and lies in the folder; `report.peak` says in which phase of which block "
    "the peak was. Plan with a larger `--reserve`, and please report it: it should not happen.",
    "StorageError": "Make room, or let the other run end; then `--resume`. What storage has spoiled is made again.",
    "ShardError": "Nothing: the run computes the shard anew, and the report says so.",
    "InterruptedRunError": "Type the command again with `--resume`.",
}
"""For every class of the tree."""


def render() -> str:
    """The page."""
    kinds = list(_below(errors.PlannerError))
    tree = inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2]
    return markdown.page(
        "Exit codes and errors",
        _ABOUT,
        "## Exit codes",
        markdown.table(
            ("code", "means"), ([f"[{code}](#exit-code-{code})", name] for code, (name, _) in _CODES.items())
        ),
        *(part for code in _CODES for part in _code(code, kinds)),
        "## Errors",
        markdown.block(tree),
        *(part for kind in kinds for part in _error(kind)),
    )


def _code(code: int, kinds: list[type[errors.PlannerError]]) -> Iterator[str]:
    name, what = _CODES[code]
    yield f"### Exit code {code}"
    yield f"{name}. **What to do:** {what}"
    named = [f"[`{kind.__name__}`](#{kind.__name__.lower()})" for kind in kinds if kind.exit_code == code]
    if named and code:
        yield f"Errors: {', '.join(named)}."


def _error(kind: type[errors.PlannerError]) -> Iterator[str]:
    yield f"### {kind.__name__}"
    yield markdown.paragraphs(inspect.getdoc(kind) or "")
    yield f"Exit code {kind.exit_code}. **What to do:** {WHAT_TO_DO[kind.__name__]}"


def _below(kind: type[errors.PlannerError]) -> Iterator[type[errors.PlannerError]]:
    """A class of the tree in `planner.errors` and all below it, from the top down."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _below(each)

"""Train networks in too little memory: profile, plan, run.

From Python: `plan = planner.plan(module, sample, budget="300MiB")`, then `planner.run(plan, dataset)`; see
`planner.python.facade`.
"""

from __future__ import annotations

from typing import Any

_FACADE = ("plan", "profile", "run")


def __getattr__(name: str) -> Any:
    """Load the facade when it is first asked for: importing this package has to cost nothing in a measured child."""
    if name not in _FACADE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("planner.python.facade"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_FACADE))

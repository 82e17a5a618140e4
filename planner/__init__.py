"""Train networks in too little memory: profile, plan, run.

From Python: `plan = planner.plan(module, sample, budget="300MiB")`, then `planner.run(plan, dataset)`; see
`planner.python`.
"""

from __future__ import annotations

from typing import Any

_FACADE = {
    "describe": "planner.python.facade",
    "plan": "planner.python.facade",
    "profile": "planner.python.facade",
    "run": "planner.python.run",
}


def __getattr__(name: str) -> Any:
    """Load a function's module when it is first asked for: importing this package costs a measured child nothing."""
    if name not in _FACADE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FACADE[name]), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *_FACADE))

"""A person's module from the name of the function that makes it: `package.module:function`. Needs torch.

It runs that person's code: call it in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from planner.errors import ModelError
from planner.model.importers.obstacles import Obstacle, refusal
from planner.model.importers.places import line_of_error


def made_by(name: str) -> nn.Module:
    """The module that `name` makes, or is: `package.module:function`, or `folder/file.py:function`.

    Modules are looked for in the working directory first, as `python -m` does, and before that in the folder of a file,
    as `python FILE` does. Raises ModelError where there is no such function, or the code fails, with its line.
    """
    where, _, what = name.rpartition(":")
    module = _imported(where)
    found: object = module
    for part in what.split("."):
        if not hasattr(found, part):
            raise ModelError(f"{where} has no {what!r}{_others(module)}")
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise ModelError(f"{name}: is a {type(found).__name__}; a function that returns a torch.nn.Module is needed")
    try:
        made = found()
    except (Exception, SystemExit) as error:  # whatever it does
        raise _failed(error, f"calling {what}() fails") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name}: returns a {type(made).__name__}; a torch.nn.Module is needed")
    return made


def _imported(where: str) -> ModuleType:
    is_file = where.endswith(".py")
    here = str(Path.cwd())
    folders = [str(Path(where).absolute().parent), here] if is_file else [here]
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in ("", *folders))]
    try:
        return _from_file(Path(where)) if is_file else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{where}.".startswith(f"{error.name}."):
            raise ModelError(
                f"there is no Python module {error.name!r} in {here}, nor is one installed for {sys.executable}"
            ) from None
        raise _failed(error, f"importing {where} fails") from error
    except SyntaxError as error:
        problem = f"importing {where} fails (SyntaxError: {error.msg})"
        raise refusal([Obstacle(problem, f"{error.filename}:{error.lineno}")]) from error
    except (Exception, SystemExit) as error:  # whatever it does
        raise _failed(error, f"importing {where} fails") from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"{path}: is no file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # as classes are looked for that are copied or pickled
    spec.loader.exec_module(module)
    return module


def _failed(error: BaseException, what: str) -> ModelError:
    if isinstance(error, ModelError):
        return error
    problem = f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
    return refusal([Obstacle(problem, line_of_error(error))])


def _others(module: ModuleType) -> str:
    """What could have been meant: functions and classes of networks that the module has itself."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    names = [
        value.__name__
        for value in own
        if callable(value) and not (isinstance(value, type) and not issubclass(value, nn.Module))
    ]
    return f"; it has {', '.join(names[:8])}" if names else ""

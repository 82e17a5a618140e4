"""What `planner.run` returns: the report, and the way to the weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from planner.schema.report import Report

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class RunReport(Report):
    """A report of a run whose output folder is at hand."""

    @classmethod
    def of(cls, report: Report, folder: Path) -> RunReport:
        """`report`, of the run in `folder`."""
        found = cls(**{field.name: getattr(report, field.name) for field in fields(report)})
        object.__setattr__(found, "_folder", folder)  # no field: the document has none
        return found

    @property
    def folder(self) -> Path:
        """The run's output folder."""
        found: Path = self._folder  # type: ignore[attr-defined]  # see `of`
        return found

    def load_into(self, module: nn.Module) -> None:
        """Give a module the trained weights of the whole network.

        Args:
            module: the module that the plan was made of, or another of its kind. All of its state is replaced, except
                what takes no part in its forward.

        Raises:
            InputError: it is another network, or the run's weights are damaged.
        """
        from planner.python.weights import load_into

        load_into(module, self.folder)

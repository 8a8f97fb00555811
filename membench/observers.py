"""The hooks of an observer: what a run tells while it goes on, to a tracker or to a messenger.

An observer is a module with functions of these names, marked `@membench.hookimpl`. `--observer
FILE_OR_MODULE` names one, and so does an entry point of the group `membench.observers`. The process
that drives the run calls it; it sees plain data, never a tensor, and cannot change what is trained.
A function takes those of the hook's arguments that it names. What it raises is named on stderr once
for each hook, costs the run nothing, and the hook is called again at the next occasion.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from membench.api import hookspec

if TYPE_CHECKING:
    from membench.execution.summary import Summary
    from membench.records import Record
    from membench.scoring.types import Row


class ObserverSpec:
    """The specification of the hooks, in the order in which a run calls them."""

    @hookspec
    def membench_run_started(self, suite: str, cells: int, environment: Mapping[str, Any]) -> None:
        """Learn that the training begins.

        Args:
            suite: name and version, as in "quick 1"; of `membench reproduce`, which studies.
            cells: planned so far, those that the store has already among them.
            environment: of the workers, as `Record.versions` holds it.
        """

    @hookspec
    def membench_cell_finished(self, record: Record) -> None:
        """Learn how a cell ended: its record is durable. Each cell of this run is told once."""

    @hookspec
    def membench_row_finished(self, row: Row) -> None:
        """Learn a row that this run has completed.

        It is scored with the plain network and the controls alone: the numbers are those of the
        board, but it has neither ranks nor a claim. One without numbers has a `reason`.
        """

    @hookspec
    def membench_run_finished(self, summary: Summary) -> None:
        """Learn that the training has come to its end, or that a signal has ended it."""

    @hookspec
    def membench_board_written(self, folder: Path) -> None:
        """Learn that the pages in the folder of results are written; not after a signal."""

"""The rows of the board that a run completes, one after the other, while it goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from membench.commands.work import Work
from membench.planning.packs import Pack
from membench.planning.plan import BASELINES
from membench.planning.plan import NONE
from membench.records import Manifest
from membench.records import parse_id

if TYPE_CHECKING:
    from membench.report import RowLine


class CompleteRows:
    """Tells each row when its last run has ended, on all tasks and in both phases.

    A row is scored as on a board that has no other entry, so without rank and claim. Until the
    plain network is complete no row can be read; those that are waiting are told with it.

    Args:
        work: what the run does; its second phase is asked when packs have ended.
    """

    def __init__(self, work: Work) -> None:
        self._phase = work.second
        self._to_come: dict[str, set[str]] = defaultdict(set)  #: name -> keys without a record
        for cell_id, key in work.keys.items():
            if key not in work.records or key in (work.retry or ()):
                self._to_come[parse_id(cell_id).regularizer].add(key)
        self._waiting: list[str] = []  #: names that are complete, while the plain network is not

    def plan(self, packs: Iterable[Pack]) -> None:
        """Take further packs into account."""
        for pack in packs:
            self._to_come[pack.cells[0].regularizer].update(pack.keys)

    def end(self, pack: Pack) -> list[RowLine]:
        """Return the rows that are complete now that a pack has ended."""
        name = pack.cells[0].regularizer
        self._to_come[name].difference_update(pack.keys)
        if not self._to_come[name] and not self._phase.is_choosing(name):
            del self._to_come[name]
            self._waiting.append(name)
        if NONE in self._to_come:
            return []
        lines: list[RowLine] = []
        for complete in self._waiting:
            lines += self._lines(complete)
        self._waiting = []
        return lines

    def _lines(self, name: str) -> list[RowLine]:
        """Score an entry, and write its rows; of the plain network, what is wrong with it."""
        from membench.report import row_lines
        from membench.scoring import score

        board_of_entry = _narrowed(self._phase.manifest, {*BASELINES, name})
        records = []
        seconds = 0.0
        for key in board_of_entry.cells.values():
            record = self._phase.records.get(key)
            if record is not None:
                records.append(record)
                if record.regularizer == name:
                    seconds += record.seconds
        return row_lines(score(board_of_entry, records), name, seconds)


def _narrowed(manifest: Manifest, names: set[str]) -> Manifest:
    """Return the plan of a few entries alone."""
    cells = {}
    for cell_id, key in manifest.cells.items():
        if parse_id(cell_id).regularizer in names:
            cells[cell_id] = key
    entries = tuple(entry for entry in manifest.entries if entry.name in names)
    return replace(manifest, entries=entries, cells=cells)

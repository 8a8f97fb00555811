"""The second phase of a suite: what follows from the records of the first, while it is trained.

`membench run` asks `SecondPhase` before it trains and after each pack. It plans the confirming
cells of a regularizer on a task as soon as all choosing cells of it, and of the plain network, have
a record in this machine's environment.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

from membench.planning.plan import BASELINES
from membench.planning.plan import NONE
from membench.planning.plan import Pair
from membench.planning.plan import Plan
from membench.planning.plan import pair_of
from membench.records import Manifest
from membench.records import Record
from membench.scoring import choose
from membench.scoring.types import FULL
from membench.scoring.types import Strength


class SecondPhase:
    """Plans the confirming cells of a plan as its choosing cells get records.

    Args:
        plan: of the first phase.
        pairs: where regularizers may be confirmed; others have been on another machine.
        records: of this machine's environment, of cells of both phases, at most one for a cell.
    """

    def __init__(self, plan: Plan, pairs: Collection[Pair], records: Iterable[Record]) -> None:
        self._plan = plan
        self._waiting = {pair for pair in pairs if pair[1] != NONE}
        self._records: dict[str, Record] = {}  #: by key, of choosing cells
        self._cells = _choosing_cells(plan.manifest)
        self._left: dict[Pair, set[str]] = {}  #: keys of choosing cells without a record
        for pair, cells in self._cells.items():
            self._left[pair] = set(cells.values())
        self.manifest = plan.manifest  #: with the cells that were planned so far
        self._take(records)

    @property
    def expected(self) -> int:
        """How many cells are to be expected beside those that were planned: a strength a pair."""
        return len(self._waiting) * self._plan.cells_of_strength

    def plan(self, records: Iterable[Record] = ()) -> Plan:
        """Plan what can be planned after further records; a plan without cells if nothing can."""
        self._take(records)
        chosen: dict[Pair, Sequence[Strength]] = {}
        for pair in self._plan.pairs:
            if pair in self._waiting and self._is_ready(pair):
                chosen[pair] = self._choose(pair)
        self._waiting.difference_update(chosen)
        plan = replace(self._plan, manifest=self.manifest).confirming(chosen)
        self.manifest = plan.manifest
        return plan

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            pair = record.cell.task, record.regularizer
            if record.key in self._left.get(pair, ()):
                self._left[pair].remove(record.key)
                self._records[record.key] = record

    def _is_ready(self, pair: Pair) -> bool:
        task, _ = pair
        return not (self._left[pair] or self._left.get((task, NONE)))

    def _choose(self, pair: Pair) -> Sequence[Strength]:
        """Choose the strengths of a regularizer on a task, by both questions and on both grids."""
        task, name = pair
        cells = {**self._cells[task, NONE], **self._cells[pair]}
        entries = tuple(entry for entry in self.manifest.entries if entry.name in (NONE, name))
        part = replace(self.manifest, tasks=(task,), entries=entries, cells=cells)
        records = [self._records[key] for key in cells.values()]
        choices = choose(part, records)
        strengths: dict[Strength, None] = {}
        for row in (name, name + FULL):
            if (task, row) in choices:
                strengths.update(dict.fromkeys(choices[task, row].strengths))
        return tuple(strengths)


def _choosing_cells(manifest: Manifest) -> dict[Pair, dict[str, str]]:
    """Return id and key of the cells at choosing seeds, by task and regularizer."""
    ends = tuple(f"/seed{seed}" for seed in manifest.choosing)
    cells: dict[Pair, dict[str, str]] = {}
    for cell_id, key in manifest.cells.items():
        if cell_id.endswith(ends):
            cells.setdefault(pair_of(cell_id), {})[cell_id] = key
    return cells


def pairs_to_train(
    plan: Plan, complete: Mapping[Pair, Sequence[str]], here: Collection[str]
) -> set[Pair]:
    """Return where regularizers must be trained, or finished, on this machine.

    It is where no machine has finished them. There the baselines must be this machine's too, since
    a row is paired with runs of its own environment.

    Args:
        plan: what is selected.
        complete: environments in which regularizers are complete, of `scoring.complete_pairs`.
        here: environments of this machine.
    """
    pairs = set()
    tasks = set()
    for pair in plan.pairs:
        task, name = pair
        if name not in BASELINES and not complete.get(pair):
            pairs.add(pair)
            tasks.add(task)
    for pair in plan.pairs:
        task, name = pair
        if name in BASELINES:
            environments = complete.get(pair, ())
            finished = environments
            if task in tasks:
                finished = [env for env in environments if env in here]
            if not finished:
                pairs.add(pair)
    return pairs

"""The second phase of a suite: what follows from the records of the first, while it is trained.

`membench run` asks `SecondPhase` before it trains and after each pack. It plans the confirming
cells of a row on a task as soon as all choosing cells of it, and of the plain network, have records
in this machine's environment.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import product

from membench.execution.forecast import Expected
from membench.planning.packs import ProgramId
from membench.planning.plan import BASELINES
from membench.planning.plan import NONE
from membench.planning.plan import Pair
from membench.planning.plan import Plan
from membench.planning.suites import split_of
from membench.records import Manifest
from membench.records import Record
from membench.records import setting
from membench.scoring import choose
from membench.scoring.record_index import rows_of
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
        self._planned: set[tuple[Pair, Strength]] = set()
        self._records: dict[str, Record] = {}  #: by key
        self.manifest = plan.manifest  #: with the cells that were planned so far
        self._take(records)
        # `-k "dropout[0.5]"` trains and makes no row
        to_come = {plan.manifest.cells[cell.id] for cell in plan.cells}
        attainable = to_come | self._records.keys()
        self._waiting = [row for row in _rows(plan, pairs) if row.cells.keys() <= attainable]

    @property
    def expected(self) -> Expected:
        """What is to be expected beside the cells that were planned: a strength a row."""
        cells = self._plan.cells_of_strength
        steps: dict[ProgramId, float] = {}
        for row in self._waiting:
            task, regularizer = row.pair
            dataset, architecture = task.split("/")
            program = dataset, architecture, regularizer
            examples = split_of(self._plan.suite, dataset).trained
            recipe = self._plan.keys.recipes[task]
            steps[program] = steps.get(program, 0) + cells * recipe.steps(examples)
        return Expected(cells=cells * len(self._waiting), steps=steps)

    @property
    def records(self) -> Mapping[str, Record]:
        """The records of this machine's environment so far, by key."""
        return self._records

    def is_choosing(self, regularizer: str) -> bool:
        """Tell whether strengths of a regularizer are still to be chosen somewhere."""
        return any(row.pair[1] == regularizer for row in self._waiting)

    def leave(self, regularizer: str) -> None:
        """Expect no more of a regularizer, which is trained in another environment."""
        self._waiting = [row for row in self._waiting if row.pair[1] != regularizer]

    def plan(self, records: Iterable[Record] = ()) -> Plan:
        """Plan what can be planned after further records; a plan without cells if nothing can."""
        self._take(records)
        chosen: dict[Pair, list[Strength]] = {}
        waiting = []
        for row in self._waiting:
            if not row.cells.keys() <= self._records.keys():
                waiting.append(row)
                continue
            for strength in self._choose(row):
                if (row.pair, strength) not in self._planned:  # the other row's choice too
                    self._planned.add((row.pair, strength))
                    chosen.setdefault(row.pair, []).append(strength)
        self._waiting = waiting
        plan = replace(self._plan, manifest=self.manifest).confirming(chosen)
        self.manifest = plan.manifest
        return plan

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            self._records[record.key] = record

    def _choose(self, row: _Row) -> Sequence[Strength]:
        """Choose the strengths of a row whose choosing cells all have records."""
        task, regularizer = row.pair
        names = (NONE, regularizer)
        part = replace(
            self.manifest,
            tasks=(task,),
            entries=tuple(entry for entry in self.manifest.entries if entry.name in names),
            cells={cell_id: key for key, cell_id in row.cells.items()},
        )
        choices = choose(part, [self._records[key] for key in row.cells])
        if (task, row.name) not in choices:
            return ()  # nothing to choose by: `none` failed, or the suite lacks a signal
        return choices[task, row.name].strengths


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row of the board that is to be confirmed on one task; a full grid is one of its own."""

    pair: Pair
    name: str
    #: key -> id of the choosing cells of the row, and of those of the plain network
    cells: dict[str, str]


def _rows(plan: Plan, pairs: Collection[Pair]) -> list[_Row]:
    """List the rows of the regularizers that may be confirmed, in the order of the plan."""
    entries = {entry.name: entry for entry in plan.manifest.entries}
    rows = []
    for pair in plan.pairs:
        if pair not in pairs:
            continue
        task, regularizer = pair
        of_none = _choosing_cells(plan.manifest, task, NONE, ((),))
        for name, entry in rows_of(entries[regularizer]):  # none of `none`
            cells = _choosing_cells(plan.manifest, task, regularizer, entry.strengths)
            rows.append(_Row(pair=pair, name=name, cells={**of_none, **cells}))
    return rows


def _choosing_cells(
    manifest: Manifest, task: str, regularizer: str, strengths: Iterable[Strength]
) -> dict[str, str]:
    """Return key and id of the cells of some strengths at the choosing seeds.

    A cell that is not planned has the key "", which no record has.

    Args:
        manifest: has the keys.
        task: "dataset/architecture".
        regularizer: its name.
        strengths: of it.
    """
    cells = {}
    for strength, signal, seed in product(strengths, manifest.signals, manifest.choosing):
        cell_id = f"{task}/{setting(regularizer, strength)}/{signal}/seed{seed}"
        cells[manifest.cells.get(cell_id, "")] = cell_id
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

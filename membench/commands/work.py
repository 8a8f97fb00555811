"""The work of a run: what no machine has finished, and what of it this machine has records of."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.commands.phases import SecondPhase
from membench.commands.phases import pairs_to_train
from membench.execution.forecast import Expected
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.records import parse_id
from membench.scoring import complete_pairs
from membench.store.accepted import accepted_by_key
from membench.store.accepted import records_of
from membench.store.store import Contents

#: task -> environments that this machine's workers may have there, the most likely one first
Environments = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do on this machine."""

    first: Plan  #: all selected cells of the first phase
    second: SecondPhase
    confirming: Plan  #: the cells of the second phase that are known before anything is trained
    keys: dict[str, str]  #: id -> key of the selected cells of both phases, as far as known
    tasks: tuple[str, ...]  #: on which something is to be trained
    records: dict[str, Record]  #: key -> the record that counts for a cell of either plan
    #: keys of the cells that `--lf` tries again, whatever their records; None without `--lf`
    retry: frozenset[str] | None

    @property
    def expected(self) -> Expected:
        """What is to be expected beside what is planned."""
        return self.second.expected

    def packs(self, records: Sequence[Record]) -> list[Pack]:
        """Return the packs of the second phase that follow from new records of the first."""
        return self.second.plan(records).packs(self.records.keys() - (self.retry or ()))


def find_work(
    plan: Plan,
    contents: Contents,
    environments: Environments,
    *,
    alone: bool = False,
    failed: Collection[str] | None = None,
) -> Work:
    """Find what no machine has finished, and what of it has records of this machine.

    Args:
        plan: of the first phase, with the manifest of all that was planned so far.
        contents: of the store.
        environments: of this machine, by task.
        alone: whether only this machine's records count, `--fresh`.
        failed: ids of the cells of both phases that `--lf` tries again; None without `--lf`.
            What they are the choosing cells of is chosen after that.
    """
    here = {task: [digest(env) for env in of_task] for task, of_task in environments.items()}
    own = {env for of_task in here.values() for env in of_task}
    complete = complete_pairs(plan.manifest, records_of(plan.manifest, contents))
    if alone:
        for pair, envs in complete.items():
            complete[pair] = tuple(env for env in envs if env in own)
    pairs = pairs_to_train(plan, complete, own)
    retry = None
    if failed is not None:
        pairs.update(parse_id(cell_id).pair for cell_id in failed)
        cells = plan.manifest.cells
        retry = frozenset(cells[cell_id] for cell_id in failed if cell_id in cells)

    records = _records_here(plan.manifest, here, contents)
    last = [record for key, record in records.items() if key not in (retry or ())]
    second = SecondPhase(plan, pairs, last)
    confirming = second.plan()
    records = _records_here(confirming.manifest, here, contents)
    any_record = accepted_by_key(plan.manifest.cells.values(), (), contents)

    keys = {cell.id: plan.manifest.cells[cell.id] for cell in plan.cells}
    keys |= {cell.id: confirming.manifest.cells[cell.id] for cell in confirming.cells}
    # what was finished, here or on another machine, is not trained again
    finished = set(plan.pairs) - pairs
    for cell_id, key in plan.manifest.cells.items():
        pair = parse_id(cell_id).pair
        record = any_record.get(key)
        if pair in finished and record is not None:
            keys[cell_id] = key
            records.setdefault(key, record)
    tasks = set()
    for cell_id, key in keys.items():
        if key not in records or key in (retry or ()):
            tasks.add(parse_id(cell_id).task)
    return Work(
        first=plan,
        second=second,
        confirming=confirming,
        keys=keys,
        tasks=tuple(task for task in plan.manifest.tasks if task in tasks),
        records=records,
        retry=retry,
    )


def _records_here(
    manifest: Manifest, here: Mapping[str, Sequence[str]], contents: Contents
) -> dict[str, Record]:
    """Return the records that count on this machine, by key.

    Args:
        manifest: of the cells.
        here: task -> environments of this machine.
        contents: of the store.
    """
    keys: dict[str, list[str]] = {task: [] for task in here}
    for cell_id, key in manifest.cells.items():
        task = parse_id(cell_id).task
        if task in keys:
            keys[task].append(key)
    records: dict[str, Record] = {}
    for task, envs in here.items():
        records |= accepted_by_key(keys[task], envs, contents)
    return records

"""The environments of a suite's records, and what is complete and chosen in each of them.

Numbers of two environments are never mixed within a row on a task: its choosing cells, its
confirming cells and the runs of `none` beside them are all of one (README of this folder,
Environments).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring.choices import Selection
from membench.scoring.choices import select_strengths
from membench.scoring.readings import Phase
from membench.scoring.readings import read_phase
from membench.scoring.record_index import RecordIndex
from membench.scoring.record_index import index_records
from membench.scoring.record_index import rows_of
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import Choices


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment: its records, and what has been chosen from them."""

    index: RecordIndex
    choosing: dict[str, Phase]  #: task -> `none` at the choosing seeds
    confirming: dict[str, Phase]  #: task -> `none` at the confirming seeds
    #: (task, row's name); `LOW_RATE`'s stands for `TRAINING_LESS`, and is there in any case
    selections: dict[tuple[str, str], Selection]

    @property
    def env(self) -> str:
        """Its hash."""
        return self.index.env

    def has_baseline(self, task: str) -> bool:
        """Tell whether all cells of `none` on a task have been run."""
        return self.choosing[task].is_complete and self.confirming[task].is_complete

    def is_complete(self, task: str, name: str) -> bool:
        """Tell whether a row can be read here on a task: its cells and those of `none` are run."""
        if name == NONE:
            return self.has_baseline(task)
        return self.has_baseline(task) and self.selections[task, name].is_complete

    def num_done(self, task: str, name: str) -> int:
        """Count the cells of a row on a task that have been run."""
        if name == NONE:
            return self.choosing[task].done + self.confirming[task].done
        return self.selections[task, name].done


def choose(manifest: Manifest, records: Iterable[Record]) -> Choices:
    """Choose the strengths to confirm (README, Choice).

    Args:
        manifest: what the suite planned.
        records: of one environment; others than the manifest's cells are ignored.

    Returns:
        The choices of the entries, by task and row, whose choosing cells have all been run, and
        those of `none` with them. An entry that cannot act on a task stays off. The choice of
        `LOW_RATE` is that of `TRAINING_LESS`, off where that is an epoch of `none`.

    Raises:
        MembenchError: a record says `ok` and lacks what it was run for.
    """
    environment = read_environment(index_records(manifest, records))
    names = {name for entry in manifest.entries for name, _ in rows_of(entry)}
    choices = {}
    for (task, name), selection in environment.selections.items():
        if selection.choice is not None and name in names:
            choices[task, name] = selection.choice
    return choices


def complete_pairs(
    manifest: Manifest, records: Iterable[Record]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """List the environments in which entries are complete: (task, entry) -> hashes.

    Complete are all choosing cells, and the confirming cells of what they choose, beside all cells
    of `none`; of an entry with a full grid, those of both its rows. `none` is among the entries.

    Args:
        manifest: what the suite planned.
        records: of all environments, in any order.

    Returns:
        All pairs of a task and an entry; the environments stand in the order of the manifest.
    """
    environments = read_environments(manifest, records)
    pairs = {}
    for task in manifest.tasks:
        for entry in manifest.entries:
            complete = [e.env for e in environments if is_entry_complete(e, task, entry)]
            pairs[task, entry.name] = tuple(complete)
    return pairs


def is_entry_complete(environment: Environment, task: str, entry: Entry) -> bool:
    """Tell whether an entry is complete on a task, a composition with both its rows."""
    names = [name for name, _ in rows_of(entry)] or [NONE]
    return all(environment.is_complete(task, name) for name in names)


def read_environments(manifest: Manifest, records: Iterable[Record]) -> list[Environment]:
    """Read all environments, in the order of the manifest, then by hash; at least one."""
    return [read_environment(index) for index in split_records(manifest, records)]


def split_records(manifest: Manifest, records: Iterable[Record]) -> list[RecordIndex]:
    """Index the records of each environment.

    A record without versions, of a cell whose worker died, counts in every environment that has
    none of its own for that cell.

    Args:
        manifest: what the suite planned; says whose records count.
        records: of all environments, in any order.
    """
    planned = set(manifest.cells.values())
    own: dict[str, list[Record]] = {}
    common = []
    for record in records:
        if record.key not in planned or not manifest.counts(record):
            continue
        if record.versions:
            own.setdefault(record.env, []).append(record)
        else:
            common.append(record)
    envs = [env for env in manifest.envs if env in own]
    envs += sorted(own.keys() - set(envs))
    indices = []
    for env in envs or [*manifest.envs[:1]] or [""]:
        its_own = own.get(env, [])
        keys = {record.key for record in its_own}
        shared = [record for record in common if record.key not in keys]
        indices.append(index_records(manifest, [*its_own, *shared], env))
    return indices


def read_environment(index: RecordIndex) -> Environment:
    """Read `none`, and choose the strengths of every row on every task."""
    manifest = index.manifest
    entries = list(manifest.entries)
    if all(entry.name != LOW_RATE for entry in entries):
        entries.append(Entry(name=LOW_RATE, group="control", strengths=()))
    choosing, confirming, selections = {}, {}, {}
    for task in manifest.tasks:
        choosing[task] = read_phase(index, task, manifest.choosing)
        confirming[task] = read_phase(index, task, manifest.confirming)
        for entry in entries:
            for name, row in rows_of(entry):
                selections[task, name] = select_strengths(
                    index, choosing[task].baseline, task, name, row
                )
    return Environment(index=index, choosing=choosing, confirming=confirming, selections=selections)


def find_references(environments: Sequence[Environment], manifest: Manifest) -> dict[str, str]:
    """Find each task's reference environment: the one with most complete entries there.

    Of equal ones the smaller hash counts; before any entry is complete, the one with most records.

    Returns:
        task -> hash.
    """
    references = {}
    for task in manifest.tasks:
        best: tuple[int, int, str] | None = None
        for environment in environments:
            complete = done = 0
            for entry in manifest.entries:
                complete += is_entry_complete(environment, task, entry)
            if not complete:
                names = [name for (on, name) in environment.selections if on == task]
                done = sum(environment.num_done(task, name) for name in [NONE, *names])
            place = (-complete, -done, environment.env)
            if best is None or place < best:
                best = place
        references[task] = best[2] if best else ""
    return references


def environment_of(
    environments: Sequence[Environment], reference: str, task: str, name: str
) -> Environment:
    """Decide in which environment a row is read on a task.

    It is the reference if the row is complete there, else the first in which it is: nobody picks
    the better of two. Where it is complete nowhere, it is the one with most of its cells.

    Args:
        environments: in the order in which they came.
        reference: hash of the task's reference environment.
        task: "dataset/architecture".
        name: of the row.
    """
    ordered = sorted(environments, key=lambda environment: environment.env != reference)
    for environment in ordered:
        if environment.is_complete(task, name):
            return environment
    return max(ordered, key=lambda environment: environment.num_done(task, name))


def versions_of(
    environments: Iterable[Environment], envs: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return what some environments are made of: hash -> `Record.versions`.

    Where records of one environment differ in what its hash leaves out, the smallest key decides.
    """
    versions = {}
    for environment in environments:
        own = [record for record in environment.index.records.values() if record.versions]
        if own:
            first = min(own, key=lambda record: record.key)
            versions[environment.env] = dict(first.versions)
    return {env: versions[env] for env in envs if env in versions}

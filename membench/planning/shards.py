"""Cut a plan into shards, for machines that share nothing but the command line. Pure.

A shard has whole entries: all tasks of a regularizer, and both its phases, so that a program is
compiled on one machine only and a row never waits for another machine. It has the baseline too, all
of it, since a row is paired with runs of its own environment.

The cut follows from the plan alone, not from what is stored or from where it is made: the shards of
a plan are the same on every machine that has the same plugins, and no cell of an entry is in two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.plan import BASELINES
from membench.planning.plan import Plan
from membench.planning.suites import split_of
from membench.records import Manifest
from membench.records import parse_id


@dataclass(frozen=True)
class Shard:
    """A part of a plan, `2/4`."""

    index: int  #: from 1
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def entry_costs(plan: Plan) -> dict[str, int]:
    """Return what each entry of a plan costs, by name, in training examples that are shown.

    These are the strengths on the choosing seeds, and one strength on the confirming ones. What a
    step of a regularizer costs is not in the plan: a machine that measured it would cut otherwise
    than one that did not. An entry that acts on no task costs nothing.
    """
    costs = {entry.name: 0 for entry in plan.manifest.entries if entry.name not in BASELINES}
    examples = {}
    for task, recipe in plan.keys.recipes.items():
        trained = split_of(plan.suite, task.partition("/")[0]).trained
        examples[task] = recipe.steps(trained) * recipe.batch
    for cell in plan.cells:
        if cell.regularizer in costs:
            costs[cell.regularizer] += examples[cell.task]
    for task, name in plan.pairs:
        if name in costs:
            costs[name] += examples[task] * plan.cells_of_strength
    return costs


def assign(costs: Mapping[str, int], count: int) -> list[list[str]]:
    """Share out entries: the heaviest first, each to the shard that has least so far.

    This is the rule of longest processing time first: the heaviest shard is at most 4/3 of what it
    is in the best cut.  Graham 1969, doi:10.1137/0117039.

    Args:
        costs: of the entries, by name. Of equal ones the first name comes first.
        count: how many shards; of equally light ones the first takes.

    Returns:
        The names of each shard's entries, sorted. Those that cost nothing are in the first, which
        is empty only if all are.
    """
    shards: list[list[str]] = [[] for _ in range(count)]
    loads = [0] * count
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        lightest = loads.index(min(loads)) if costs[name] else 0
        shards[lightest].append(name)
        loads[lightest] += costs[name]
    return [sorted(names) for names in shards]


def part_of(plan: Plan, shard: Shard) -> Plan:
    """Return the part of a plan that a shard trains: its entries, and the baselines of its tasks.

    Args:
        plan: of the first phase, of all that is to be trained anywhere.
        shard: which part. The first has the baselines of tasks on which no entry acts, too.

    Raises:
        MembenchError: there are more shards than entries that act on a task (exit 5).
    """
    costs = entry_costs(plan)
    names = assign(costs, shard.count)[shard.index - 1]
    tasks = {task for task, name in plan.pairs if name in names}
    if shard.index == 1:
        tasks |= set(plan.manifest.tasks) - {task for task, name in plan.pairs if name in costs}
    if not tasks:
        acting = sum(cost > 0 for cost in costs.values())
        raise MembenchError(
            f"--shard {shard}: nothing is left for this shard; the plan has {acting} "
            f"{'entry' if acting == 1 else 'entries'} to share out",
            ExitCode.NOTHING,
        )
    kept = {*BASELINES, *names}
    cells = [cell for cell in plan.cells if cell.task in tasks and cell.regularizer in kept]
    return replace(plan, cells=tuple(cells), manifest=_narrowed(plan.manifest, tasks, kept))


def _narrowed(manifest: Manifest, tasks: set[str], names: set[str]) -> Manifest:
    """Return the manifest of some regularizers on some tasks."""
    datasets = {task.partition("/")[0] for task in tasks}
    cells = {}
    for cell_id, key in manifest.cells.items():
        parts = parse_id(cell_id)
        if parts.task in tasks and parts.regularizer in names:
            cells[cell_id] = key
    return replace(
        manifest,
        tasks=tuple(task for task in manifest.tasks if task in tasks),
        recipes={task: manifest.recipes[task] for task in manifest.tasks if task in tasks},
        datasets={name: manifest.datasets[name] for name in manifest.datasets if name in datasets},
        entries=tuple(entry for entry in manifest.entries if entry.name in names),
        cells=cells,
    )

"""What a run trains: planned for the machine that it runs on, and for others that turn up.

`RunPlanner` makes a `TrainingJob` for each environment, and keeps in the store what was planned.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

from membench.api import Recipe
from membench.commands import session
from membench.commands.commit import commit_of_checkout
from membench.commands.complete_rows import CompleteRows
from membench.commands.engines import Engine
from membench.commands.precision import Choice
from membench.commands.precision import Task
from membench.commands.precision import choose_precisions
from membench.commands.training import FollowUp
from membench.commands.training import TrainingJob
from membench.commands.work import Environments
from membench.commands.work import Work
from membench.commands.work import find_work
from membench.errors import MembenchError
from membench.execution.forecast import Expected
from membench.execution.forecast import Experience
from membench.planning.inputs import DatasetLoader
from membench.planning.manifest import merge_manifest
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.registry.registry import Registry
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.engine.machine import Machine
    from membench.report import RowLine

#: Seconds between two writings of the manifest while the second phase is planned, at least: that of
#: 100 000 cells takes about one.
NOTE_PERIOD = 60


class RunPlanner:
    """Plans what a run trains: in the environment that it is planned for, and in others.

    Args:
        options: of the command.
        engine: trains the packs.
        datasets: of the plan, with all plugins, and who asks strangers' ones.
        store: of the results.
        plan: of the first phase.
        contents: of the store.
        failed: ids of the cells that `--lf` tries again; None without it.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        engine: Engine,
        datasets: DatasetLoader,
        store: Store,
        plan: Plan,
        contents: Contents,
        failed: Collection[str] | None,
    ) -> None:
        self._options = options
        self._engine = engine
        self._registry = datasets.registry
        self._strangers = datasets.strangers
        self._store = store
        self._plan = plan
        self._contents = contents
        self._failed = failed
        self._earlier = store.manifests().get(plan.suite.name)
        self._follow_ups: list[NotedFollowUp] = []

    def home(self) -> TrainingJob:
        """Return the job of the engine's machine.

        `--lf` and `--fresh` are about this machine's records: nothing is trained elsewhere.
        """
        precisions = self._precisions(self._engine.machine, measure=True)
        environments = _environments(self._engine.machine, self._plan, precisions)
        options, earlier = self._options, self._earlier
        if options.probes and earlier and not options.fresh:
            own = _hashes(environments)
            _refuse_probes_of_others(options, self._plan, earlier, self._contents, own)
        job = self._job(environments, precisions)
        if self._failed is not None or options.fresh:
            return job
        return replace(job, elsewhere=self.elsewhere)

    def elsewhere(self, described: dict[str, Any]) -> TrainingJob:
        """Return the job of another machine, by `Machine.to_json`. No trial can be made there."""
        from membench.engine.machine import Machine

        machine = Machine.from_json(described)
        precisions = self._precisions(machine, measure=False)
        return self._job(_environments(machine, self._plan, precisions), precisions)

    def note(self) -> None:
        """Keep what was planned in the store."""
        for follow_up in self._follow_ups:
            follow_up.note()

    def _job(self, environments: Environments, precisions: Mapping[str, Choice]) -> TrainingJob:
        alone, contents = self._options.fresh, self._contents
        plan = replace(self._plan, manifest=self._merged)
        work = find_work(plan, contents, environments, alone=alone, failed=self._failed)
        manifest = _labelled(work.second.manifest, self._earlier, work, environments, alone=alone)
        self._keep(manifest)
        follow_up = NotedFollowUp(work, self._keep, manifest)
        self._follow_ups.append(follow_up)
        experience = Experience.of_records(contents.records.values(), _hashes(environments))
        return _training_job(self._registry, work, environments, precisions, follow_up, experience)

    @cached_property
    def _merged(self) -> Manifest:
        return merge_manifest(self._earlier, self._plan, self._registry)

    def _keep(self, manifest: Manifest) -> None:
        """Keep a manifest in the store, beside what other runs have planned meanwhile."""

        def join(there: Manifest, mine: Manifest) -> Manifest:
            joined = merge_manifest(there, replace(self._plan, manifest=mine), self._registry)
            return replace(joined, envs=tuple(dict.fromkeys((*there.envs, *mine.envs))))

        self._store.join_manifest(manifest, join)

    def _precisions(self, machine: Machine, measure: bool) -> dict[str, Choice]:
        """Choose the precision of the plan's tasks; none of tasks that are not compiled.

        Args:
            machine: of the workers.
            measure: whether a trial may be made there.
        """
        plan = self._plan
        if not plan.suite.compiled:
            return {}
        tasks: dict[str, Task] = {}
        for cell in plan.cells:
            if cell.task not in tasks:
                tasks[cell.task] = Task(
                    dataset=cell.dataset,
                    architecture=cell.architecture,
                    recipe=Recipe(**plan.manifest.recipes[cell.task]),
                    registry=self._registry,
                    strangers=self._strangers,
                )
            tasks[cell.task].keys.add(plan.manifest.cells[cell.id])
        return choose_precisions(
            tasks.values(),
            self._store,
            self._contents,
            machine=machine,
            time_products=self._engine.time_products,
            accept_all=not self._options.fresh,
            data_folder=self._options.data_dir,
            measure=measure,
        )


class NotedFollowUp:
    """Plans the second phase, and notes now and then in the store what has been planned.

    So `membench status` and `membench report` know it while the run goes on, and if it is killed.

    Args:
        work: plans it.
        keep: keeps a manifest in the store, beside what other runs have planned meanwhile.
        manifest: as it was kept before the training.
    """

    def __init__(self, work: Work, keep: Callable[[Manifest], object], manifest: Manifest) -> None:
        self._work = work
        self._rows = CompleteRows(work)
        self._keep = keep
        self._manifest = manifest
        self._noted = time.monotonic()
        self._has_news = False

    @property
    def expected(self) -> Expected:
        """What is to be expected beside what is planned."""
        return self._work.expected

    def rows(self, pack: Pack) -> list[RowLine]:
        """Return the rows of the board that are complete since a pack has ended."""
        return self._rows.end(pack)

    def leave(self, regularizer: str) -> None:
        """Expect no more of a regularizer, which is trained in another environment."""
        self._work.second.leave(regularizer)

    def packs(self, records: Sequence[Record]) -> list[Pack]:
        """Return the packs that follow from new records."""
        packs = self._work.packs(records)
        self._rows.plan(packs)
        self._has_news = self._has_news or bool(packs)
        if self._has_news and time.monotonic() - self._noted >= NOTE_PERIOD:
            self.note()
        return packs

    def note(self) -> None:
        """Keep the manifest with all cells that have been planned so far."""
        self._keep(replace(self._manifest, cells=self._work.second.manifest.cells))
        self._noted = time.monotonic()
        self._has_news = False


def _refuse_probes_of_others(
    options: argparse.Namespace,
    plan: Plan,
    earlier: Manifest,
    contents: Contents,
    own: Container[str],
) -> None:
    """Refuse to probe cells that another machine has measured without these probes.

    A probe is part of a cell's key: the other machine's records would not count any more, and all
    rows that are compared with its plain network would leave the board.

    Args:
        options: probes and out.
        plan: of the cells with the probes.
        earlier: the suite's manifest, as it was kept.
        contents: of the store.
        own: hashes of this machine's environments.

    Raises:
        MembenchError: there are such cells.
    """
    replaced = set()
    for cell_id, key in plan.manifest.cells.items():
        if earlier.cells.get(cell_id, key) != key:
            replaced.add(earlier.cells[cell_id])
    lost = set()
    for key, env in contents.records:
        if key in replaced and env not in own:
            lost.add(key)
    if lost:
        names = " ".join(f"--probe {name}" for name in options.probes)
        raise MembenchError(
            f"{names}: {len(lost)} cells of {plan.suite.name} in {options.out} were measured on "
            "another machine, and would be trained anew in their place: give the probed ones a "
            "folder of their own, as with --out my-probes"
        )


def _environments(machine: Machine, plan: Plan, precisions: Mapping[str, Choice]) -> Environments:
    """Return the environments of the workers of a machine, by task."""
    environments = {}
    for task in plan.manifest.tasks:
        choice = precisions.get(task)
        environments[task] = machine.environments(
            plan.suite.compiled, choice.precision if choice else ""
        )
    return environments


def _hashes(environments: Environments) -> set[str]:
    """Return the hashes of the environments of all tasks."""
    return {digest(environment) for of_task in environments.values() for environment in of_task}


def _labelled(
    manifest: Manifest,
    earlier: Manifest | None,
    work: Work,
    environments: Environments,
    alone: bool,
) -> Manifest:
    """Return the manifest with this machine's environments and the commit of the last training.

    Args:
        manifest: of all that was planned so far.
        earlier: that of the last run; None if there was none.
        work: what is to be trained.
        environments: of this machine, by task.
        alone: whether only this machine's records count, `--fresh`.
    """
    here: dict[str, None] = {}
    came = dict.fromkeys(manifest.envs)
    for task, of_task in environments.items():
        hashes = [digest(environment) for environment in of_task]
        here.update(dict.fromkeys(hashes))
        if task in work.tasks:
            came.update(dict.fromkeys(hashes))
    commit = commit_of_checkout()
    if earlier is not None and not work.tasks:
        commit = earlier.commit
    return replace(manifest, envs=tuple(came), alone=tuple(here) if alone else (), commit=commit)


def _training_job(
    registry: Registry,
    work: Work,
    environments: Environments,
    precisions: Mapping[str, Choice],
    follow_up: FollowUp,
    experience: Experience,
) -> TrainingJob:
    """Say what is planned, for the driver.

    Args:
        registry: all plugins.
        work: what is to be done here.
        environments: of the workers, by task.
        precisions: chosen, by task.
        follow_up: plans the second phase.
        experience: of earlier runs.
    """
    keys = work.keys

    def packs(done: Collection[str]) -> list[Pack]:
        return work.first.packs(done) + work.confirming.packs(done)

    plugins = []
    for name in dict.fromkeys(cell.regularizer for cell in work.first.cells):
        entry = registry.with_composition(name).regularizers[name]
        plugins.append((name, session.plugin_origin(entry)))
    suite = work.first.suite
    return TrainingJob(
        title=f"{suite.name} {suite.version}",
        plugins=plugins,
        keys=list(keys.values()),
        packs=packs,
        records={key: work.records[key] for key in keys.values() if key in work.records},
        environment=next(iter(environments.values()))[0],
        retry=work.retry,
        precisions=precisions,
        follow_up=follow_up,
        envs=_hashes(environments),
        experience=experience,
    )

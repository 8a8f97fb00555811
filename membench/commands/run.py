"""`membench run`: plan a suite, train what is missing, write the board.

`_run` is the list of the steps. The options are read in `session`; `work` finds what is missing;
the second phase is planned in `phases`; the training is in `training`, the pages are in `report`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from rich.console import Console
from rich.text import Text

from membench.api import Recipe
from membench.commands import session
from membench.commands import training
from membench.commands.complete_rows import CompleteRows
from membench.commands.engines import Engine
from membench.commands.engines import open_engine
from membench.commands.list import report_problems
from membench.commands.observers import Observers
from membench.commands.observers import load_observers
from membench.commands.precision import Choice
from membench.commands.precision import Task
from membench.commands.precision import choose_precisions
from membench.commands.report import pages
from membench.commands.report import refuse_foreign_pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.selection import names_in_manifest
from membench.commands.training import FollowUp
from membench.commands.training import TrainingJob
from membench.commands.words import say
from membench.commands.work import Environments
from membench.commands.work import Work
from membench.commands.work import find_work
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.forecast import Expected
from membench.execution.forecast import Experience
from membench.execution.signals import held_signals
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.manifest import merge_manifest
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.planning.select import compile_expression
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.registry.registry import Registry
from membench.store.accepted import accepted_by_key
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.engine.machine import Machine
    from membench.report import RowLine

#: Seconds between two writings of the manifest while the second phase is planned, at least: that of
#: 100 000 cells takes about one.
NOTE_PERIOD = 60


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """What has been run, and how it came out."""

    suite: str  #: its name, which tells a narrowed one from the suite that was asked for
    exit_code: ExitCode


def run(options: argparse.Namespace) -> int:
    """Train what is missing of a suite, and write the board.

    Returns:
        0; 1 if cells failed or plugins could not be read; 2 if interrupted.
    """
    return run_suite(options).exit_code


def run_suite(options: argparse.Namespace) -> SuiteRun:
    """Do as `run` does, and say which suite it was.

    Raises:
        MembenchError: the run cannot start, or cannot go on.
    """
    if not (options.all or options.expression or options.lf):
        raise MembenchError(
            "say what to run: --all for every regularizer, or -k EXPR to select, as in -k dropout"
        )
    if options.lf and options.shard:
        raise MembenchError(
            "--lf tries again what failed in one folder, --shard cuts a plan that no folder has a "
            "say in: leave --shard away"
        )
    if not options.collect_only:
        session.check_results_folder(options.out)
        refuse_foreign_pages(options.out)
    observers = load_observers(options.observers)
    with closing(open_engine(options)) as engine:
        strangers = StrangersApart(engine.sandbox, options.data_dir)
        with closing(strangers):
            return _run(options, engine, observers, strangers)


def _run(
    options: argparse.Namespace, engine: Engine, observers: Observers, strangers: StrangersApart
) -> SuiteRun:
    registry = session.load_registry(options, strangers.read if engine.sandbox else None)
    store = Store(options.out / "records")
    suite = session.requested_suite(options, registry)
    say(f"planning suite {suite.name}")
    session.print_left_out(suite, registry)
    if not options.collect_only and not store.folder.exists():
        engine.prepare(suite.compiled)
    failed = None
    if options.lf:
        failed = failed_cells(store, suite.name, options.expression)
    datasets = DatasetLoader(
        registry, options.data_dir, needed=not options.collect_only, strangers=strangers
    )
    plan = session.plan_suite(options, registry, datasets, only=failed)
    if options.collect_only:
        print_cells(plan, failed)
        session.print_fetch_hints(datasets)
        return SuiteRun(suite=plan.suite.name, exit_code=report_problems(registry, plan))

    contents = store.read()
    for sentence in contents.warnings:
        print(sentence, file=sys.stderr)
    if training.is_missing(plan.manifest.cells.values(), contents):
        engine.prepare(plan.suite.compiled)
    planner = _Planner(options, engine, datasets, store, plan, contents, failed)
    job = replace(planner.home(), observers=observers)
    strangers.close()  # what is trained needs them no more
    outcome = training.train_missing(job, store, options, engine)
    with held_signals():  # a second SIGTERM, as of Slurm, must not leave half of the pages
        planner.note()
        if not outcome.summary.interrupted:
            _finish(options, store, plan.manifest.suite, observers)
    problems = report_problems(registry, plan)
    if outcome.failed_before:
        print(
            f"{outcome.failed_before} cells failed in an earlier run "
            "and count as the worst result: --lf tries them again"
        )
    return SuiteRun(suite=plan.manifest.suite, exit_code=outcome.exit_code(bool(problems)))


class _Planner:
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


def _finish(options: argparse.Namespace, store: Store, suite: str, observers: Observers) -> None:
    """Merge what was stored, and write the board; of a shard there is none."""
    store.merge()
    if options.shard:
        print_how_to_merge(options.out, *options.shard)
        return
    say("scoring, and writing the pages")
    with store.locked():  # of two runs, the last to write has read what both have measured
        write_board(options.out, suite, force=options.force)
    observers.tell("membench_board_written", folder=options.out)
    print_unmerged(store)


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


def failed_cells(store: Store, suite: str, expression: str | None) -> set[str]:
    """Return the ids of the selected cells of both phases that failed or timed out last time.

    Ids and not keys, because a plugin that was mended since gives its cells new keys.

    Args:
        store: of the results.
        suite: name of the suite.
        expression: the option `-k`.

    Raises:
        MembenchError: there are none.
    """
    failed: set[str] = set()
    manifest = store.manifests().get(suite)
    if manifest is not None:
        records = accepted_by_key(manifest.cells.values(), (), store.read())
        keys = training.failed_keys(records)
        selected = compile_expression(expression or "", names_in_manifest(manifest))
        for cell_id, key in manifest.cells.items():
            if key in keys and selected(cell_id):
                failed.add(cell_id)
    if not failed:
        subject = suite if expression is None else f"{suite} that -k selects"
        raise training.nothing_failed(subject, store.folder.parent)
    return failed


def print_cells(plan: Plan, failed: Collection[str] | None) -> None:
    """Print the ids of the cells of the first phase, and how many the second has at most.

    Args:
        plan: of the first phase.
        failed: ids of the cells of both phases that `--lf` trains, to print instead.
    """
    ids = sorted(failed) if failed is not None else [cell.id for cell in plan.cells]
    count = f"{len(ids)} cells"
    if failed is None and plan.most_confirming_cells:
        count += f", then at most {plan.most_confirming_cells} to confirm what they choose"
    print(*ids, count, sep="\n")


def print_how_to_merge(out: Path, index: int, count: int) -> None:
    """Print how shards become a board.

    There is no page of a shard: ranks, claims and fronts are of all entries together, and where
    shards share a folder, each would replace the others' page by one of what it has seen.

    Args:
        out: the folder of this shard.
        index: which one it is, from 1.
        count: how many there are.
    """
    print(
        f"shard {index}/{count} is in {out}. Pages are written of the whole: when all {count} are "
        f"done, `membench merge DIR ... --out BOARD` joins their folders (of one folder for all: "
        f"`membench merge --out {out}`)"
    )


def print_unmerged(store: Store) -> None:
    """Print what to do about shards that other machines have left in the store, if there are."""
    hosts = store.other_hosts()
    if hosts:
        print(
            f"records of {', '.join(hosts)} are on the board, but not yet in the files that git "
            f"keeps: `membench merge --out {store.folder.parent}` once no run is at work there"
        )


def write_board(out: Path, suite: str, force: bool = False) -> None:
    """Write the pages of every suite, and print the table of the one that was run.

    Args:
        out: the leaderboard's folder.
        suite: the name of the suite that was run.
        force: whether to replace pages that have more complete rows.
    """
    from membench.report import summary_table

    suites = score_suites(out)
    console = Console()
    for manifest, _, board in suites:
        if manifest.suite == suite:
            console.print(summary_table(board))
    write_pages(out, pages(suites, out), force=force)
    console.print(Text(f"the whole board: {out / 'README.md'}"))


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


def commit_of_checkout() -> str:
    """Return the commit of the checkout that membench runs from; "" for an installed one.

    It ends with `-dirty` if the code or a shipped plugin is not as committed. Records and pages are
    not looked at: a run that goes on has changed them.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return ""
    commit = _git(checkout, "describe", "--always", "--abbrev=12")
    if commit and _git(checkout, "status", "--porcelain", "--", "membench", "plugins"):
        return f"{commit}-dirty"
    return commit


def _git(checkout: Path, *words: str) -> str:
    """Return what git prints, "" if it cannot be asked."""
    command = ["git", "-C", str(checkout), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

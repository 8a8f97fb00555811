"""`membench reproduce`: plan studies, train what is missing, analyse, write their page.

`reproduce` is the list of the steps. The studies are planned in `study_jobs`, the training is in
`training`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from membench.commands import session
from membench.commands import training
from membench.commands.engines import Engine
from membench.commands.engines import open_engine
from membench.commands.list import print_problems
from membench.commands.observers import Observers
from membench.commands.observers import load_observers
from membench.commands.precision import Choice
from membench.commands.precision import Task
from membench.commands.precision import choose_precisions
from membench.commands.precision import compiled_environments
from membench.commands.report import refuse_foreign_pages
from membench.commands.report import write_pages
from membench.commands.studies_apart import StudiesApart
from membench.commands.study_jobs import StudyJob
from membench.commands.study_jobs import StudyPlanner
from membench.commands.study_jobs import packs_of
from membench.commands.study_jobs import planned_cells
from membench.commands.study_pages import accepted_records
from membench.commands.study_pages import study_pages
from membench.commands.study_pages import study_row
from membench.commands.training import TrainingJob
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.forecast import Experience
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest
from membench.registry.registry import Registry
from membench.store.accepted import accepted_by_key
from membench.store.counted import Counted
from membench.store.counted import record_counted
from membench.store.data_hashes import read_hashes
from membench.store.data_hashes import record_hashes
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.report import paper


def reproduce(options: argparse.Namespace) -> int:
    """Train what is missing of studies, analyse them, and write their page.

    Returns:
        0; 1 if cells, analyses or plugins failed; 2 if interrupted.
    """
    if not options.collect_only:
        session.check_results_folder(options.out)
        refuse_foreign_pages(options.out, is_paper=True)
    observers = load_observers(options.observers)
    with (
        closing(open_engine(options)) as engine,
        closing(StudiesApart(data_folder=options.data_dir)) as strangers,
    ):
        return _reproduce(options, engine, observers, strangers)


def _reproduce(
    options: argparse.Namespace, engine: Engine, observers: Observers, strangers: StudiesApart
) -> int:
    registry = session.load_registry(options)
    names = _requested_names(options, registry)
    say(f"planning {len(names)} studies")
    store = Store(options.out / "records")
    planner = StudyPlanner(registry, read_hashes(store), strangers)
    jobs = [planner.plan(name, options.scale) for name in names]
    if options.collect_only and not options.lf:
        return print_cells(jobs, planner)

    contents = store.read()
    keys = [key for job in jobs for key in job.keys]
    if not options.collect_only and training.is_missing(keys, contents):
        compiled = any(plan.arm.compiled for job in jobs for plan in job.plans)
        engine.prepare(compiled)
    precisions = choose_precisions(
        _compiled_tasks(jobs, registry, strangers),
        store,
        contents,
        machine=engine.machine,
        time_products=engine.time_products,
        accept_all=options.accept_env,
        data_folder=options.data_dir,
        measure=not options.collect_only,
    )
    environments = compiled_environments(precisions, engine.machine)
    environments += engine.machine.environments(compiled=False)
    accepted = training.accepted_environments(environments, contents, options.accept_env)
    recorded = accepted_by_key(keys, accepted, contents)
    jobs = [job.trainable(recorded) for job in jobs]
    failed = None
    if options.lf:
        failed = _failed_keys(jobs, planner, accepted, contents, options.out)
        if options.collect_only:
            return print_cells([job.narrowed(failed) for job in jobs], planner)
    record_hashes(store, planner.hashes)
    counting = accepted_records(jobs, accepted, contents)
    own = [digest(environment) for environment in environments]
    experience = Experience.of_records(contents.records.values(), own)
    job = _training_job(options, registry, jobs, environments[0], counting, precisions, failed)
    job = replace(job, experience=experience, observers=observers)
    outcome = training.train_missing(job, store, options, engine)
    contents = store.read()
    accepted = training.accepted_environments(environments, contents, options.accept_env)
    if not outcome.summary.interrupted:
        record_counted(store, _counted(jobs, accepted, contents))
        store.merge()

    others = planner.plan_others(jobs, {record.id for record in contents.records.values()})
    records = accepted_records([*jobs, *others], accepted, contents)
    others = [job.trainable(records) for job in others]
    rows = [study_row(job, records) for job in jobs]
    if not outcome.summary.interrupted:
        write_pages(options.out, study_pages(options.out, rows, others, records))
        observers.tell("membench_board_written", folder=options.out)
    print_outcome(rows, options.out)
    if outcome.failed_before:
        print(f"{outcome.failed_before} cells failed in an earlier run: --lf tries them again")
    print_problems(registry.problems)
    faulty = any(row.problem for row in rows)
    return outcome.exit_code(faulty or bool(registry.problems))


def _requested_names(options: argparse.Namespace, registry: Registry) -> list[str]:
    """Return the names of the requested studies, each once.

    Raises:
        MembenchError: a name is unknown, or no study is requested or registered.
    """
    for name in options.names:
        registry.entry("studies", name)
    if not (options.names or options.all):
        raise MembenchError(
            "say what to reproduce: --all, or names of studies (membench list studies)"
        )
    names = list(dict.fromkeys(options.names)) or list(registry.studies)
    if not names:
        raise MembenchError("no study is registered: see `membench list`", ExitCode.NOTHING)
    return names


def _compiled_tasks(
    jobs: Iterable[StudyJob], registry: Registry, strangers: StudiesApart
) -> Iterator[Task]:
    """Yield the tasks of each arm whose cells are compiled."""
    for job in jobs:
        for plan in job.plans:
            if not plan.arm.compiled:
                continue
            for architecture in plan.arm.architectures:
                yield Task(
                    dataset=plan.arm.dataset,
                    architecture=architecture,
                    recipe=plan.arm.recipe,
                    registry=registry.for_study(job.entry.name),
                    keys=set(plan.keys),
                    strangers=strangers,
                )


def _counted(jobs: Iterable[StudyJob], accepted: Iterable[str], contents: Contents) -> Counted:
    """Say what the page counts: requested studies, and the accepted machines that have records."""
    recorded = {environment for _, environment in contents.records}
    return Counted(
        environments=tuple(environment for environment in accepted if environment in recorded),
        requested=tuple((job.entry.name, job.scale) for job in jobs),
    )


def _failed_keys(
    jobs: Sequence[StudyJob],
    planner: StudyPlanner,
    accepted: Sequence[str],
    contents: Contents,
    out: Path,
) -> set[str]:
    """Return the keys of the cells that failed or timed out last time.

    A plugin that was mended since gives its cells new keys. So a cell without a record counts as
    failed too if a failed record has its id, and no study's cell has that record's key now.

    Args:
        jobs: what is requested.
        planner: plans the other studies, whose failed records are theirs.
        accepted: environments whose records count.
        contents: of the store.
        out: the results folder.

    Raises:
        MembenchError: there are none.
    """
    others = planner.plan_others(jobs, {record.id for record in contents.records.values()})
    current = {key for _, key in planned_cells([*jobs, *others])}
    failed_under_other_code = set()
    for record in contents.records.values():
        if record.status not in MEASURED and record.key not in current:
            failed_under_other_code.add(record.id)
    records = accepted_records(jobs, accepted, contents)
    failed = training.failed_keys(records)
    for cell, key in planned_cells(jobs):
        if key not in records and cell.id in failed_under_other_code:
            failed.add(key)
    if not failed:
        report_unplannable(jobs)
        raise training.nothing_failed(", ".join(job.entry.name for job in jobs), out)
    return failed


def _training_job(
    options: argparse.Namespace,
    registry: Registry,
    jobs: Sequence[StudyJob],
    environment: Mapping[str, Any],
    records: Mapping[str, Record],
    precisions: Mapping[str, Choice],
    failed: Collection[str] | None,
) -> TrainingJob:
    """Say what is planned, for the driver.

    Args:
        options: of the command.
        registry: all plugins.
        jobs: the requested studies.
        environment: of the workers.
        records: key -> the record that counts.
        precisions: chosen, by task.
        failed: keys of the cells that `--lf` trains; None without `--lf`.
    """
    names = [job.entry.name for job in jobs]

    def packs(done: Collection[str]) -> list[Pack]:
        return packs_of(jobs, done)

    return TrainingJob(
        title=f"{', '.join(names)} at scale {options.scale}",
        plugins=[(name, session.plugin_origin(registry.studies[name])) for name in names],
        keys={key for job in jobs for key in job.keys},
        packs=packs,
        environment=environment,
        records=records,
        retry=failed,
        precisions=precisions,
    )


def print_outcome(rows: Iterable[paper.StudyRow], out: Path) -> None:
    """Print the verdict of each study, and where the page is."""
    for row in rows:
        problem = f" ({row.problem})" if row.problem else ""
        print(f"{row.name}: {row.verdict}{problem}")
        for line in row.facts.left_out:
            print(f"{row.name}: left out: arm {line}")
    print(f"the whole page: {out / 'README.md'}, and index.html beside it")


def report_unplannable(jobs: Iterable[StudyJob]) -> bool:
    """Print on stderr why studies cannot be planned; return whether there are any."""
    unplannable = [job for job in jobs if job.problem]
    for job in unplannable:
        print(f"{job.entry.name}: {job.problem}", file=sys.stderr)
    return bool(unplannable)


def print_cells(jobs: Sequence[StudyJob], planner: StudyPlanner) -> ExitCode:
    """Print the cells that a run would train.

    At the paper's scale, which is for a GPU, the projected time on one is printed too.

    Args:
        jobs: the requested studies.
        planner: has planned them.
    """
    cells = 0
    for job in jobs:
        if job.problem:
            continue
        name, steps = job.entry.name, 0
        for plan in job.plans:
            for cell in plan.cells:
                print(f"{name}/{plan.arm.name}: {cell.id}")
            cells += len(plan.cells)
            steps += len(plan.cells) * plan.arm.recipe.steps(plan.arm.split.trained)
        time = ""
        if job.scale == "paper":
            time = planner.projected_time(job)
        print(f"{name}: {len(job.keys)} cells in {len(job.plans)} arms, {steps:,} steps{time}")
    print(f"{cells} cells")
    unplannable = report_unplannable(jobs)
    print_problems(planner.registry.problems)
    return ExitCode.FAILED if unplannable or planner.registry.problems else ExitCode.OK

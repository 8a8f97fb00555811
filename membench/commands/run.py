"""`membench run`: plan a suite, train what is missing, write the board.

`run` is the list of the steps. The options are read in `session`, the training is in `training`,
the pages are in `report`.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Collection
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from membench.api import Recipe
from membench.commands import session
from membench.commands import training
from membench.commands.list import report_problems
from membench.commands.precision import Choice
from membench.commands.precision import Task
from membench.commands.precision import choose_precisions
from membench.commands.precision import compiled_environments
from membench.commands.report import pages
from membench.commands.report import refuse_foreign_pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.training import TrainingJob
from membench.errors import MembenchError
from membench.execution.forkserver import ForkServer
from membench.planning.inputs import DatasetLoader
from membench.planning.manifest import merge_manifest
from membench.planning.plan import Plan
from membench.records import Manifest
from membench.registry.registry import Registry
from membench.store.accepted import accepted_by_key
from membench.store.store import Contents
from membench.store.store import Store


def run(options: argparse.Namespace) -> int:
    """Train what is missing of a suite, and write the board.

    Returns:
        0; 1 if cells failed or plugins could not be read; 2 if interrupted.
    """
    if not (options.all or options.expression or options.lf):
        raise MembenchError(
            "say what to run: --all for every regularizer, or -k EXPR to select, as in -k dropout"
        )
    if not options.collect_only:
        refuse_foreign_pages(options.out)
    with closing(ForkServer()) as server:
        return _run(options, server)


def _run(options: argparse.Namespace, server: ForkServer) -> int:
    registry = session.load_registry(options)
    store = Store(options.out / "records")
    suite = session.requested_suite(options)
    if not options.collect_only and not store.folder.exists():
        training.start_server(server, options, suite.compiled)
    failed = None
    if options.lf:
        failed = failed_cells(store, suite.name)
    datasets = DatasetLoader(registry, options.data_dir, needed=not options.collect_only)
    plan = session.plan_suite(options, registry, datasets, only=failed)
    if options.collect_only:
        print_cells(plan, failed)
        session.print_fetch_hints(datasets)
        return report_problems(registry, plan)

    contents = store.read()
    if training.is_missing(plan.manifest.cells.values(), contents):
        training.start_server(server, options, suite.compiled)
    environments = session.expected_environments(options.device, plan.suite.compiled)
    precisions: dict[str, Choice] = {}
    if plan.suite.compiled:
        precisions = _choose_precisions(options, registry, plan, store, contents)
        environments = compiled_environments(precisions, options.device)
    accepted = training.accepted_environments(environments, contents, options.accept_env)
    plan = replace(plan, manifest=_merged_manifest(store, plan, registry, accepted))
    store.write_manifest(plan.manifest)
    job = _training_job(registry, plan, environments[0], precisions, failed)
    outcome = training.train_missing(job, store, contents, options, server)

    write_board(options.out, plan.manifest.suite)
    problems = report_problems(registry, plan)
    if outcome.failed_before:
        print(
            f"{outcome.failed_before} cells failed in an earlier run "
            "and count as the worst result: --lf tries them again"
        )
    return outcome.exit_code(bool(problems))


def failed_cells(store: Store, suite: str) -> set[str]:
    """Return the ids of the cells that failed or timed out last time.

    Ids and not keys, because a plugin that was mended since gives its cells new keys.

    Raises:
        MembenchError: there are none.
    """
    failed: set[str] = set()
    manifest = store.manifests().get(suite)
    if manifest is not None:
        records = accepted_by_key(manifest.cells.values(), manifest.envs, store.read())
        keys = training.failed_keys(records)
        failed = {cell_id for cell_id, key in manifest.cells.items() if key in keys}
    if not failed:
        raise training.nothing_failed(suite, store.folder.parent)
    return failed


def print_cells(plan: Plan, failed: Collection[str] | None) -> None:
    """Print the ids of the planned cells, or of those among them that failed."""
    ids = [cell.id for cell in plan.cells if failed is None or cell.id in failed]
    print(*ids, f"{len(ids)} cells", sep="\n")


def write_board(out: Path, suite: str) -> None:
    """Write the pages of every suite, and print the table of the one that was run."""
    from membench.report import summary_table

    suites = score_suites(out)
    write_pages(out, pages(suites, out))
    console = Console()
    for manifest, _, board in suites:
        if manifest.suite == suite:
            console.print(summary_table(board, console.width))
    console.print(Text(f"the whole board: {out / 'README.md'}"))


def _merged_manifest(
    store: Store, plan: Plan, registry: Registry, accepted: tuple[str, ...]
) -> Manifest:
    """Join the plan with what earlier runs of the suite have planned."""
    earlier = store.manifests().get(plan.suite.name)
    manifest = merge_manifest(earlier, plan, registry)
    return replace(manifest, envs=accepted, commit=_commit())


def _choose_precisions(
    options: argparse.Namespace, registry: Registry, plan: Plan, store: Store, contents: Contents
) -> dict[str, Choice]:
    """Choose the precision of the plan's tasks."""
    tasks: dict[str, Task] = {}
    for cell in plan.cells:
        if cell.task not in tasks:
            tasks[cell.task] = Task(
                dataset=cell.dataset,
                architecture=cell.architecture,
                recipe=Recipe(**plan.manifest.recipes[cell.task]),
                registry=registry,
            )
        tasks[cell.task].keys.add(plan.manifest.cells[cell.id])
    return choose_precisions(
        tasks.values(),
        store,
        contents,
        device=options.device,
        accept_all=options.accept_env,
        data_folder=options.data_dir,
    )


def _training_job(
    registry: Registry,
    plan: Plan,
    environment: Mapping[str, Any],
    precisions: Mapping[str, Choice],
    failed: Collection[str] | None,
) -> TrainingJob:
    """Say what is planned, for the driver.

    Args:
        registry: all plugins.
        plan: the suite's, with the manifest that is written.
        environment: of the workers.
        precisions: chosen, by task.
        failed: ids of the cells that `--lf` trains; None without `--lf`.
    """
    key_of = plan.manifest.cells
    keys = [key_of[cell.id] for cell in plan.cells]
    retry = None
    if failed is not None:
        retry = [key_of[cell.id] for cell in plan.cells if cell.id in failed]
    plugins = []
    for name in dict.fromkeys(cell.regularizer for cell in plan.cells):
        entry = registry.with_composition(name).regularizers[name]
        plugins.append((name, session.plugin_origin(entry)))

    return TrainingJob(
        title=f"{plan.suite.name} {plan.suite.version}",
        plugins=plugins,
        keys=keys,
        packs=plan.packs,
        environment=environment,
        accepted=plan.manifest.envs,
        retry=retry,
        precisions=precisions,
    )


def _commit() -> str:
    """Return `git describe` of the checkout that membench runs from; "" for an installed one."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

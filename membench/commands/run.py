"""`membench run`: plan a suite, train what is missing, write the board.

`_run` is the list of the steps. The options are read in `session`; `work` finds what is missing;
the second phase is planned in `phases`; the training is in `training`, the pages are in `report`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from membench.commands import session
from membench.commands import training
from membench.commands.engines import Engine
from membench.commands.engines import open_engine
from membench.commands.list import report_problems
from membench.commands.observers import Observers
from membench.commands.observers import load_observers
from membench.commands.report import pages
from membench.commands.report import refuse_foreign_pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.run_planner import RunPlanner
from membench.commands.selection import names_in_manifest
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.signals import held_signals
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.plan import Plan
from membench.planning.select import compile_expression
from membench.store.accepted import accepted_by_key
from membench.store.store import Store

if TYPE_CHECKING:
    pass


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
    planner = RunPlanner(options, engine, datasets, store, plan, contents, failed)
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

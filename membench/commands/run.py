"""`membench plan` and `membench run`: plan, train what is missing, write the board."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.commands.list import report_problems
from membench.commands.report import pages
from membench.commands.report import scored
from membench.commands.report import write_pages
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.summary import Summary
from membench.planning import inputs
from membench.planning.manifest import merge_manifest
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.records import Manifest
from membench.registry.registry import Registry
from membench.store.accepted import accepted_records
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store


def plan(options: argparse.Namespace) -> int:
    """Print how many cells and packs each task and regularizer has."""
    found = session.registry(options)
    data = inputs.DatasetLoader(found, options.data_dir, needed=False)
    planned = session.plan(options, found, data=data)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("task", "regularizer", "strengths", "cells", "packs", "steps"):
        table.add_column(column, justify="left" if column in ("task", "regularizer") else "right")
    packs = planned.packs()
    for program in dict.fromkeys(p.program for p in packs):
        mine = [p for p in packs if p.program == program]
        cells = [c for p in mine for c in p.cells]
        steps = sum(len(p.cells) * p.recipe.steps(p.split.trained) for p in mine)
        counts = (len({c.strength for c in cells}), len(cells), len(mine), steps)
        row = ["/".join(program[:2]), program[2], *(f"{n:,}" for n in counts)]
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    print(
        f"suite {planned.suite.name} {planned.suite.version}: {len(planned.cells)} cells in {len(packs)} packs"
    )
    _tell_of_missing(data)
    return report_problems(found, planned)


def run(options: argparse.Namespace) -> int:
    """Train and report. Returns 0, or 1 for failed cells and unreadable plugins, 2 when interrupted."""
    if not (options.all or options.expression is not None or options.lf):
        raise MembenchError(
            "say what to run: --all for every regularizer, or -k EXPR to select, as in -k dropout"
        )
    found = session.registry(options)
    store = Store(options.out / "records")
    failed = _failed(store, session.suite(options).name) if options.lf else None
    data = inputs.DatasetLoader(found, options.data_dir, needed=not options.collect_only)
    planned = session.plan(options, found, failed, data)
    if options.collect_only:
        ids = [cell.id for cell in planned.cells if failed is None or cell.id in failed]
        print(*ids, f"{len(ids)} cells", sep="\n")
        _tell_of_missing(data)
        return report_problems(found, planned)
    contents = store.read()
    environment = session.expected_environment(options.device, planned.suite.compiled)
    manifest = _manifest(store, planned, found, contents, environment, options.accept_env)
    planned = replace(planned, manifest=manifest)
    store.write_manifest(manifest)
    packs, reused = _missing(planned, contents, failed)
    packs = session.widen(packs, options, environment)
    _tell_of_others(packs, contents)
    summary = _train(options, found, planned, packs, reused, store, environment)
    store.merge()
    _write_board(options.out, manifest.suite)
    refused = report_problems(found, planned)
    before = _failed_before(planned, contents, packs)
    if before:
        print(
            f"{before} cells failed in an earlier run and count as the worst result: --lf tries them again"
        )
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if before or summary.failed or summary.timeout else refused


def _tell_of_missing(data: inputs.DatasetLoader) -> None:
    """What must be fetched before this plan can be run."""
    for note in data.notes.values():
        print(note, file=sys.stderr)


def _tell_of_others(packs: list[Pack], contents: Contents) -> None:
    """A stored board whose records do not count here must not look as if it were lost."""
    measured = {key for (key, _), record in contents.records.items() if record.status in MEASURED}
    others = sum(key in measured for pack in packs for key in pack.keys)
    if others:
        where = "of another torch, device or machine"
        print(f"{others} cells have records {where}, which --accept-env counts; trained anew")


def _failed_before(planned: Plan, contents: Contents, packs: list[Pack]) -> int:
    """How many planned cells have failed before and were not tried again."""
    tried = {key for pack in packs for key in pack.keys}
    ended = {
        r.key for r in accepted_records(planned.manifest, contents) if r.status not in MEASURED
    } - tried
    return sum(planned.manifest.cells[c.id] in ended for c in planned.cells)


def _manifest(
    store: Store,
    planned: Plan,
    found: Registry,
    contents: Contents,
    environment: dict,
    accept: bool,
) -> Manifest:
    """The suite's manifest on disk after this plan."""
    from membench.records import digest

    own = digest(environment)
    others = sorted({env for _, env in contents.records} - {own}) if accept else []
    manifest = merge_manifest(store.manifests().get(planned.suite.name), planned, found)
    return replace(manifest, envs=(own, *others), commit=_commit())


def _failed(store: Store, suite: str) -> set[str]:
    """The ids of the cells that failed or timed out last time, whatever was mended in their plugins since."""
    manifests = store.manifests()
    if suite in manifests:
        ended = {r.key: r.status for r in accepted_records(manifests[suite], store.read())}
        failed = {
            cell
            for cell, key in manifests[suite].cells.items()
            if ended.get(key, "ok") not in MEASURED
        }
        if failed:
            return failed
    raise MembenchError(f"no cell of {suite} in {store.folder.parent} has failed", ExitCode.NOTHING)


def _missing(planned: Plan, contents: Contents, failed: set[str] | None) -> tuple[list[Pack], int]:
    """The packs to train, and how many planned cells need no training.

    What failed is not tried again by itself: the same command trains nothing twice. `--lf` tries just that.
    """
    ended = {r.key: r.status for r in accepted_records(planned.manifest, contents)}
    key_of = planned.manifest.cells
    if failed is None:
        done = set(ended)
    else:
        done = {
            key_of[c.id]
            for c in planned.cells
            if c.id not in failed or ended.get(key_of[c.id]) in MEASURED
        }
    return planned.packs(done), sum(key_of[c.id] in ended for c in planned.cells)


def _train(
    options: argparse.Namespace,
    found: Registry,
    planned: Plan,
    packs: list[Pack],
    reused: int,
    store: Store,
    environment: dict,
) -> Summary:
    """The workers' part."""
    names = dict.fromkeys(c.regularizer for c in planned.cells)
    return session.train(
        options,
        packs,
        title=f"{planned.suite.name} {planned.suite.version}",
        cells=len(planned.cells),
        reused=reused,
        plugins=[(n, session.origin(found.with_composition(n).regularizers[n])) for n in names],
        store=store,
        environment=environment,
    )


def _write_board(out: Path, suite: str) -> None:
    """The pages, and the suite's table on the terminal."""
    from membench.report import summary_table

    suites = scored(out)
    write_pages(out, pages(suites, out))
    console = Console()
    console.print(
        *(summary_table(board, console.width) for plan, _, board in suites if plan.suite == suite)
    )
    console.print(Text(f"the whole board: {out / 'README.md'}"))


def _commit() -> str:
    """`git describe` of the checkout that membench runs from; "" for an installed one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    words = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

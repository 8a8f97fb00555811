"""`membench export`: a board for other programs, a paper, a bibliography, or its keeper."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from membench.commands.report import pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.files import disk_errors
from membench.planning.plan import BASELINES
from membench.planning.plan import NONE
from membench.records import Manifest
from membench.records import Record
from membench.records import parse_id
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import LOW_RATE
from membench.scoring.types import TRAINING_LESS
from membench.store.decisions import join_decisions
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.scoring import Board


def export(options: argparse.Namespace) -> int:
    """Write a board in another form, to a file or to standard output.

    Raises:
        MembenchError: a suite or an entry is unknown, or what is wanted is not given.
    """
    say("scoring the records")
    suites = score_suites(options.out)
    names = [manifest.suite for manifest, _, _ in suites]
    if options.suite:
        suites = [suite for suite in suites if suite[0].suite == options.suite]
        if not suites:
            raise unknown_name(f"suite in {options.out}", options.suite, names)
    _check_entries(options.entries, [manifest for manifest, _, _ in suites], options.out)
    if options.format == "records":
        return _export_records(options, [manifest for manifest, _, _ in suites])
    text = _text(options, [(manifest, board) for manifest, _, board in suites])
    if options.to is None:
        print(text, end="")
        return ExitCode.OK
    with disk_errors("write", options.to):
        options.to.write_text(text, "utf-8")
    print(f"wrote {options.to}")
    return ExitCode.OK


def _check_entries(names: Iterable[str], manifests: Iterable[Manifest], out: Path) -> None:
    """Check that entries are on the board.

    Raises:
        MembenchError: one is not.
    """
    known = {TRAINING_LESS, EARLY_STOPPING}
    known |= {entry.name for manifest in manifests for entry in manifest.entries}
    known -= {NONE, LOW_RATE}  # what rows are compared with, and what a control is made of
    for name in names:
        if name not in known:
            raise unknown_name(f"entry in {out}", name, known)


def _text(options: argparse.Namespace, suites: list[tuple[Manifest, Board]]) -> str:
    """Write the boards in the form that the options name."""
    from membench.report import bibtex
    from membench.report import latex

    names = options.entries
    if options.format == "bibtex":
        table = {entry.name: entry for manifest, _ in suites for entry in manifest.entries}
        entries = [entry for name, entry in table.items() if not names or name in names]
        return bibtex.bibliography(entries, table)
    boards = [board for _, board in suites]
    if options.format == "latex":
        return "\n".join(latex.latex(board, options.entries) for board in boards)
    rows = []
    for board in boards:
        rows += [row for row in _rows(board) if not names or row["entry"] in names]
    if options.format == "json":
        return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return _csv(rows)


def _rows(board: Board) -> Iterator[dict[str, Any]]:
    """Yield the rows of a board as `to_pandas` has them, ranked ones first and controls last."""
    from membench.report.row_values import row_values

    rows = (*board.rows, *board.unranked, *board.skipped, *board.full_rows)
    for row in (*rows, *board.control_rows):
        yield row_values(row, board.suite)


def _csv(rows: list[dict[str, Any]]) -> str:
    """Write rows as CSV; a column that one of them lacks is empty there."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _export_records(options: argparse.Namespace, manifests: list[Manifest]) -> int:
    """Write the records of some entries, and what they are compared with, as a board of their own.

    The folder is a whole board: `membench report --check --out FOLDER` holds it to its records.

    Raises:
        MembenchError: no entry or no folder is given, the folder is there, or an entry has no
            record.
    """
    if not options.entries or options.to is None:
        raise MembenchError(
            "--format records: say whose and where to, as in --entry my-idea --to my-idea-records"
        )
    if options.to.exists():
        raise MembenchError(f"{options.to} is there already: give a folder that is not, or move it")
    contents = Store(options.out / "records").read()
    chosen: dict[str, Record] = {}
    plans = []
    for manifest in manifests:
        plan, records = _of_entries(manifest, contents.records.values(), options.entries)
        if records:
            plans.append(plan)
            chosen |= {f"{record.key} {record.env}": record for record in records}
    if not chosen:
        raise MembenchError(f"{', '.join(options.entries)}: no record of it is in {options.out}")
    store = Store(options.to / "records")
    with store.writer() as writer:
        writer.append(list(chosen.values()))
    for plan in plans:
        store.write_manifest(plan)
    join_decisions(store, Store(options.out / "records"))
    store.merge()
    write_pages(options.to, pages(score_suites(options.to), options.to))
    print(f"{len(chosen)} records of {', '.join(options.entries)} and its baseline: {options.to}")
    return ExitCode.OK


def _of_entries(
    manifest: Manifest, records: Iterable[Record], names: list[str]
) -> tuple[Manifest, list[Record]]:
    """Narrow a plan to some entries and the baseline, with the records of their environments.

    Args:
        manifest: of a suite.
        records: of the store.
        names: of the entries.
    """
    kept = {*BASELINES, *names}
    cells = {i: key for i, key in manifest.cells.items() if parse_id(i).regularizer in kept}
    keys = set(cells.values())
    my_keys = {key for i, key in cells.items() if parse_id(i).regularizer in names}
    planned = [record for record in records if record.key in keys and manifest.counts(record)]
    envs = {record.env for record in planned if record.key in my_keys}
    chosen = [record for record in planned if record.env in envs]
    plan = replace(
        manifest,
        cells=cells,
        entries=tuple(entry for entry in manifest.entries if entry.name in kept),
        envs=tuple(env for env in manifest.envs if env in envs),
    )
    return plan, chosen if my_keys else []

"""`membench forget -k EXPR`: drop the records of cells that failed, or that nobody wants."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from membench.commands.report import pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.selection import names_in_manifest
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.select import compile_expression
from membench.records import Manifest
from membench.records import parse_id
from membench.store.accepted import accepted_by_key
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store


def forget(options: argparse.Namespace) -> int:
    """Drop the records of the selected cells, and what was planned of them; write the pages anew.

    An entry without any cell left is gone from the board. A record that another suite of the same
    folder counts too stays.

    Raises:
        MembenchError: nothing is selected (exit 5), or a run is writing records there.
    """
    out: Path = options.out
    if not options.expression and not options.failed:
        raise MembenchError("say what to forget: -k EXPR, --failed, or both")
    store = Store(out / "records")
    contents, manifests = store.read(), store.manifests()
    selected: dict[str, set[str]] = {}
    for name, manifest in manifests.items():
        if options.suite in (None, name):
            selected[name] = _selected(manifest, contents, options)
    cells = sum(len(ids) for ids in selected.values())
    if not cells:
        raise MembenchError(f"no planned cell in {out} is selected", ExitCode.NOTHING)

    remaining = {name: _without(m, selected.get(name, set())) for name, m in manifests.items()}
    counted = {key for manifest in remaining.values() for key in manifest.cells.values()}
    unwanted = set()
    for name, ids in selected.items():
        unwanted |= {manifests[name].cells[cell_id] for cell_id in ids} - counted
    if options.dry_run:
        for ids in selected.values():
            print(*sorted(ids), sep="\n")
        print(f"{cells} cells would be forgotten")
        return ExitCode.OK
    removed = store.drop(unwanted)
    for name, ids in selected.items():
        if ids:
            store.replace_manifest(remaining[name])
    print(f"forgot {cells} cells and {removed} records of them")
    files = pages(score_suites(out), out)
    write_pages(out, files, force=True)
    print(f"the whole board: {out / 'README.md'}")
    return ExitCode.OK


def _selected(manifest: Manifest, contents: Contents, options: argparse.Namespace) -> set[str]:
    """Return the ids of the selected cells of a suite."""
    matches = compile_expression(options.expression or "", names_in_manifest(manifest))
    records = accepted_by_key(manifest.cells.values(), (), contents)
    ids = set()
    for cell_id, key in manifest.cells.items():
        record = records.get(key)
        failed = record is not None and record.status not in MEASURED
        if matches(cell_id) and (failed or not options.failed):
            ids.add(cell_id)
    return ids


def _without(manifest: Manifest, ids: Collection[str]) -> Manifest:
    """Return a manifest without some cells, and without the entries that have lost all theirs."""
    if not ids:
        return manifest
    cells = {cell_id: key for cell_id, key in manifest.cells.items() if cell_id not in ids}
    left = {parse_id(cell_id).regularizer for cell_id in cells}
    lost = {parse_id(cell_id).regularizer for cell_id in ids} - left
    entries = tuple(entry for entry in manifest.entries if entry.name not in lost)
    return replace(manifest, cells=cells, entries=entries)

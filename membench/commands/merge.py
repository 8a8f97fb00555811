"""`membench merge DIR ...`: join the records of other folders to a board."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from membench.commands import session
from membench.commands.report import pages
from membench.commands.report import refuse_foreign_pages
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.planning.manifest import stale_cells
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.registry.registry import Registry
from membench.store.decisions import decisions_text
from membench.store.decisions import join_decisions
from membench.store.joining import join_manifests
from membench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a folder brings."""

    folder: Path
    store: Store
    manifests: dict[str, Manifest]
    records: list[Record]  #: of planned cells; of one that was measured twice, both that differ


def merge(options: argparse.Namespace) -> int:
    """Join the records of folders to those of a board, and write its pages.

    All folders are read and compared before anything is written, with one another and with the
    plugins that are here: what was measured with other code than that of the same name is refused.
    Merging a folder again changes nothing, and the order of the folders makes no difference.

    What other machines have left in the board's own folder is taken in too, with or without
    folders: this is how shards end that all wrote there.

    Raises:
        MembenchError: a folder has no records or a damaged file, or its suites are others.
    """
    out: Path = options.out
    refuse_foreign_pages(out)
    say("reading the records")
    sources = [read_source(folder) for folder in options.folders]
    registry = session.load_registry(options)
    for source in sources:
        _refuse_other_code(source, registry)
    store = Store(out / "records")
    take_in(store, sources)
    for manifest in store.manifests().values():
        if manifest.alone:
            print(f"{manifest.suite}: records of one machine alone count there (run --fresh)")
    say("scoring, and writing the pages")
    write_pages(out, pages(score_suites(out), out))
    print(f"the whole board: {out / 'README.md'}")
    return ExitCode.OK


def take_in(store: Store, sources: Sequence[Source]) -> None:
    """Take the plans, records and decisions of folders into a store, and merge it.

    Whether a record counts that has another one beside it, as a baseline that every shard has
    trained, is left to the store, which does not ask in which order they came.

    Raises:
        MembenchError: the plans cannot be joined, or the store cannot be written.
    """
    known = store.read()
    manifests = _joined(store.manifests(), sources)
    places = set(known.records)
    new: list[Record] = []
    for source in sources:
        others = {(record.key, record.env) for record in source.records} - places
        print(f"{source.folder}: {len(source.records)} records, {len(others)} of them new")
        places |= others
        for record in source.records:
            if known.records.get((record.key, record.env)) != record:
                new.append(record)
    if new:
        with store.writer() as writer:
            writer.append(new)
    for manifest in manifests.values():
        store.join_manifest(
            manifest, lambda here, mine: join_manifests(here, mine, str(store.folder))
        )
    for source in sorted(sources, key=lambda source: decisions_text(source.store)):
        join_decisions(store, source.store)
    store.merge(all_hosts=True)
    conflicts = store.read().conflicts if new else known.conflicts
    if conflicts:
        print(
            f"{len(conflicts)} cells have measurements in one environment that differ, "
            f"{conflicts[0].kept.id} for one: both are kept, see `membench status`"
        )


def read_source(folder: Path) -> Source:
    """Read a folder's plans, and the records of their cells.

    Raises:
        MembenchError: there are none, or a file is damaged.
    """
    store = Store(folder / "records")
    manifests = store.manifests()
    if not manifests:
        parent = f"; give {folder.parent}" if list(folder.glob("*.plan.json")) else ""
        raise MembenchError(f"{folder} is no board: there is no records/*.plan.json in it{parent}")
    keys = {key for manifest in manifests.values() for key in manifest.cells.values()}
    contents = store.read()
    records = [record for record in contents.records.values() if record.key in keys]
    without = len(keys - {record.key for record in records})
    for conflict in contents.conflicts:
        records += [record for record in conflict.others if record.key in keys]
    if without:
        print(f"{folder}: {without} planned cells have no record there")
    return Source(folder=folder, store=store, manifests=manifests, records=records)


def _refuse_other_code(source: Source, registry: Registry) -> None:
    """Refuse records of other code than the suites and plugins of their names have here.

    Those of plugins and suites that are not here cannot be looked at.

    Raises:
        MembenchError: there are such records.
    """
    for name, manifest in source.manifests.items():
        if name not in registry.suites:
            continue
        version = registry.suite(name).version
        if version != manifest.version:
            raise MembenchError(
                f"{source.folder}: suite {name} has another version there ({manifest.version}) "
                f"than here ({version}): nothing is merged"
            )
        stale = stale_cells(manifest, registry)
        if stale:
            raise MembenchError(
                f"{source.folder}: {len(stale)} cells of {name} were made by other code than that "
                f"of the same names here, {stale[0]} for one: bring the files that were measured, "
                "as with -p; nothing is merged"
            )


def _joined(here: dict[str, Manifest], sources: Sequence[Source]) -> dict[str, Manifest]:
    """Join the plans of all folders to those that are here, in an order of their contents."""
    found = [
        (canonical(manifest.to_json()), str(source.folder), manifest)
        for source in sources
        for manifest in source.manifests.values()
    ]
    joined = dict(here)
    for _, folder, manifest in sorted(found, key=lambda one: one[0]):
        mine = joined.get(manifest.suite)
        joined[manifest.suite] = (
            manifest if mine is None else join_manifests(mine, manifest, folder)
        )
    return joined

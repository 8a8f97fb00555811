"""`membench merge DIR ...`: join the records of other folders to a board."""

from __future__ import annotations

import argparse
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
from membench.files import disk_errors
from membench.planning.manifest import stale_cells
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.registry.registry import Registry
from membench.store.decisions import join_decisions
from membench.store.joining import join_manifests
from membench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a folder brings."""

    folder: Path
    manifests: dict[str, Manifest]
    records: dict[tuple[str, str], Record]  #: (key, environment) -> record of a planned cell


def merge(options: argparse.Namespace) -> int:
    """Join the records of folders to those of a board, and write its pages.

    All folders are read and compared before anything is written, with one another and with the
    plugins that are here: what was measured with other code than that of the same name is refused.
    Merging a folder again changes nothing, and the order of the folders makes no difference.

    Raises:
        MembenchError: a folder has no records or a damaged file, or its suites are others.
    """
    out: Path = options.out
    refuse_foreign_pages(out)
    say("reading the records")
    sources = [_read(folder) for folder in options.folders]
    registry = session.load_registry(options)
    for source in sources:
        _refuse_other_code(source, registry)
    store = Store(out / "records")
    manifests = _joined(store.manifests(), sources)
    known = set(store.read().records)
    new: dict[tuple[str, str], Record] = {}
    for source in sources:
        fresh = {place: r for place, r in source.records.items() if place not in known}
        print(f"{source.folder}: {len(source.records)} records, {len(fresh)} of them new")
        new |= fresh
    with disk_errors("write", store.shards):
        if new:
            with store.writer() as writer:
                writer.append(list(new.values()))
        with store.locked():
            for manifest in manifests.values():
                store.write_manifest(manifest)
    for source in sources:
        join_decisions(store, Store(source.folder / "records"))
    store.merge()
    for manifest in manifests.values():
        if manifest.alone:
            print(f"{manifest.suite}: records of one machine alone count there (run --fresh)")
    say("scoring, and writing the pages")
    write_pages(out, pages(score_suites(out), out))
    print(f"the whole board: {out / 'README.md'}")
    return ExitCode.OK


def _read(folder: Path) -> Source:
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
    records = {place: record for place, record in contents.records.items() if place[0] in keys}
    without = len(keys - {key for key, _ in records})
    if without:
        print(f"{folder}: {without} planned cells have no record there")
    return Source(folder=folder, manifests=manifests, records=records)


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


def _joined(here: dict[str, Manifest], sources: list[Source]) -> dict[str, Manifest]:
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

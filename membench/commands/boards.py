"""The boards of a folder as `membench verify` needs them: planned again, looked at, trained again.

`verify` draws cells of them, and `confirm` reads a row of one anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from membench.commands import audit
from membench.commands import session
from membench.commands.engines import Engine
from membench.commands.report import nothing_recorded
from membench.commands.training import TrainingJob
from membench.commands.training import train_missing
from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.planning.inputs import DatasetLoader
from membench.planning.manifest import Replanned
from membench.planning.manifest import replan
from membench.planning.packs import Pack
from membench.records import Manifest
from membench.records import Record
from membench.registry.registry import Registry
from membench.store.accepted import records_of
from membench.store.store import Contents
from membench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Board:
    """One suite of a folder: its plan, made again, and its records of all environments."""

    replanned: Replanned
    records: list[Record]
    ids: dict[str, str]  #: key -> id of the cell

    @property
    def manifest(self) -> Manifest:
        """The plan."""
        return self.replanned.manifest


def read_boards(options: argparse.Namespace, registry: Registry, contents: Contents) -> list[Board]:
    """Read the suites of a folder, and plan their cells again.

    Suites that are not registered here, as those of `run --epochs 5`, are named and left out.

    Args:
        options: out and suite.
        registry: the plugins that are here.
        contents: of the folder's store.

    Raises:
        MembenchError: there is none (exit 5), or not the one that was asked for.
    """
    manifests = Store(options.out / "records").manifests()
    if not manifests:
        raise MembenchError(str(nothing_recorded(options.out)), ExitCode.NOTHING)
    if options.suite and options.suite not in manifests:
        raise unknown_name(f"suite in {options.out}", options.suite, manifests)
    boards = []
    for name, manifest in sorted(manifests.items()):
        if options.suite not in (None, name):
            continue
        if name not in registry.suites:
            print(
                f"{name}: no suite of that name is registered here, so that its cells cannot be "
                "planned again: bring its file, as with -p",
                file=sys.stderr,
            )
            continue
        board = Board(
            replanned=replan(manifest, registry),
            records=records_of(manifest, contents),
            ids={key: cell_id for cell_id, key in manifest.cells.items()},
        )
        boards.append(board)
    if not boards:
        raise MembenchError(f"no suite in {options.out} can be verified", ExitCode.NOTHING)
    return boards


def is_sound(
    boards: Sequence[Board], contents: Contents, registry: Registry, datasets: DatasetLoader
) -> bool:
    """Look for what is wrong with the records of all boards without training, and print it.

    Args:
        boards: of the folder.
        contents: of its store.
        registry: all plugins.
        datasets: what the seeds draw from; none is needed.
    """
    say("looking at all records")
    findings = list(audit.audit_store(contents))
    for board in boards:
        findings += audit.audit_plan(board.replanned, registry, datasets)
        findings += audit.audit_records(board.replanned, board.records, datasets)
        unknown = board.replanned.unknown
        if unknown:
            print(
                f"{board.manifest.suite}: the plugins of {len(unknown)} cells are not here, as of "
                f"{unknown[0]}: they are not looked at (bring the files, as with -p)"
            )
    print(*findings, sep="\n", end="\n" if findings else "")
    names = ", ".join(f"{board.manifest.suite} {board.manifest.version}" for board in boards)
    records = sum(len(board.records) for board in boards)
    seen = "nothing is wrong that can be seen without training"
    if findings:
        seen = f"{len(findings)} things are wrong that can be seen without training"
    print(f"{names}: {records:,} records: {seen}")
    return not findings


def train_packs(
    packs: Sequence[Pack],
    store: Store,
    options: argparse.Namespace,
    registry: Registry,
    engine: Engine,
) -> bool:
    """Train packs into a store; False if that was interrupted.

    Args:
        packs: what to train, at the precision that each says.
        store: where the records go.
        options: of the command.
        registry: all plugins.
        engine: trains them.
    """
    plugins = []
    for name in dict.fromkeys(pack.cells[0].regularizer for pack in packs):
        entry = registry.with_composition(name).regularizers[name]
        plugins.append((name, session.plugin_origin(entry)))
    first = packs[0]
    environments = engine.machine.environments(first.compiled, first.precision)
    job = TrainingJob(
        title="verify",
        plugins=plugins,
        keys=[key for pack in packs for key in pack.keys],
        packs=lambda done: list(packs),
        records={},
        environment=environments[0],
        retry=None,
    )
    return not train_missing(job, store, options, engine).summary.interrupted


def is_of_cpu(record: Record) -> bool:
    """Tell whether a record was trained on a CPU."""
    return str(record.versions.get("device", "")).startswith("cpu")


def precision_of(record: Record) -> str:
    """Return at which precision a record's products were computed; "" = not known."""
    return str(record.versions.get("precision", ""))

"""`membench verify ENTRY --fresh`: read a row anew on seeds that no author could tune to.

The strengths are those that the board's choosing seeds chose. They are trained, with the plain
network, on seeds drawn from chance now, and read by the ordinary scoring. A row that agrees with
that of the board is marked as confirmed, in `confirmed.json` beside the pages.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands.boards import Board
from membench.commands.boards import is_of_cpu
from membench.commands.boards import precision_of
from membench.commands.boards import train_packs
from membench.commands.commit import commit_of_checkout
from membench.commands.engines import Engine
from membench.commands.report import pages
from membench.commands.report import read_confirmations
from membench.commands.report import score_suites
from membench.commands.report import write_pages
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.files import replace_file
from membench.planning.inputs import DatasetLoader
from membench.planning.keys import CodeOfPlan
from membench.planning.packs import Pack
from membench.planning.plan import NONE
from membench.planning.plan import Plan
from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.scoring.differences import Difference
    from membench.scoring.outcomes import Outcome
    from membench.scoring.rows import MeasuredRow
    from membench.scoring.types import Strength

FIRST_SEED, END_OF_SEEDS = 1 << 24, 1 << 31  #: far above any that a suite or its makers use
FEWEST_SEEDS = 2  #: below which there is no interval


@dataclass(frozen=True, kw_only=True)
class FreshRow:
    """A row that is to be read anew."""

    board: Board
    measured: MeasuredRow  #: as it stands on the board
    seeds: tuple[int, ...]
    plan: Plan  #: of the cells on these seeds
    precisions: dict[str, str]  #: task -> at which the board's row was computed there

    @property
    def entry(self) -> str:
        """The entry's name."""
        return self.measured.row.entry

    @property
    def packs(self) -> list[Pack]:
        """The packs to train, computed as the board's."""
        return [
            replace(pack, precision=self.precisions[pack.cells[0].task])
            for pack in self.plan.packs()
        ]


def confirm(
    boards: Sequence[Board], options: argparse.Namespace, datasets: DatasetLoader, engine: Engine
) -> ExitCode:
    """Read the row of an entry anew, and mark it as confirmed where it agrees.

    Args:
        boards: of the folder; nothing is wrong with their records.
        options: of the command; `entry` is given.
        datasets: what is trained on, with all plugins.
        engine: trains the cells.

    Returns:
        0; 1 if it disagrees; 2 if interrupted.

    Raises:
        MembenchError: there is no such row, or there are several.
    """
    board, measured = _row(boards, options)
    for task in measured.outcomes:
        datasets.arrays(task.partition("/")[0])  # raises where they are not here
    if not any(_strengths(outcome) for outcome in measured.outcomes.values()):
        raise MembenchError(
            f"the row of {options.entry} is off on every network: there is nothing to read anew",
            ExitCode.NOTHING,
        )
    fresh = _plan(board, measured, _draw_seeds(board.manifest, options.fresh_seeds))
    print(f"{options.entry} on fresh seeds: {', '.join(map(str, fresh.seeds))}")
    if options.device == "auto" and any(map(is_of_cpu, _choosing_records(board, measured))):
        options.device = "cpu"
    with TemporaryDirectory(prefix="membench-fresh-") as folder:
        store = Store(Path(folder) / "records")
        if not train_packs(fresh.packs, store, options, datasets.registry, engine):
            return ExitCode.INTERRUPTED
        records = list(store.read().records.values())
    return _compare(options.out, fresh, records)


def _row(boards: Sequence[Board], options: argparse.Namespace) -> tuple[Board, MeasuredRow]:
    """Find the row of the entry.

    Raises:
        MembenchError: there is none with numbers, or several suites have one.
    """
    from membench.scoring import measured_rows

    found = []
    for board in boards:
        rows = measured_rows(board.manifest, board.records)
        if options.entry in rows:
            found.append((board, rows[options.entry]))
    if not found:
        raise MembenchError(
            f"{options.entry} has no row with numbers in {options.out} that could be read anew",
            ExitCode.NOTHING,
        )
    if len(found) > 1:
        suites = " or ".join(board.manifest.suite for board, _ in found)
        raise MembenchError(f"{options.entry} has several rows: say which with --suite {suites}")
    return found[0]


def _draw_seeds(manifest: Manifest, count: int | None) -> tuple[int, ...]:
    """Draw seeds from chance, none of them the suite's.

    Raises:
        MembenchError: too few were asked for.
    """
    count = count or len(manifest.confirming)
    if count < FEWEST_SEEDS:
        raise MembenchError(f"--fresh-seeds {count}: there is no interval below {FEWEST_SEEDS}")
    seeds: set[int] = set()
    while len(seeds) < count:
        drawn = int.from_bytes(os.urandom(4), "big")
        if FIRST_SEED <= drawn < END_OF_SEEDS and drawn not in manifest.seeds:
            seeds.add(drawn)
    return tuple(sorted(seeds))


def _plan(board: Board, measured: MeasuredRow, seeds: tuple[int, ...]) -> FreshRow:
    """Plan the cells of a row and of the plain network on fresh seeds.

    Args:
        board: that the row stands on.
        measured: the row.
        seeds: the fresh ones.
    """
    replanned, manifest, entry = board.replanned, board.manifest, measured.row.entry
    keys = next(iter(replanned.keys.values()))
    cells = []
    precisions = {}
    for task, outcome in measured.outcomes.items():
        dataset, architecture = task.split("/")
        settings: list[tuple[str, Strength]] = [(NONE, ())]
        settings += [(entry, strength) for strength in _strengths(outcome)]
        for (name, strength), signal, seed in product(settings, manifest.signals, seeds):
            cell = Cell(
                dataset=dataset,
                architecture=architecture,
                regularizer=name,
                strength=strength,
                signal=signal,
                seed=seed,
            )
            cells.append(cell)
        one = next(record for record in board.records if record.env == outcome.env)
        precisions[task] = precision_of(one)
    by_name = {known.name: known for known in manifest.entries}
    plan = Plan(
        suite=replace(keys.suite, confirming=seeds, probes=()),
        manifest=replace(
            manifest,
            tasks=tuple(measured.outcomes),
            confirming=seeds,
            entries=(by_name[NONE], replace(by_name[entry], full=())),
            cells={},
            alone=(),
        ),
        cells=tuple(cells),
        keys=replace(keys, suite=replace(keys.suite, probes=())),
        code=CodeOfPlan(keys.registry).of,
    )
    fresh_keys = {cell.id: plan.keys.of(cell) for cell in cells}
    choosing = {record.id: record.key for record in _choosing_records(board, measured)}
    plan = replace(plan, manifest=replace(plan.manifest, cells={**choosing, **fresh_keys}))
    return FreshRow(
        board=board,
        measured=measured,
        seeds=seeds,
        plan=plan,
        precisions=precisions,
    )


def _strengths(outcome: Outcome) -> list[Strength]:
    """List the strengths of a row on a task, each once; off needs no cells."""
    both = (outcome.held_back.shown.strength, outcome.recovery.shown.strength)
    return [strength for strength in dict.fromkeys(both) if strength]


def _choosing_records(board: Board, measured: MeasuredRow) -> Iterator[Record]:
    """Yield the records that the row's strengths were chosen from."""
    for record in board.records:
        outcome = measured.outcomes.get(record.cell.task)
        is_its = outcome is not None and outcome.env == record.env
        is_chosen_by = record.seed in board.manifest.choosing
        if is_its and is_chosen_by and record.regularizer in (NONE, measured.row.entry):
            yield record


def _compare(out: Path, fresh: FreshRow, records: Sequence[Record]) -> ExitCode:
    """Read the row on its fresh seeds, print both, and mark it where they agree.

    Args:
        out: the board's folder.
        fresh: the row.
        records: of its cells on fresh seeds.
    """
    from membench.scoring import measured_rows
    from membench.scoring.differences import differences_of
    from membench.scoring.verification import disagreeing

    environments = _environments(records)
    counted = [
        # the choice is the board's; what is read is of this machine alone
        replace(record, **environments[record.cell.task])
        for record in _choosing_records(fresh.board, fresh.measured)
    ]
    rows = measured_rows(fresh.plan.manifest, [*counted, *records])
    if fresh.entry not in rows:
        print(f"DISAGREES  {fresh.entry}: its runs on fresh seeds give no row: {_ends(records)}")
        return ExitCode.FAILED
    readings = {one.reading: one for one in differences_of(fresh.measured, rows[fresh.entry])}
    compared = {name: readings[name] for name in ("H", "dA", "R")}
    _print(compared, fresh)
    against = disagreeing({name: one.p for name, one in compared.items()})
    if against:
        print(f"DISAGREES  {fresh.entry}: {', '.join(against)} differ (1 % error for all together)")
        return ExitCode.FAILED
    _mark(out, fresh, compared, environments)
    print(f"agrees  {fresh.entry}: confirmed, which {out / 'README.md'} now says")
    return ExitCode.OK


def _environments(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Return the environment of most new runs by task, as fields of a record."""
    counts: dict[str, Counter[str]] = {}
    versions = {}
    for record in records:
        counts.setdefault(record.cell.task, Counter())[record.env] += 1
        versions[record.env] = record.versions
    found = {}
    for task, count in counts.items():
        env = count.most_common(1)[0][0]
        found[task] = {"env": env, "versions": versions[env]}
    return found


def _ends(records: Iterable[Record]) -> str:
    """Count how runs ended."""
    counts = Counter(record.status for record in records)
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))


def _print(compared: dict[str, Difference], fresh: FreshRow) -> None:
    """Print the readings of the board and on fresh seeds."""
    from membench.report.text import format_interval

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "on the board", f"on {len(fresh.seeds)} fresh seeds", "difference", "p"):
        table.add_column(column, justify="left" if not column else "right")
    for name, one in compared.items():
        values = [format_interval(value) for value in (one.first, one.second, one.value)]
        table.add_row(name, *map(Text, values), "" if one.p is None else f"{one.p:.3f}")
    Console().print(table)


def _mark(
    out: Path,
    fresh: FreshRow,
    compared: dict[str, Difference],
    environments: dict[str, dict[str, Any]],
) -> None:
    """Keep the confirmation durably, and write the pages that show it."""
    from membench.report import confirmations

    registry = fresh.plan.keys.registry
    confirmation = confirmations.Confirmation(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        seeds=fresh.seeds,
        readings={name: one.second for name, one in compared.items()},
        code=registry.entry("regularizers", fresh.entry).code_hash,
        commit=commit_of_checkout(),
        environments={task: fields["versions"] for task, fields in environments.items()},
        records=confirmations.records_digest(fresh.measured.row, fresh.board.records),
    )
    known = read_confirmations(out)
    suite = fresh.board.manifest.suite
    known[suite] = {**known.get(suite, {}), fresh.entry: confirmation}
    path = out / confirmations.FILE
    with disk_errors("write", path):
        replace_file(path, confirmations.encode(known), scratch=out)
    write_pages(out, pages(score_suites(out), out))

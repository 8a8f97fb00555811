"""`membench compare A B`: two entries of a board, or two boards, with paired differences."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands.words import say
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.report.text import MINUS
from membench.report.text import format_interval
from membench.report.text import share_interval
from membench.report.text import unbroken
from membench.store.accepted import records_of
from membench.store.store import Store
from membench.text import one_line

if TYPE_CHECKING:
    from membench.scoring.differences import Difference
    from membench.scoring.rows import MeasuredRow
    from membench.scoring.types import Interval

#: Readings of two boards' table; `--json` and the table of two entries have them all.
OF_BOARDS = ("H", "dA", "R")
TASK_WIDTH = 15  #: characters that a task's column takes; 60 are taken by the others


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two rows, and the second minus the first in every reading."""

    suite: str
    first: str
    second: str
    differences: tuple[Difference, ...]


def compare(options: argparse.Namespace) -> int:
    """Print how two entries of a board, or the rows that two boards share, differ.

    Returns:
        0; 1 where `--fail-below` finds a difference below its limit.

    Raises:
        MembenchError: a name is no entry, and no folder with records; or nothing is shared.
    """
    limits = dict(_limit(text) for text in options.fail_below)
    first, second = Path(options.first), Path(options.second)
    say("scoring the records")
    of_boards = _is_board(first) or _is_board(second)
    notes: list[str] = []
    missing: list[str] = []
    if of_boards:
        compared, notes, missing = _of_boards(first, second, options.suite)
    else:
        compared = list(_of_entries(options))
    if options.json:
        print(json.dumps([_to_json(one) for one in compared], indent=1, ensure_ascii=False))
    elif of_boards:
        _print_boards(compared, str(first), str(second))
    else:
        for one in compared:
            _print_entries(one)
    too_low = [*_below(compared, limits), *(missing if limits else [])]
    for line in (*notes, *(too_low if limits else missing)):
        print(line, file=sys.stderr if options.json else sys.stdout)
    return ExitCode.FAILED if too_low else ExitCode.OK


def _is_board(folder: Path) -> bool:
    return (folder / "records").is_dir()


def _limit(text: str) -> tuple[str, float]:
    """Read `--fail-below`: `-0.05`, which is of H, or `dA=-1`.

    Raises:
        MembenchError: it is neither.
    """
    reading, equals, number = text.rpartition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = float("nan")
    if math.isnan(limit) or (equals and reading not in OF_BOARDS):
        raise MembenchError(
            f"--fail-below {text}: write a number, which is of H, or READING=NUMBER with one of "
            f"{', '.join(OF_BOARDS)}, as in dA=-1"
        )
    return reading or "H", limit


def _rows(folder: Path, only: str | None) -> dict[str, dict[str, MeasuredRow]]:
    """Read the rows of each suite of a board that have numbers.

    Args:
        folder: of the board.
        only: a suite; None = all.

    Raises:
        MembenchError: it is no board, or has not that suite.
    """
    from membench.scoring import measured_rows

    if not _is_board(folder):
        raise MembenchError(f"{folder} is no board: there are no records in it")
    store = Store(folder / "records")
    contents = store.read()
    manifests = store.manifests()
    if only and only not in manifests:
        raise unknown_name(f"suite in {folder}", only, manifests)
    found = {}
    for name, manifest in sorted(manifests.items()):
        if only in (None, name):
            found[name] = measured_rows(manifest, records_of(manifest, contents))
    return found


def _of_entries(options: argparse.Namespace) -> Iterator[Compared]:
    """Compare two entries on every suite of a board that has rows of both."""
    from membench.scoring.differences import differences_of

    known: set[str] = set()
    shared = False
    for suite, rows in _rows(options.out, options.suite).items():
        known |= rows.keys()
        if options.first in rows and options.second in rows:
            shared = True
            yield Compared(
                suite=suite,
                first=options.first,
                second=options.second,
                differences=differences_of(rows[options.first], rows[options.second]),
            )
    for name in (options.first, options.second):
        if name not in known:
            raise unknown_name(f"row in {options.out}", name, known)
    if not shared:
        raise MembenchError(
            f"no suite in {options.out} has rows of both {options.first} and {options.second}"
        )


def _of_boards(
    first: Path, second: Path, suite: str | None
) -> tuple[list[Compared], list[str], list[str]]:
    """Compare the rows that two boards share, suite by suite; of one suite each, these two.

    Returns:
        The rows; what is to be said of them; and which rows the second lacks.

    Raises:
        MembenchError: they share none.
    """
    from membench.scoring.differences import differences_of

    of_first, of_second = _rows(first, suite), _rows(second, suite)
    pairs = [(name, name) for name in of_first if name in of_second]
    if not pairs and len(of_first) == len(of_second) == 1:
        pairs = [(next(iter(of_first)), next(iter(of_second)))]
    compared, notes, missing = [], [], []
    for one, other in pairs:
        rows, others = of_first[one], of_second[other]
        title = one if one == other else f"{one} → {other}"
        for name in rows:
            if name in others:
                differences = differences_of(rows[name], others[name])
                compared.append(
                    Compared(suite=title, first=name, second=name, differences=differences)
                )
        if one != other:
            notes.append(f"{title}: two suites, so of other data, networks, noise or budgets")
        lost = [name for name in rows if name not in others]
        if lost:
            missing.append(f"{title}: only in {first}: {', '.join(lost)}")
        new = [name for name in others if name not in rows]
        if new:
            notes.append(f"{title}: only in {second}: {', '.join(new)}")
    if not compared:
        raise MembenchError(
            f"{first} and {second} share no suite with a row that both have: "
            f"{', '.join(of_first)} there, {', '.join(of_second)} here"
        )
    return compared, notes, missing


def _below(compared: Sequence[Compared], limits: dict[str, float]) -> Iterator[str]:
    """Say which differences are shown to be below their limits: all of the interval is."""
    for one in compared:
        for difference in one.differences:
            limit = limits.get(difference.reading)
            if limit is None:
                continue
            highest = difference.value.high
            if (difference.value.mean if highest is None else highest) < limit:
                subject = one.first if one.first == one.second else f"{one.second} - {one.first}"
                yield (
                    f"{one.suite}: {difference.reading} of {subject}: "
                    f"{_signed(difference.value, difference.reading)} is below {limit:g}"
                )


def _print_entries(one: Compared) -> None:
    """Print every reading of two entries of one suite, and of each task where it fits."""
    from membench.report.tables import short_task_names
    from membench.scoring.stats import FEWEST_SEEDS

    console = Console(highlight=False)
    tasks = list(one.differences[0].by_task)
    if len(tasks) == 1 or console.width < 60 + TASK_WIDTH * len(tasks):
        tasks = []
    title = f"{one.suite}: {one_line(one.second)} {MINUS} {one_line(one.first)}"
    console.print(Text(title, "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    has_p = any(difference.p is not None for difference in one.differences)
    p = ["p"] if has_p else []
    for heading in (one.first, one.second, "difference", *p, *short_task_names(tasks)):
        table.add_column(Text(one_line(heading)), justify="right", no_wrap=heading == "difference")
    for difference in one.differences:
        name = difference.reading
        cells = [
            _plain(difference.first, name),
            _plain(difference.second, name),
            _signed(difference.value, name),
            *([_p(difference.p)] if has_p else []),
        ]
        cells += [_signed(difference.by_task[task], name) for task in tasks]
        table.add_row(name, *(Text(unbroken(cell)) for cell in cells))
    console.print(table)
    if not has_p:
        console.print(
            Text(f"no p: nothing is claimed with fewer than {FEWEST_SEEDS} confirming seeds", "dim")
        )
    if not all(difference.paired for difference in one.differences):
        console.print(Text("not seed by seed: they were measured on different machines", "dim"))


def _print_boards(compared: Sequence[Compared], first: str, second: str) -> None:
    """Print H, dA and R of every row that two boards share, and the differences."""
    console = Console(highlight=False)
    suites = dict.fromkeys(one.suite for one in compared)
    for suite in suites:
        rows = [one for one in compared if one.suite == suite]
        title = f"{suite}: {one_line(second)} {MINUS} {one_line(first)}"
        console.print(Text(title, "bold"))
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("row", overflow="fold")
        for reading in OF_BOARDS:
            table.add_column(reading, justify="right", no_wrap=True)
        for one in rows:
            by_reading = {difference.reading: difference for difference in one.differences}
            cells = [_signed(by_reading[name].value, name) for name in OF_BOARDS]
            table.add_row(Text(one_line(one.first)), *(Text(cell) for cell in cells))
        console.print(table)
        apart = [one for one in rows if any(_is_shown(d.value) for d in one.differences)]
        unpaired = sum(not one.differences[0].paired for one in rows)
        line = f"{len(rows)} rows, {len(apart)} with an interval that excludes 0"
        if unpaired:
            line += f"; {unpaired} not seed by seed: other machines, seeds or tasks"
        console.print(Text(line, "dim"))


def _is_shown(value: Interval) -> bool:
    low, high = value.low, value.high
    return low is not None and high is not None and not low <= 0 <= high


def _plain(value: Interval, reading: str) -> str:
    """Write a reading: accuracy as a change in points."""
    return _signed(value, reading) if reading not in {"H", "S"} else share_interval(value)


def _signed(value: Interval, reading: str) -> str:
    """Write a difference, points with one digit."""
    return format_interval(value, digits=1 if reading.startswith("dA") else 2)


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<.0001" if p < 0.0001 else f"{p:.4f}".removeprefix("0")


def _to_json(one: Compared) -> dict[str, Any]:
    readings = {}
    for difference in one.differences:
        readings[difference.reading] = {
            "first": _pair(difference.first),
            "second": _pair(difference.second),
            "difference": _pair(difference.value),
            "p": difference.p,
            "paired": difference.paired,
            "tasks": {task: _pair(value) for task, value in difference.by_task.items()},
        }
    return {"suite": one.suite, "first": one.first, "second": one.second, "readings": readings}


def _pair(value: Interval) -> dict[str, float | None]:
    return {"mean": value.mean, "half": value.half}

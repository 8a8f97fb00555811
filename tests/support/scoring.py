"""Suites and records made by hand for the tests of scoring.

Nothing is trained: every number is what the test says it is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.scoring import Board
from membench.scoring import score
from support.records import make_record

SIGNALS = ("real", "mixed@0.4", "randY")
GRID = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))
EPOCHS, CLASSES, TEST_IMAGES = 40, 10, 200

#: `none`: 90% on real data, 70% with 40% noisy labels (so G_s = D = .2), all random labels learned.
BASELINE = {
    "real": {"acc": 0.9, "train": 1.0},
    "mixed@0.4": {"acc": 0.7, "wrong": 0.98},
    "randY": {"acc": 0.1},
}

#: What a cell's record holds beside the defaults of `record_of`; None = not run.
Values = Callable[[Cell], dict[str, Any] | None]


def make_entry(name: str, group: str = "other", **fields: Any) -> Entry:
    return Entry(name, group, fields.pop("strengths", GRID), **fields)


def record_of(
    cell: Cell, acc: float = 0.9, train: Any = 1.0, wrong: Any = None, **fields: Any
) -> Record:
    """Return an `ok` record read at E/2, .8 E and E.

    Args:
        cell: what was trained.
        acc: test accuracy at E.
        train: fit, one value or one an epoch.
        wrong: share of wrong labels predicted as given, one value or one an epoch.
        fields: others of the record; `val` is `acc` unless it is among them.
    """
    values = {
        "epochs": (20, 32, EPOCHS),
        "train": _curve(train),
        "val": _curve(fields.pop("val", acc)),
        "test": (None, None, acc),
        "wrong": _curve(wrong),
        "num_classes": CLASSES,
        "num_test": TEST_IMAGES,
        "label_share": 0.12 if cell.signal == "randY" else 0.1,
    }
    return make_record(cell, **(values | fields))


def _curve(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,) * 3


def baseline_values(cell: Cell) -> dict[str, Any]:
    """Every cell is what `none` is."""
    return dict(BASELINE.get(cell.signal, {}))


def with_gains(gains: dict[tuple[str, float], tuple[float, ...]], **fields: Any) -> Values:
    """Let entries gain accuracy, validation and test, where labels are noisy.

    Args:
        gains: (entry, strength) -> what each seed gains on mixed@0.4; all other strengths lose .1.
        fields: signal, without its level -> values of all entries' cells.
    """

    def values(cell: Cell) -> dict[str, Any]:
        result = baseline_values(cell)
        if cell.regularizer == "none":
            return result
        gain = gains.get((cell.regularizer, cell.strength[0]))
        if cell.signal == "mixed@0.4":
            result["acc"] += gain[cell.seed] if gain else -0.1
        return result | fields.get(cell.signal.partition("@")[0], {})

    return values


def make_suite(
    *entries: Entry,
    values: Values = baseline_values,
    tasks: tuple[str, ...] = ("d/a",),
    seeds: Iterable[int] = range(5),
) -> tuple[Manifest, list[Record]]:
    """Make a suite of `none` and these entries, and its records.

    Args:
        entries: beside `none`.
        values: what each cell's record holds.
        tasks: "dataset/architecture".
        seeds: of every cell.
    """
    seeds = tuple(seeds)
    all_entries = (Entry("none", "control", ((),)), *entries)
    keys = {}
    records = []
    for cell in _planned_cells(tasks, all_entries, seeds):
        keys[cell.id] = digest(cell.id)
        fields = values(cell)
        if fields is not None:
            records.append(record_of(cell, **fields))
    manifest = Manifest(
        suite="test",
        version=1,
        tasks=tasks,
        signals=SIGNALS,
        seeds=seeds,
        recipes={},
        datasets={},
        entries=all_entries,
        cells=keys,
    )
    return manifest, records


def score_suite(*entries: Entry, **options: Any) -> Board:
    """Score the suite that `make_suite` makes of the same arguments."""
    return score(*make_suite(*entries, **options))


def _planned_cells(
    tasks: Iterable[str], entries: Iterable[Entry], seeds: Iterable[int]
) -> list[Cell]:
    """List the cells of all entries, but not on tasks where one cannot act."""
    cells = []
    for task in tasks:
        dataset, architecture = task.split("/")
        for entry in entries:
            if task in entry.skipped:
                continue
            for strength in dict.fromkeys((*entry.strengths, *entry.full)):
                for signal in SIGNALS:
                    for seed in seeds:
                        cell = Cell(dataset, architecture, entry.name, strength, signal, seed)
                        cells.append(cell)
    return cells

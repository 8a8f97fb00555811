"""Suites and records made by hand for the tests of scoring: no training, every number is what the test says it is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from support.records import make_record

SIGNALS = ("real", "mixed@0.4", "randY")
GRID = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))
E, K, M = 40, 10, 200

#: `none`: 90% on real data, 70% with 40% noisy labels (so G_s = D = .2), all random labels learned.
PLAIN = {
    "real": {"acc": 0.9, "train": 1.0},
    "mixed@0.4": {"acc": 0.7, "wrong": 0.98},
    "randY": {"acc": 0.1},
}

Values = Callable[[Cell], dict[str, Any] | None]


def entry(name: str, group: str = "other", **fields: Any) -> Entry:
    return Entry(name, group, fields.pop("strengths", GRID), **fields)


def record(
    cell: Cell, acc: float = 0.9, train: Any = 1.0, wrong: Any = None, **fields: Any
) -> Record:
    """An `ok` record read at E/2, .8 E and E, its curves flat unless given as tuples; `val` is `acc` unless told."""
    val = fields.pop("val", acc)
    values = {
        "epochs": (20, 32, E),
        "train": _curve(train),
        "val": _curve(val),
        "test": (None, None, acc),
        "wrong": _curve(wrong),
        "num_classes": K,
        "num_test": M,
        "label_share": 0.12 if cell.signal == "randY" else 0.1,
    }
    return make_record(cell, **(values | fields))


def _curve(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,) * 3


def bare(cell: Cell) -> dict[str, Any]:
    """Every cell is what `none` is."""
    return dict(PLAIN.get(cell.signal, {}))


def cells(
    manifest_tasks: Iterable[str], entries: Iterable[Entry], seeds: Iterable[int]
) -> list[Cell]:
    out = []
    for task in manifest_tasks:
        for e in entries:
            for strength in ((),) if e.name == "none" else dict.fromkeys((*e.strengths, *e.full)):
                out += [
                    Cell(*task.split("/"), e.name, strength, sig, seed)
                    for sig in SIGNALS
                    for seed in seeds
                ]
    return out


def world(
    *entries: Entry,
    values: Values = bare,
    tasks: tuple[str, ...] = ("d/a",),
    seeds: Iterable[int] = range(5),
) -> tuple[Manifest, list[Record]]:
    """A suite and its records; `values(cell)` gives what differs from the defaults of `record`, None = not run."""
    seeds = tuple(seeds)
    every = (Entry("none", "control", ((),)), *entries)
    planned = [c for c in cells(tasks, every, seeds) if c.task not in _skips(every, c.regularizer)]
    records = [record(cell, **found) for cell in planned if (found := values(cell)) is not None]
    keys = {cell.id: digest(cell.id) for cell in planned}
    return Manifest("test", 1, tasks, SIGNALS, seeds, {}, {}, every, keys), records


def _skips(entries: Iterable[Entry], name: str) -> dict[str, str]:
    return next(e.skipped for e in entries if e.name == name)


def mixed(gains: dict[tuple[str, float], tuple[float, ...]], **fields: Any) -> Values:
    """Entries that add gains[name, strength][seed] to the mixed accuracy, validation and test; all else does harm."""

    def values(cell: Cell) -> dict[str, Any]:
        out = bare(cell)
        if cell.regularizer == "none":
            return out
        found = gains.get((cell.regularizer, cell.strength[0]))
        if cell.signal == "mixed@0.4":
            out["acc"] += found[cell.seed] if found else -0.1
        return out | fields.get(cell.signal.partition("@")[0], {})

    return values

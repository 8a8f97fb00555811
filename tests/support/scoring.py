"""Suites and records made by hand for the tests of scoring.

Nothing is trained: every number is what the test says it is. The seeds 0 to 2 choose, 3 to 7
confirm.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.scoring import Board
from membench.scoring import choose
from membench.scoring import score
from membench.scoring.types import FULL
from support.records import make_record

SIGNALS = ("real", "mixed@0.4", "randY")
GRID = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))
RATES = ((4.0,), (2.0,), (1.2,), (0.8,), (0.5,))
CHOOSING, CONFIRMING = (0, 1, 2), (3, 4, 5, 6, 7)
EPOCHS, CLASSES = 40, 10
TEST_IMAGES, TRAIN_IMAGES, WRONG_LABELS = 200, 1000, 360

#: `none`: 90% on real data, 70% with 40% noisy labels (so G_s = D = .2), all random labels learned.
BASELINE = {
    "real": {"acc": 0.9, "train": 1.0},
    "mixed@0.4": {"acc": 0.7, "wrong": 0.98},
    "randY": {"acc": 0.1},
}
#: M0 - q0 of `none`, on mixed@0.4
BEYOND_CHANCE = 0.98 - 0.3 / 9

#: What a cell's record holds beside the defaults of `record_of`; None = not run.
Values = Callable[[Cell], dict[str, Any] | None]
#: signal -> fields of the records, at one strength of an entry; a tuple has one value for each
#: confirming seed, whose mean the choosing seeds have
Effect = Mapping[str, Mapping[str, Any]]


def make_entry(name: str, group: str = "other", **fields: Any) -> Entry:
    return Entry(name, group, fields.pop("strengths", GRID), **fields)


LOW_RATE = make_entry("low-lr", "control", strengths=RATES)


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
        "versions": {"machine": "one"},
        "epochs": (20, 32, EPOCHS),
        "train": _curve(train),
        "val": _curve(fields.pop("val", acc)),
        "test": (None, None, acc),
        "wrong": _curve(wrong),
        "num_classes": CLASSES,
        "num_test": TEST_IMAGES,
        "num_train": TRAIN_IMAGES,
        "num_wrong": 0 if wrong is None else WRONG_LABELS,
        "label_share": 0.12 if cell.signal == "randY" else 0.1,
    }
    return make_record(cell, **(values | fields))


def _curve(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,) * 3


def baseline_values(cell: Cell) -> dict[str, Any]:
    """Every cell is what `none` is."""
    return dict(BASELINE.get(cell.signal, {}))


def harmful(cell: Cell) -> dict[str, Any]:
    """Lose a tenth of all accuracy, so that no question chooses it."""
    fields = baseline_values(cell)
    fields["acc"] = fields.get("acc", 0.9) - 0.1
    return fields


def with_effects(effects: Mapping[tuple[str, float], Effect], base: Values = harmful) -> Values:
    """Let entries have these effects.

    Args:
        effects: (entry, strength) -> its effect; where it says nothing the cell is what `none` is.
        base: what the cells at all other strengths are.
    """

    def values(cell: Cell) -> dict[str, Any] | None:
        if cell.regularizer == "none":
            return baseline_values(cell)
        effect = effects.get((cell.regularizer, cell.strength[0]))
        if effect is None:
            return base(cell)
        fields = baseline_values(cell)
        for name, value in effect.get(cell.signal, {}).items():
            is_by_seed = isinstance(value, tuple) and len(value) == len(CONFIRMING)
            fields[name] = _at_seed(value, cell.seed) if is_by_seed else value
        return fields

    return values


def _at_seed(values: Sequence[float], seed: int) -> float:
    return values[seed - CONFIRMING[0]] if seed in CONFIRMING else sum(values) / len(values)


def gaining(*gains: float) -> Effect:
    """Gain accuracy on mixed labels: one value, or one for each confirming seed."""
    values = [0.7 + gain for gain in gains]
    return {"mixed@0.4": {"acc": values[0] if len(values) == 1 else tuple(values)}}


def holding_back(*shares: float, acc: float = 0.8, real: float = 0.9) -> Effect:
    """Hold back a share of the noise: one value of H, or one for each confirming seed.

    Args:
        shares: H.
        acc: accuracy after training on mixed labels.
        real: accuracy after training on real data.
    """
    wrong = [(1 - acc) / 9 + (1 - share) * BEYOND_CHANCE for share in shares]
    return {
        "real": {"acc": real},
        "mixed@0.4": {"acc": acc, "wrong": wrong[0] if len(wrong) == 1 else tuple(wrong)},
    }


def make_suite(
    *entries: Entry,
    values: Values = baseline_values,
    tasks: tuple[str, ...] = ("d/a",),
    choosing: Iterable[int] = CHOOSING,
    confirming: Iterable[int] = CONFIRMING,
    signals: tuple[str, ...] = SIGNALS,
    noisy: tuple[str, ...] = (),
) -> tuple[Manifest, list[Record]]:
    """Make a suite of `none` and these entries, run in one environment: both phases' records.

    Args:
        entries: beside `none`.
        values: what each cell's record holds.
        tasks: "dataset/architecture".
        choosing: seeds of all strengths.
        confirming: seeds of those that are chosen.
        signals: of the suite.
        noisy: those of label noise that are scored, where none is mixed@p.
    """
    manifest = Manifest(
        suite="test",
        version=1,
        tasks=tasks,
        signals=signals,
        choosing=tuple(choosing),
        confirming=tuple(confirming),
        recipes={},
        datasets={},
        entries=(Entry("none", "control", ((),)), *entries),
        cells={},
        noisy=noisy,
    )
    cells = all_cells(manifest)
    planned = [cell for cell in cells if not cell.strength or cell.seed in manifest.choosing]
    first_phase = with_cells(manifest, planned)
    choices = choose(first_phase, make_records(planned, values))
    for cell in cells:
        for name in (cell.regularizer, cell.regularizer + FULL):
            choice = choices.get((cell.task, name))
            if choice and cell.seed in manifest.confirming and cell.strength in choice.strengths:
                planned.append(cell)
    return with_cells(manifest, planned), make_records(planned, values)


def score_suite(*entries: Entry, **options: Any) -> Board:
    """Score the suite that `make_suite` makes of the same arguments."""
    return score(*make_suite(*entries, **options))


def make_records(cells: Iterable[Cell], values: Values) -> list[Record]:
    """Make the records of some cells, each once."""
    records = []
    for cell in dict.fromkeys(cells):
        fields = values(cell)
        if fields is not None:
            records.append(record_of(cell, **fields))
    return records


def with_cells(manifest: Manifest, cells: Iterable[Cell]) -> Manifest:
    """Return the manifest with these cells planned."""
    return replace(manifest, cells={cell.id: digest(cell.id) for cell in cells})


def in_environment(records: Iterable[Record], env: str) -> list[Record]:
    """Return the records as another environment would have made them."""
    return [replace(record, env=env, versions={"machine": env}) for record in records]


def all_cells(manifest: Manifest) -> list[Cell]:
    """List the cells of all entries at all seeds, but not on tasks where one cannot act."""
    cells = []
    for task in manifest.tasks:
        dataset, architecture = task.split("/")
        for entry in manifest.entries:
            if task in entry.skipped:
                continue
            for strength in dict.fromkeys((*entry.strengths, *entry.full)):
                for signal in manifest.signals:
                    for seed in manifest.seeds:
                        cell = Cell(dataset, architecture, entry.name, strength, signal, seed)
                        cells.append(cell)
    return cells

"""What is read off the stored curves: `none` as a control, learning curves, late fitting, equal compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from membench.records import Entry
from membench.records import Record
from membench.records import parse_signal
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import damage
from membench.scoring.formulas import ratio
from membench.scoring.formulas import suppression
from membench.scoring.readings import RAND
from membench.scoring.readings import REAL
from membench.scoring.readings import TEST
from membench.scoring.readings import TRAIN
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import RecordIndex
from membench.scoring.readings import grid_of
from membench.scoring.readings import readings_at
from membench.scoring.types import Curve


def control_grid(source: RecordIndex, plain: Baseline, low_rate: Entry | None) -> Grid:
    """The control's "strengths": off, `none` read ever earlier, then `none` at ever lower rates."""
    early = [
        epoch for epoch in sorted(_readable(source, plain), reverse=True) if epoch < plain.epochs
    ]
    cubes = [plain.cube, *(_cube_at(plain, epoch) for epoch in early)]
    low = grid_of(source, plain, low_rate or Entry("", "control", ()))
    rates = [f"rate x {strength[0]:.3g}" for strength in low.strengths[1:]]
    return Grid(
        ((),) * len(cubes) + low.strengths[1:],
        ("off", *(f"epoch {epoch}" for epoch in early), *rates),
        np.concatenate([np.stack(cubes), low.cube[1:]]),
        (plain.records,) * len(cubes) + low.records[1:],
        (0,) * len(cubes) + low.failed[1:],
        (plain.epochs, *early, *(plain.epochs for _ in rates)),
    )


def _readable(source: RecordIndex, plain: Baseline) -> set[int]:
    """Epochs at which every run of `none` that a score needs was tested."""
    graded = [
        plain.records[signal, seed]
        for signal in source.signals[: source.graded]
        for seed in plain.seeds
    ]
    read = [
        {e for e, test in zip(r.epochs, r.test, strict=True) if test is not None} for r in graded
    ]
    rand = [set(plain.records[RAND, seed].epochs) for seed in plain.seeds]
    return set.intersection(*read, *rand)


def _cube_at(plain: Baseline, epoch: int) -> Floats:
    """[s, signal, reading] of `none` at an epoch; NaN for a signal that no score needs and that has no such epoch."""
    out = np.full_like(plain.cube, np.nan)
    for s, seed in enumerate(plain.seeds):
        for i, signal in enumerate(plain.signals):
            record = plain.records.get((signal, seed))
            if record and epoch in record.epochs:
                out[s, i] = readings_at(record, record.epochs.index(epoch), plain.classes)
    mixed = slice(1, 1 + len(plain.levels))
    out[:, mixed, WRONG] = np.nan_to_num(out[:, mixed, WRONG])
    return out


def curve(plain: Baseline, records: dict[tuple[str, int], Record], label: str) -> Curve | None:
    """Mean learning curves of the runs that ended `ok`; None if a signal has none."""
    names = (REAL, *plain.signals[1 : 1 + len(plain.levels)], RAND)
    runs = {
        name: [r for seed in plain.seeds if (r := records[name, seed]).status == "ok"]
        for name in names
    }
    if not all(runs.values()):
        return None
    epochs = tuple(
        sorted(set.intersection(*(set(r.epochs) for found in runs.values() for r in found)))
    )
    mixed = dict(zip(plain.levels, names[1:-1], strict=True))
    return Curve(
        label,
        epochs,
        _mean(runs[REAL], "train", epochs),
        _mean(runs[REAL], "val", epochs),
        _mean(runs[RAND], "train", epochs),
        {level: _mean(runs[name], "val", epochs) for level, name in mixed.items()},
        {level: _mean(runs[name], "wrong", epochs) for level, name in mixed.items()},
    )


def _mean(
    records: Sequence[Record], field: str, epochs: tuple[int, ...]
) -> tuple[float | None, ...]:
    tables = [dict(zip(record.epochs, getattr(record, field), strict=True)) for record in records]
    columns = [[table[epoch] for table in tables] for epoch in epochs]
    return tuple(None if None in column else float(np.mean(column)) for column in columns)


def late_gain(table: Grid, plain: Baseline, chosen: Ints) -> float:
    """F(E) - F(0.8 E) at the chosen strengths, mean over seeds; a run that did not end `ok` counts 0."""
    runs = [
        table.records[index][RAND, seed] for index, seed in zip(chosen, plain.seeds, strict=True)
    ]
    return float(np.mean([_late(record) for record in runs]))


def _late(record: Record) -> float:
    if record.status != "ok":
        return 0.0
    until = 0.8 * record.epochs[-1] + 0.5
    early = [fit for epoch, fit in zip(record.epochs, record.train, strict=True) if epoch <= until]
    return record.train[-1] - early[-1] if early else 0.0


def cost(table: Grid) -> float:
    """kappa: the largest over the entry's runs; 1 if none ended `ok`."""
    return max(
        (r.cost for runs in table.records[1:] for r in runs.values() if r.status == "ok"),
        default=1.0,
    )


def equal_compute(table: Grid, plain: Baseline, chosen: Ints) -> float | None:
    """R with each run read at epoch E / kappa, where it has cost what `none` costs at E; None if kappa = 1 throughout.

    The strengths stay those that the last epoch chose. None too if the test accuracy of that epoch was not stored. The
    epoch is the one that the engine reads: max(1, round(E / kappa)).
    """
    accuracy = table.graded(plain, TEST)[chosen, np.arange(len(plain.seeds))]
    costly = False
    for s, (index, seed) in enumerate(zip(chosen, plain.seeds, strict=True)):
        for i, signal in enumerate(plain.signals[: accuracy.shape[1]]):
            record = table.records[index][signal, seed]
            if index == 0 or record.status != "ok" or record.cost <= 1:
                continue
            costly = True
            test = dict(zip(record.epochs, record.test, strict=True)).get(
                max(1, round(plain.epochs / record.cost))
            )
            accuracy[s, i] = np.nan if test is None else test
    total = damage(plain.accuracy).sum()
    value = float((accuracy - plain.accuracy).sum() / total)
    return value if costly and not np.isnan(value) else None


def extras(plain: Baseline, cube: Floats) -> dict[str, float]:
    """What one setting does to each further signal, as ratios of means over the seeds that have both runs.

    A part of the labels wrong: "R name@p", the share of the accuracy that this noise costs `none` which is won back.
    Anything else: "S name", the share of its fit that is gone. None of it chooses a strength or ranks.

    Args:
        plain: `none`.
        cube: [s, signal, reading] of the setting.
    """
    out = {}
    for i, signal in list(enumerate(plain.signals))[len(plain.levels) + 2 :]:
        level, wrong = parse_signal(signal)[1], plain.cube[:, i, WRONG]
        recovered = level is not None and not np.isnan(wrong).all()
        reading = TEST if recovered else TRAIN
        own, base = cube[:, i, reading], plain.cube[:, i, reading]
        both = ~np.isnan(own + base)
        if both.any() and recovered:
            real = plain.accuracy[both, 0]
            out[f"R {signal}"] = float(ratio((own - base)[both].mean(), (real - base[both]).mean()))
        elif both.any():
            share = [
                plain.records[signal, seed].label_share
                for seed in np.array(plain.seeds)[both].tolist()
            ]
            out[f"S {signal}"] = float(suppression(own[both], base[both], np.array(share)))
    return out

"""The validity gate of one task, from `none` alone (section 1, Validity gate); called by the board, once a task."""

from __future__ import annotations

import numpy as np

from membench.records import Record
from membench.scoring.formulas import damage
from membench.scoring.readings import RAND
from membench.scoring.readings import REAL
from membench.scoring.readings import TEST
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import RecordIndex
from membench.scoring.readings import baseline_records
from membench.scoring.readings import final_readings
from membench.scoring.types import Gate

#: What `none` must reach, shares: random labels fitted at the budget and half-way, wrong ones among real ones.
FIT, HALFWAY, MEMORY = 0.99, 0.95, 0.95


def evaluate_gate(source: RecordIndex, task: str) -> tuple[Gate, Baseline | None]:
    """Is the task fit to measure with? And `none`'s readings, if there are any."""
    if REAL not in source.manifest.signals or RAND not in source.signals or not source.levels:
        return Gate(task, False, ("the suite lacks real, randY or mixed@p",)), None
    needed = source.signals[: source.needed]
    found = {seed: baseline_records(source, task, seed) for seed in source.manifest.seeds}
    missing = sum(records[signal] is None for records in found.values() for signal in needed)
    if missing:
        total = len(needed) * len(found)
        return Gate(
            task, False, (f"`none` is not complete: {missing} of {total} cells have not run",), True
        ), None
    dropped = {
        seed: reason for seed, records in found.items() if (reason := _failure(records, needed))
    }
    seeds = tuple(seed for seed in source.manifest.seeds if seed not in dropped)
    if not seeds:
        return Gate(task, False, ("`none` failed at every seed",), dropped=dropped), None
    plain = _plain(source, task, {seed: found[seed] for seed in seeds})
    values = _values(plain)
    reasons = tuple(_reasons(values, len(seeds)))
    shape = (plain.epochs, plain.classes, plain.tests)
    return Gate(task, not reasons, reasons, False, values, seeds, dropped, *shape), plain


def _failure(records: dict[str, Record | None], needed: tuple[str, ...]) -> str:
    """Why a seed is dropped for everybody: `none` itself did not end there."""
    bad = [records[signal] for signal in needed if records[signal].status != "ok"]
    return "; ".join(f"{r.id}: {r.status}{', ' + r.reason if r.reason else ''}" for r in bad)


def _plain(source: RecordIndex, task: str, found: dict[int, dict[str, Record | None]]) -> Baseline:
    first = next(iter(found.values()))[REAL]
    nothing = np.full(5, np.nan)
    cube = np.array(
        [
            [
                final_readings(record, signal, record.num_classes)
                if record and record.status == "ok"
                else nothing
                for signal, record in records.items()
            ]
            for records in found.values()
        ]
    )
    # M is None where no label really changed: nothing to memorize, and the gate says so
    cube[:, 1 : source.graded, WRONG] = np.nan_to_num(cube[:, 1 : source.graded, WRONG])
    return Baseline(
        task,
        tuple(found),
        source.signals,
        source.levels,
        cube,
        np.array([records[RAND].label_share for records in found.values()]),
        {
            (signal, seed): r
            for seed, records in found.items()
            for signal, r in records.items()
            if r
        },
        first.epochs[-1],
        first.num_classes,
        first.num_test,
    )


def _values(plain: Baseline) -> dict[str, float]:
    """The gate's figures, in means over seeds."""
    real = [plain.records[REAL, seed] for seed in plain.seeds]
    half = (plain.epochs + 1) // 2
    values = {
        "F0(E)": plain.fit.mean(),
        "F0(E/2)": np.mean([_fit_at(plain.records[RAND, seed], half) for seed in plain.seeds]),
        "A0_0": plain.cube[:, 0, TEST].mean(),
        # what a constant answer reaches: the classes' shares in training are those of the test images up to the draw
        "cA": max(1 / plain.classes, float(np.mean([record.label_share for record in real]))),
    }
    for i, level in enumerate(plain.levels, 1):
        values[f"M0@{level:g}"] = plain.cube[:, i, WRONG].mean()
        values[f"D@{level:g}"] = damage(plain.cube[:, [0, i], TEST]).mean()
    return {name: float(value) for name, value in values.items()}


def _fit_at(record: Record, epoch: int) -> float:
    """Training accuracy at the last stored epoch up to `epoch`; 0 if there is none."""
    return max(
        ((e, f) for e, f in zip(record.epochs, record.train, strict=True) if e <= epoch),
        default=(0, 0.0),
    )[1]


def _reasons(values: dict[str, float], seeds: int) -> list[str]:
    """What fails, each with its figure."""
    out = [] if seeds > 1 else ["one seed is left, and the choice of strength needs another one"]
    floors = {"F0(E)": FIT, "F0(E/2)": HALFWAY, **{n: MEMORY for n in values if n[0] == "M"}}
    floors |= {
        "A0_0": values["cA"] + 0.5 * (1 - values["cA"]),
        **{n: 0.10 for n in values if n[0] == "D"},
    }
    return out + [
        f"{n} = {values[n]:.3f} < {floor:.3f}"
        for n, floor in floors.items()
        if values[n] < floor - 1e-12
    ]


def usable(plain: Baseline) -> bool:
    """R is defined: two seeds, and label noise costs something."""
    return len(plain.seeds) > 1 and bool(damage(plain.accuracy).mean() > 0)

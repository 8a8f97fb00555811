"""The validity gate of one task, from `none` alone (README of this folder, Gate)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from membench.records import Record
from membench.scoring.formulas import damage
from membench.scoring.readings import NUM_READINGS
from membench.scoring.readings import TEST
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import final_readings
from membench.scoring.record_index import RAND
from membench.scoring.record_index import REAL
from membench.scoring.record_index import RecordIndex
from membench.scoring.types import NONE
from membench.scoring.types import Gate

FIT = 0.99  #: the least fit of random labels that `none` must reach at the budget E
HALFWAY = 0.95  #: the least fit of random labels that `none` must reach at E / 2
MEMORY = (
    0.95  #: the least share of the wrong labels among real ones that `none` must predict as given
)
ROOM = 0.5  #: the least share of the way from a constant answer to 1 that real accuracy must go
DAMAGE = 0.10  #: the least accuracy that each noise level must cost `none`


def evaluate_gate(index: RecordIndex, task: str) -> tuple[Gate, Baseline | None]:
    """Decide whether the task is fit to measure with.

    Returns:
        The gate, and the readings of `none` if there are any.
    """
    if REAL not in index.manifest.signals or RAND not in index.signals or not index.levels:
        reason = "the suite lacks real, randY or mixed@p"
        return Gate(task=task, valid=False, reasons=(reason,)), None
    needed = index.signals[: index.num_needed]
    runs = {seed: _baseline_records(index, task, seed) for seed in index.manifest.seeds}
    missing = 0
    for records in runs.values():
        missing += sum(signal not in records for signal in needed)
    if missing:
        reason = (
            f"`none` is not complete: {missing} of {len(needed) * len(runs)} cells have not run"
        )
        return Gate(task=task, valid=False, reasons=(reason,), pending=True), None
    dropped = {}
    counting = {}
    for seed, records in runs.items():
        failure = _failure([records[signal] for signal in needed])
        if failure:
            dropped[seed] = failure
        else:
            counting[seed] = records
    if not counting:
        reason = "`none` failed at every seed"
        return Gate(task=task, valid=False, reasons=(reason,), dropped=dropped), None
    baseline = _read_baseline(index, task, counting)
    values = _gate_values(baseline)
    reasons = _failed_conditions(values, len(counting))
    gate = Gate(
        task=task,
        valid=not reasons,
        reasons=tuple(reasons),
        values=values,
        seeds=baseline.seeds,
        dropped=dropped,
        epochs=baseline.epochs,
        classes=baseline.num_classes,
        tests=baseline.num_test,
    )
    return gate, baseline


def recovery_is_defined(baseline: Baseline) -> bool:
    """Tell whether R is defined: there are two seeds, and label noise costs something."""
    return len(baseline.seeds) > 1 and bool(damage(baseline.accuracy).mean() > 0)


def _baseline_records(index: RecordIndex, task: str, seed: int) -> dict[str, Record]:
    """Find the records of `none` at one seed, by signal; those not run yet are left out."""
    records = {}
    for signal in index.signals:
        record = index.get(task, NONE, (), signal, seed)
        if record is not None:
            records[signal] = record
    return records


def _failure(records: list[Record]) -> str:
    """Say why a seed is dropped for everybody: `none` did not end there. "" if it did."""
    failures = []
    for record in records:
        if record.status != "ok":
            reason = f", {record.reason}" if record.reason else ""
            failures.append(f"{record.id}: {record.status}{reason}")
    return "; ".join(failures)


def _read_baseline(
    index: RecordIndex, task: str, runs: Mapping[int, Mapping[str, Record]]
) -> Baseline:
    """Read `none`; `runs` is seed -> signal -> record, of the seeds that count."""
    seeds = tuple(runs)
    readings = np.full((len(seeds), len(index.signals), NUM_READINGS), np.nan)
    records = {}
    for s, seed in enumerate(seeds):
        for i, signal in enumerate(index.signals):
            record = runs[seed].get(signal)
            if record is None:
                continue
            records[signal, seed] = record
            if record.status == "ok":
                readings[s, i] = final_readings(record, signal, record.num_classes)
    # M is None where no label really changed: nothing to memorize, and the gate says so
    mixed = slice(1, index.num_graded)
    readings[:, mixed, WRONG] = np.nan_to_num(readings[:, mixed, WRONG])
    first = runs[seeds[0]][REAL]
    return Baseline(
        task=task,
        seeds=seeds,
        signals=index.signals,
        levels=index.levels,
        readings=readings,
        chance=np.array([runs[seed][RAND].label_share for seed in seeds]),
        records=records,
        epochs=first.epochs[-1],
        num_classes=first.num_classes,
        num_test=first.num_test,
    )


def _gate_values(baseline: Baseline) -> dict[str, float]:
    """Compute what the gate looks at, in means over seeds, by the names that the page shows."""
    half = (baseline.epochs + 1) // 2
    half_way = [_fit_at(baseline.records[RAND, seed], half) for seed in baseline.seeds]
    real_share = [baseline.records[REAL, seed].label_share for seed in baseline.seeds]
    values = {
        "F0(E)": baseline.fit.mean(),
        "F0(E/2)": np.mean(half_way),
        "A0_0": baseline.readings[:, 0, TEST].mean(),
        # what a constant answer reaches: the classes' shares in training are those of the test
        # images up to the draw
        "cA": max(1 / baseline.num_classes, float(np.mean(real_share))),
    }
    for i, level in enumerate(baseline.levels, 1):
        values[f"M0@{level:g}"] = baseline.readings[:, i, WRONG].mean()
        values[f"D@{level:g}"] = damage(baseline.readings[:, [0, i], TEST]).mean()
    return {name: float(value) for name, value in values.items()}


def _fit_at(record: Record, epoch: int) -> float:
    """Training accuracy at the last stored epoch up to `epoch`; 0 if there is none."""
    last = 0.0
    for stored, fit in zip(record.epochs, record.train, strict=True):
        if stored <= epoch:
            last = fit
    return last


def _failed_conditions(values: dict[str, float], seeds: int) -> list[str]:
    """List what fails, each with its number."""
    floors = {"F0(E)": FIT, "F0(E/2)": HALFWAY}
    floors |= {name: MEMORY for name in values if name.startswith("M0@")}
    floors["A0_0"] = values["cA"] + ROOM * (1 - values["cA"])
    floors |= {name: DAMAGE for name in values if name.startswith("D@")}
    reasons = []
    if seeds < 2:
        reasons.append("one seed is left, and the choice of strength needs another one")
    for name, floor in floors.items():
        if values[name] < floor - 1e-12:
            reasons.append(f"{name} = {values[name]:.3f} < {floor:.3f}")
    return reasons

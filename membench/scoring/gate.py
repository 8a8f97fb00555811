"""The validity gate of one task, from `none` alone (README of this folder, Gate)."""

from __future__ import annotations

import numpy as np

from membench.records import Record
from membench.scoring.formulas import damage
from membench.scoring.readings import TEST
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Phase
from membench.scoring.record_index import RAND
from membench.scoring.record_index import REAL
from membench.scoring.record_index import RecordIndex
from membench.scoring.types import Gate

FIT = 0.99  #: the least fit of random labels that `none` must reach at the budget E
HALFWAY = 0.95  #: the least fit of random labels that `none` must reach at E / 2
MEMORY = (
    0.95  #: the least share of the wrong labels among real ones that `none` must predict as given
)
ROOM = 0.5  #: the least share of the way from a constant answer to 1 that real accuracy must go
DAMAGE = 0.10  #: the least accuracy that each noise level must cost `none`


def evaluate_gate(index: RecordIndex, task: str, choosing: Phase, confirming: Phase) -> Gate:
    """Decide whether the task is fit to measure with, by the confirming seeds.

    Args:
        index: the records of one environment.
        task: "dataset/architecture".
        choosing: `none` there at the choosing seeds.
        confirming: `none` there at the confirming seeds.
    """
    env = index.env
    if not index.measures:
        reason = "the suite lacks real, or a signal of label noise"
        return Gate(task=task, valid=False, env=env, reasons=(reason,))
    cells = choosing.cells + confirming.cells
    missing = cells - choosing.done - confirming.done
    if missing:
        reason = f"`none` is not complete: {missing} of {cells} cells have not run"
        return Gate(task=task, valid=False, env=env, reasons=(reason,), pending=True)
    dropped = choosing.dropped | confirming.dropped
    first, second = choosing.baseline, confirming.baseline
    if first is None or second is None:
        which = "choosing" if first is None else "confirming"
        reason = f"`none` failed at every {which} seed"
        return Gate(task=task, valid=False, env=env, reasons=(reason,), dropped=dropped)
    values = _gate_values(second)
    reasons = _failed_conditions(values)
    return Gate(
        task=task,
        valid=not reasons,
        env=env,
        reasons=tuple(reasons),
        values=values,
        choosing=first.seeds,
        confirming=second.seeds,
        dropped=dropped,
        epochs=first.epochs,
        classes=first.num_classes,
        tests=first.num_test,
    )


def _gate_values(baseline: Baseline) -> dict[str, float]:
    """Compute what the gate looks at, in means over seeds, by the names that the page shows."""
    values = {}
    if baseline.has_rand:
        half = (baseline.epochs + 1) // 2
        half_way = [_fit_at(baseline.records[RAND, seed], half) for seed in baseline.seeds]
        values["F0(E)"] = baseline.fit.mean()
        values["F0(E/2)"] = np.mean(half_way)
    values["A0_0"] = baseline.readings[:, 0, TEST].mean()
    # what a constant answer reaches: the classes' shares in training are those of the test images
    # up to the draw
    real_share = [baseline.records[REAL, seed].label_share for seed in baseline.seeds]
    values["cA"] = max(1 / baseline.num_classes, float(np.mean(real_share)))
    for i, signal in enumerate(baseline.noisy_signals, 1):
        level = signal.removeprefix("mixed@")
        values[f"M0@{level}"] = baseline.readings[:, i, WRONG].mean()
        values[f"D@{level}"] = damage(baseline.readings[:, [0, i], TEST]).mean()
    return {name: float(value) for name, value in values.items()}


def _fit_at(record: Record, epoch: int) -> float:
    """Training accuracy at the last stored epoch up to `epoch`; 0 if there is none."""
    last = 0.0
    for stored, fit in zip(record.epochs, record.train, strict=True):
        if stored <= epoch:
            last = fit
    return last


def _failed_conditions(values: dict[str, float]) -> list[str]:
    """List what fails, each with its number."""
    floors = {"F0(E)": FIT, "F0(E/2)": HALFWAY} if "F0(E)" in values else {}
    floors |= {name: MEMORY for name in values if name.startswith("M0@")}
    floors["A0_0"] = values["cA"] + ROOM * (1 - values["cA"])
    floors |= {name: DAMAGE for name in values if name.startswith("D@")}
    reasons = []
    for name, floor in floors.items():
        if values[name] < floor - 1e-12:
            reasons.append(f"{name} = {values[name]:.3f} < {floor:.3f}")
    return reasons

"""The difference of two rows, of one board or of two, in every reading (README, Two rows).

A task on which both were read in one environment, at the same seeds and with the same weight, is
compared seed by seed; on every other one the variances of both add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import estimate_on_task
from membench.scoring.outcomes import interval
from membench.scoring.rows import MeasuredRow
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.stats import TaskEstimate
from membench.scoring.stats import over_tasks
from membench.scoring.types import Interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One reading of two rows, and the second minus the first."""

    reading: str  #: "H", "S", "dA", "dA mixed@0.4" (accuracy under that noise) or "R"
    first: Interval
    second: Interval
    value: Interval
    #: two-sided, of no difference; None with fewer seeds than a board makes claims of
    p: float | None
    paired: bool  #: seed by seed on all tasks
    #: task -> the same there, of tasks that both have
    by_task: dict[str, Interval]


def differences_of(first: MeasuredRow, second: MeasuredRow) -> tuple[Difference, ...]:
    """Compare two rows in every reading that both have.

    Where either has fewer than `FEWEST_SEEDS` confirming seeds nothing is claimed: there is no p.
    """
    has_p = min(first.fewest_seeds, second.fewest_seeds) >= FEWEST_SEEDS
    readings_of_first, readings_of_second = _readings(first), _readings(second)
    paired = _paired_tasks(first, second)
    found = []
    for name, of_first in readings_of_first.items():
        of_second = readings_of_second.get(name)
        if of_second is not None:
            difference = _difference(name, of_first, of_second, paired)
            found.append(difference if has_p else replace(difference, p=None))
    return tuple(found)


def _readings(row: MeasuredRow) -> dict[str, dict[str, Reading]]:
    """Return the readings of a row, with weights: name -> task -> reading."""
    names = ["H", "dA", "R"]
    if all(outcome.held_back.readings.S for outcome in row.outcomes.values()):
        names.insert(1, "S")
    found = {}
    for name in names:
        found[name] = dict(zip(row.outcomes, row.readings(name), strict=True))
    for place, signal in enumerate(row.row.noisy):
        by_task = {}
        for (task, outcome), weight in zip(row.outcomes.items(), row.weights, strict=True):
            reading = outcome.held_back.readings.noisy[place]
            by_task[task] = replace(reading, weight=weight)
        found[f"dA {signal}"] = by_task
    return found


def _paired_tasks(first: MeasuredRow, second: MeasuredRow) -> set[str]:
    """Find the tasks on which two rows are compared seed by seed."""
    if list(first.row.noisy) != list(second.row.noisy):
        return set()  # of other noise
    weights = dict(zip(second.outcomes, second.weights, strict=True))
    tasks = set()
    for (task, mine), weight in zip(first.outcomes.items(), first.weights, strict=True):
        its = second.outcomes.get(task)
        if its and (its.env, its.seeds) == (mine.env, mine.seeds) and weights[task] == weight:
            tasks.add(task)
    return tasks


def _difference(
    name: str, first: Mapping[str, Reading], second: Mapping[str, Reading], paired: set[str]
) -> Difference:
    """Subtract the first from the second.

    Args:
        name: of the reading.
        first: by task, with weights.
        second: likewise.
        paired: the tasks that are compared seed by seed.
    """
    value, p = _subtract(first, second, paired)
    by_task = {}
    for task in first:
        if task in second:
            alone = {task: replace(first[task], weight=1.0)}
            other = {task: replace(second[task], weight=1.0)}
            by_task[task], _ = _subtract(alone, other, paired)
    return Difference(
        reading=name,
        first=interval(list(first.values())),
        second=interval(list(second.values())),
        value=value,
        p=p,
        paired=paired == set(first) == set(second),
        by_task=by_task,
    )


def _subtract(
    first: Mapping[str, Reading], second: Mapping[str, Reading], paired: set[str]
) -> tuple[Interval, float | None]:
    """Subtract the first from the second, with the two-sided p of no difference.

    Neither has an interval where there is one seed only.
    """
    readings = (*first.values(), *second.values())
    if min(reading.influence.shape[-1] for reading in readings) < 2:
        return Interval(_mean(second.values()) - _mean(first.values())), None
    parts: list[TaskEstimate] = []
    for task, reading in second.items():
        parts.append(estimate_on_task(_minus(reading, first[task]) if task in paired else reading))
    for task, reading in first.items():
        if task not in paired:
            alone = estimate_on_task(reading)
            parts.append(replace(alone, value=-alone.value))
    total = over_tasks(parts)
    above = float(total.p_above)
    return Interval(float(total.mean), float(total.half)), 2 * min(above, 1 - above)


def _minus(second: Reading, first: Reading) -> Reading:
    """Subtract two readings of the same seeds; those of the same runs can differ by nothing."""
    difference = second - first
    if not difference.value.any() and not difference.influence.any():
        return replace(difference, failures=np.zeros_like(difference.failures))
    return difference


def _mean(readings: Iterable[Reading]) -> float:
    return float(sum(reading.weight * reading.value for reading in readings))

"""One setting on one task, read on the confirming seeds (README, Fresh seeds).

`Measured` holds what the tests between rows need; its `shown` is what the page shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.records import Entry
from membench.scoring.choices import Pair
from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import estimate
from membench.scoring.confirmed import read_mean
from membench.scoring.confirmed import read_ratio
from membench.scoring.controls import BEST_EPOCH
from membench.scoring.controls import is_end
from membench.scoring.controls import readings_at_epoch
from membench.scoring.controls import readings_stopped_early
from membench.scoring.curves import mean_curve
from membench.scoring.formulas import Floats
from membench.scoring.formulas import damage
from membench.scoring.further_signals import further_signals
from membench.scoring.image_sampling import correctness_of_none
from membench.scoring.image_sampling import image_terms
from membench.scoring.points import by_level
from membench.scoring.readings import TEST
from membench.scoring.readings import TRAIN
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import at_seeds
from membench.scoring.readings import read_setting
from membench.scoring.record_index import WORST
from membench.scoring.types import LOW_RATE
from membench.scoring.types import Confirmed
from membench.scoring.types import Curve
from membench.scoring.types import Interval
from membench.scoring.types import Strength


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The readings of one setting on one task, each with its influence values."""

    H: Reading
    S: Reading | None
    dA: Reading  #: points
    R: Reading
    noisy: tuple[Reading, ...]  #: [p], p > 0, 100 (A_p - A0_p), points


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One setting on one task on the confirming seeds."""

    readings: Readings
    shown: Confirmed
    image_terms: Floats | None  #: [m], of R


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row on a task at both of its chosen strengths."""

    env: str
    seeds: int  #: confirming seeds that count
    held_back: Measured
    recovery: Measured


@dataclass(frozen=True, kw_only=True)
class Confirming:
    """What all rows on one task in one environment have in common."""

    env: str
    baseline: Baseline  #: `none` at the confirming seeds
    right: Floats | None  #: [s, p, m], which test images it predicts right; None without bits


def prepare(env: str, baseline: Baseline | None) -> Confirming | None:
    """Prepare the reading of rows; None where `none` cannot be measured by (README, Gate).

    Args:
        env: hash of the environment.
        baseline: `none` on the task at the confirming seeds.
    """
    if baseline is None or not baseline.is_measurable:
        return None
    return Confirming(env=env, baseline=baseline, right=correctness_of_none(baseline))


def read_row(confirming: Confirming, pair: Pair) -> Outcome | None:
    """Read a complete row at both of its chosen strengths.

    Returns:
        None if the runs of `none` were not stored at the epoch that the control has chosen.
    """
    if pair.grid is None:
        return None
    measured = {}
    for place in sorted({pair.held_back, pair.recovery}):
        setting = _read_place(confirming, pair, pair.grid, place)
        if setting is None:
            return None
        measured[place] = setting
    # one curve a row: of the strength chosen by noise held back, or if that is off, by recovery
    place = pair.held_back or pair.recovery
    curve = _curve_at(confirming.baseline, pair, pair.grid, place)
    shown = replace(measured[place].shown, curve=curve)
    measured[place] = replace(measured[place], shown=shown)
    return Outcome(
        env=confirming.env,
        seeds=len(confirming.baseline.seeds),
        held_back=measured[pair.held_back],
        recovery=measured[pair.recovery],
    )


def read_early_stopping(confirming: Confirming) -> Outcome:
    """Read `EARLY_STOPPING`, which has one setting (README, Control)."""
    baseline = confirming.baseline
    setting, at_end = readings_stopped_early(baseline)
    readings = read(baseline, setting)
    shown = _show(baseline, setting, readings, BEST_EPOCH, at_end)
    measured = Measured(readings=readings, shown=shown, image_terms=None)
    return Outcome(
        env=confirming.env, seeds=len(baseline.seeds), held_back=measured, recovery=measured
    )


def read(baseline: Baseline, setting: Floats) -> Readings:
    """Read one setting (README, Fresh seeds).

    Args:
        baseline: `none` on the task, at the same seeds.
        setting: [s, signal, reading]; S is None where it has no fit of randY.
    """
    accuracy = setting[:, baseline.graded, TEST]
    gains = accuracy - baseline.accuracy  # [s, p]
    to_hold_back = baseline.wrong_beyond_chance(baseline.readings)
    fit = setting[:, baseline.rand, TRAIN]
    S = None
    if not np.isnan(fit).any():
        S = read_ratio(
            (baseline.fit - fit)[:, None],
            (baseline.fit - baseline.chance)[:, None],
            np.array([1 / max(baseline.num_train, 1)]),
        )
    one_image = 1 / max(baseline.num_test, 1)
    noisy = []
    for p in range(1, gains.shape[1]):
        noisy.append(read_mean(100 * gains[:, p], 100 * one_image))
    return Readings(
        H=read_ratio(
            to_hold_back - baseline.wrong_beyond_chance(setting),
            to_hold_back,
            1 / np.maximum(baseline.num_wrong, 1),
        ),
        S=S,
        dA=read_mean(100 * gains[:, 0], 100 * one_image),
        R=read_ratio(
            gains.sum(-1)[:, None], damage(baseline.accuracy)[:, None], np.array([one_image])
        ),
        noisy=tuple(noisy),
    )


def interval(readings: Sequence[Reading]) -> Interval:
    """Return the mean over tasks with its interval; without one if a task has one seed.

    Args:
        readings: one a task.
    """
    if min(reading.influence.shape[-1] for reading in readings) < 2:
        return Interval(float(sum(reading.weight * reading.value for reading in readings)))
    estimated = estimate(readings)
    return Interval(float(estimated.mean), float(estimated.half))


def is_edge(strength: Strength, entry: Entry) -> bool:
    """Tell whether a chosen strength is an end of its grid that is no natural one.

    The weakest and the strongest are ends, but not the strongest where every part is at its limit;
    off is none.
    """
    if not strength or strength not in (entry.strengths[0], entry.strengths[-1]):
        return False
    if strength != entry.strengths[-1] or len(entry.limits) != len(strength):
        return True
    return any(value != limit for value, limit in zip(strength, entry.limits, strict=True))


def _read_place(confirming: Confirming, pair: Pair, grid: Grid, place: int) -> Measured | None:
    """Read a row at one place of its grid."""
    baseline = confirming.baseline
    strength = grid.strengths[place]
    if strength:
        runs = at_seeds(pair.runs[strength], baseline.seeds)
        setting = read_setting(baseline, runs)
    elif grid.epochs[place] == baseline.epochs:
        runs = baseline.records
        setting = baseline.readings
    else:
        runs = None
        setting = readings_at_epoch(baseline, grid.epochs[place])
        if np.isnan(setting[:, baseline.graded, TEST]).any():
            return None
    readings = read(baseline, setting)
    edge = is_end(grid, place) if pair.name == LOW_RATE else is_edge(strength, pair.entry)
    terms = None
    if runs is not None:
        terms = image_terms(runs, baseline, confirming.right, float(readings.R.value))
    shown = _show(baseline, setting, readings, grid.labels[place], edge)
    if strength and runs is not None:
        ended = [record for record in runs.values() if record.status == "ok"]
        shown = replace(
            shown,
            strength=strength,
            runs=len(runs),
            failed=sum(record.status in WORST for record in runs.values()),
            cost=max((record.cost for record in ended), default=1.0),
        )
    return Measured(readings=readings, shown=shown, image_terms=terms)


def _curve_at(baseline: Baseline, pair: Pair, grid: Grid, place: int) -> Curve | None:
    """Average the learning curves of a chosen strength; None for `none`, which has its own."""
    strength = grid.strengths[place]
    if not strength:
        return None
    return mean_curve(baseline, pair.runs[strength], grid.labels[place])


def _show(
    baseline: Baseline, setting: Floats, readings: Readings, label: str, edge: bool
) -> Confirmed:
    """Make what the page shows of one setting, which is off or `none` read early."""
    mean = setting.mean(0)  # [signal, reading]
    noisy = {}
    for level, reading in zip(baseline.levels, readings.noisy, strict=True):
        noisy[level] = interval([reading])
    fit = float(mean[baseline.rand, TRAIN])
    return Confirmed(
        strength=(),
        label=label,
        edge=edge,
        H=interval([readings.H]),
        S=interval([readings.S]) if readings.S else None,
        dA=interval([readings.dA]),
        R=interval([readings.R]),
        noisy=noisy,
        real=float(mean[0, TEST]),
        mixed=by_level(baseline, mean[baseline.mixed, TEST]),
        fit=None if np.isnan(fit) else fit,
        wrong=by_level(baseline, mean[baseline.mixed, WRONG]),
        runs=0,
        failed=0,
        extra=further_signals(baseline, setting),
    )

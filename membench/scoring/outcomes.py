"""One setting on one task, read on the confirming seeds (README, Measures).

`Measured` holds what the tests between rows need; its `shown` is what the page shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.records import Entry
from membench.scoring.choices import Selection
from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import estimate
from membench.scoring.confirmed import expect_failures
from membench.scoring.confirmed import read_mean
from membench.scoring.confirmed import read_ratio
from membench.scoring.controls import BEST_EPOCH
from membench.scoring.controls import is_end
from membench.scoring.controls import readings_at_epoch
from membench.scoring.controls import readings_stopped_early
from membench.scoring.curves import mean_curve
from membench.scoring.equal_compute import read_at_equal_compute
from membench.scoring.formulas import Floats
from membench.scoring.formulas import damage
from membench.scoring.further_signals import further_signals
from membench.scoring.image_sampling import correctness_of_none
from membench.scoring.image_sampling import image_terms
from membench.scoring.points import by_signal
from membench.scoring.readings import TEST
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import at_seeds
from membench.scoring.readings import read_setting
from membench.scoring.record_index import WORST
from membench.scoring.record_index import RecordsByCell
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import PLACEBO
from membench.scoring.types import Confirmed
from membench.scoring.types import Curve
from membench.scoring.types import Interval
from membench.scoring.types import Strength

#: H or R above which the weakest strength of a grid counts as an end of it (README, Choice)
LEAST_AT_WEAKEST = 0.1


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
    seeds: tuple[int, ...]  #: confirming seeds that count
    held_back: Measured
    recovery: Measured


@dataclass(frozen=True, kw_only=True)
class CommonBaseline:
    """What all rows on one task in one environment have in common."""

    env: str
    baseline: Baseline  #: `none` at the confirming seeds
    right: Floats | None  #: [s, p, m], which test images it predicts right; None without bits


def prepare(env: str, baseline: Baseline | None) -> CommonBaseline | None:
    """Prepare the reading of rows; None where `none` cannot be measured by (README, Gate).

    Args:
        env: hash of the environment.
        baseline: `none` on the task at the confirming seeds.
    """
    if baseline is None or not baseline.is_measurable:
        return None
    return CommonBaseline(env=env, baseline=baseline, right=correctness_of_none(baseline))


def read_row(common: CommonBaseline, selection: Selection) -> Outcome | None:
    """Read a complete row at both of its chosen strengths.

    Returns:
        None if the runs of `none` were not stored at the epoch that the control has chosen.
    """
    if selection.grid is None:
        return None
    measured = {}
    for place in sorted({selection.held_back, selection.recovery}):
        setting = _read_place(common, selection, selection.grid, place)
        if setting is None:
            return None
        measured[place] = setting
    # one curve a row: of the strength chosen by noise held back, or if that is off, by recovery
    place = selection.held_back or selection.recovery
    curve = _curve_at(common.baseline, selection, selection.grid, place)
    shown = replace(measured[place].shown, curve=curve)
    measured[place] = replace(measured[place], shown=shown)
    return Outcome(
        env=common.env,
        seeds=common.baseline.seeds,
        held_back=measured[selection.held_back],
        recovery=measured[selection.recovery],
    )


def read_early_stopping(common: CommonBaseline) -> Outcome:
    """Read `EARLY_STOPPING`, which has one setting (README, Controls)."""
    baseline = common.baseline
    setting, at_end = readings_stopped_early(baseline)
    readings = read(baseline, setting)
    shown = _show(baseline, setting, readings, BEST_EPOCH, at_end)
    measured = Measured(readings=readings, shown=shown, image_terms=None)
    return Outcome(env=common.env, seeds=baseline.seeds, held_back=measured, recovery=measured)


def read(baseline: Baseline, setting: Floats) -> Readings:
    """Read one setting (README, Measures and Intervals).

    Args:
        baseline: `none` on the task, at the same seeds.
        setting: [s, signal, reading]; S is None where it has no fit of randY.
    """
    accuracy = setting[:, baseline.graded, TEST]
    gains = accuracy - baseline.accuracy  # [s, p]
    to_hold_back = baseline.wrong_beyond_chance(baseline.readings)
    fit = baseline.fit_of(setting)
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


def is_edge(strength: Strength, name: str, entry: Entry) -> bool:
    """Tell whether a chosen strength is an end of its grid that is no natural one.

    The weakest and the strongest are ends, but not the strongest where every part is at its limit;
    off is none. In a full grid each part is held against its own values (README, Choice).
    """
    if not strength:
        return False
    if name.endswith(FULL):
        return any(_is_edge_of_part(strength, entry, part) for part in range(len(strength)))
    if strength == entry.strengths[-1]:
        limits = entry.limits or (None,) * len(strength)
        return any(value != limit for value, limit in zip(strength, limits, strict=True))
    return strength == entry.strengths[0]


def _is_edge_of_part(strength: Strength, entry: Entry, part: int) -> bool:
    """Tell whether one part of a full grid's setting is an end of that part's own grid."""
    # strengths may rise or fall from weak to strong: the grid's order tells which
    values = list(dict.fromkeys(setting[part] for setting in entry.strengths))
    limit = entry.limits[part] if entry.limits else None
    if strength[part] == limit:
        return False
    return strength[part] in (values[0], values[-1])


def _read_place(
    common: CommonBaseline, selection: Selection, grid: Grid, place: int
) -> Measured | None:
    """Read a row at one place of its grid; None where `none` was not stored at that epoch."""
    strength = grid.strengths[place]
    if selection.name == LOW_RATE:
        edge = is_end(grid, place)
    elif selection.name == PLACEBO:
        edge = False  # its strengths are draws
    else:
        edge = is_edge(strength, selection.name, selection.entry)
    if strength:
        return _read_strength(common, selection.runs[strength], grid, place, edge)
    baseline = common.baseline
    if grid.epochs[place] == baseline.epochs:
        setting = baseline.readings
        readings = read(baseline, setting)
        terms = _image_terms(common, baseline.records, readings)
    else:
        setting = readings_at_epoch(baseline, grid.epochs[place])
        if np.isnan(setting[:, baseline.graded, TEST]).any():
            return None
        readings = read(baseline, setting)
        terms = None  # bits are stored at the last epoch alone
    shown = _show(baseline, setting, readings, grid.labels[place], edge)
    return Measured(readings=readings, shown=shown, image_terms=terms)


def _read_strength(
    common: CommonBaseline, runs: RecordsByCell, grid: Grid, place: int, edge: bool
) -> Measured:
    """Read the runs of one strength.

    Args:
        common: the baseline beside them.
        runs: its records at all confirming seeds.
        grid: of the row, on the choosing seeds.
        place: of the strength in it; not off.
        edge: it is an end of its grid.
    """
    baseline = common.baseline
    runs = at_seeds(runs, baseline.seeds)
    setting = read_setting(baseline, runs)
    failed = sum(record.status in WORST for record in runs.values())
    earlier = sum(grid.failed[: place + 1])
    readings = read(baseline, setting)
    readings = _allow_for_failures(baseline, readings, failed, len(runs), earlier)
    if place == 1 and max(readings.H.value, readings.R.value) <= LEAST_AT_WEAKEST:
        edge = False  # off bounds it
    ended = [record.cost for record in runs.values() if record.status == "ok"]
    cost = max(ended, default=1.0)
    H_equal = R_equal = None
    at_equal_compute = read_at_equal_compute(baseline, runs, cost) if cost > 1 else None
    if at_equal_compute is not None:
        equal = read(baseline, at_equal_compute)
        H_equal, R_equal = float(equal.H.value), float(equal.R.value)
    shown = replace(
        _show(baseline, setting, readings, grid.labels[place], edge),
        strength=grid.strengths[place],
        runs=len(runs),
        failed=failed,
        cost=cost,
        H_equal=H_equal,
        R_equal=R_equal,
    )
    terms = _image_terms(common, runs, readings)
    return Measured(readings=readings, shown=shown, image_terms=terms)


def _image_terms(common: CommonBaseline, runs: RecordsByCell, readings: Readings) -> Floats | None:
    return image_terms(runs, common.baseline, common.right, float(readings.R.value))


def _allow_for_failures(
    baseline: Baseline, readings: Readings, failed: int, runs: int, earlier: int
) -> Readings:
    """Allow for failures that the confirming seeds may lack (README, Rare failures).

    Args:
        baseline: `none` at the same seeds.
        readings: of one setting.
        failed: how many of its runs, over all signals, failed.
        runs: how many there are.
        earlier: how many choosing runs of this strength and the weaker ones failed.
    """
    counts = np.array(failed), np.array(runs), np.array(earlier)
    lost = 1 / baseline.num_classes - baseline.accuracy.mean(0)  # [p], had every run failed

    def allow(reading: Reading, worst: float) -> Reading:
        return expect_failures(reading, np.array(worst), *counts)

    noisy = []
    for reading, worst in zip(readings.noisy, 100 * lost[1:], strict=True):
        noisy.append(allow(reading, worst))
    return Readings(
        H=allow(readings.H, 0.0),
        S=allow(readings.S, 0.0) if readings.S else None,
        dA=allow(readings.dA, 100 * lost[0]),
        R=allow(readings.R, lost.sum() / damage(baseline.accuracy).mean()),
        noisy=tuple(noisy),
    )


def _curve_at(baseline: Baseline, selection: Selection, grid: Grid, place: int) -> Curve | None:
    """Average the learning curves of a chosen strength; None for `none`, which has its own."""
    strength = grid.strengths[place]
    if not strength:
        return None
    return mean_curve(baseline, selection.runs[strength], grid.labels[place])


def _show(
    baseline: Baseline, setting: Floats, readings: Readings, label: str, edge: bool
) -> Confirmed:
    """Make what the page shows of one setting, which is off or `none` read early."""
    mean = setting.mean(0)  # [signal, reading]
    noisy = {}
    for signal, reading in zip(baseline.noisy_signals, readings.noisy, strict=True):
        noisy[signal] = interval([reading])
    fit = float(baseline.fit_of(mean))
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
        noisy_test=by_signal(baseline, mean[baseline.noisy, TEST]),
        fit=None if np.isnan(fit) else fit,
        wrong=by_signal(baseline, mean[baseline.noisy, WRONG]),
        runs=0,
        failed=0,
        extra=further_signals(baseline, setting),
    )

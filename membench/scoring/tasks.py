"""One entry on one task: its points, the strengths that the folds chose, and what those gave.

`board.score` calls `score_entry` for every entry and task, and `score_control` once a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.records import Entry
from membench.records import Record
from membench.scoring.control import control_grid
from membench.scoring.curves import equal_compute
from membench.scoring.curves import largest_cost
from membench.scoring.curves import late_gain
from membench.scoring.curves import mean_curve
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import best_suppression
from membench.scoring.formulas import choose
from membench.scoring.formulas import damage
from membench.scoring.formulas import frontier_area
from membench.scoring.formulas import gain
from membench.scoring.formulas import mixed_suppression
from membench.scoring.formulas import ratio
from membench.scoring.formulas import suppression
from membench.scoring.further_signals import further_signals
from membench.scoring.gate import recovery_is_defined
from membench.scoring.image_sampling import image_terms
from membench.scoring.readings import CHANCE_WRONG
from membench.scoring.readings import TEST
from membench.scoring.readings import TRAIN
from membench.scoring.readings import VAL
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import read_grid
from membench.scoring.record_index import CellCounts
from membench.scoring.record_index import RecordIndex
from membench.scoring.record_index import count_cells
from membench.scoring.stats import Stratum
from membench.scoring.stats import estimate
from membench.scoring.stats import make_stratum
from membench.scoring.types import CONTROL
from membench.scoring.types import STILL_FITTING
from membench.scoring.types import TWO_NETWORK
from membench.scoring.types import Control
from membench.scoring.types import Fold
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import TaskScore

BUDGETS = (0.5, 1.0, 2.0)  #: points of real accuracy
LATE = 0.02  #: a fit that rises by more than this after 0.8 E is flagged
SUPPRESSION_GAP = 0.3  #: an S that is larger than S_mix by more than this is flagged


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """The readings of an entry on one task at the strengths that its folds chose."""

    chosen: Ints  #: [s], each seed's index into the grid's strengths
    modal: int  #: the index that most folds chose
    stability: float  #: share of folds that chose it
    stratum: Stratum
    image_terms: Floats | None  #: [m]
    R: Interval
    S: float
    dA: float
    S_mix: float
    extra: dict[str, float]
    S_at: dict[float, float]
    area: float
    cost: float = 1.0
    equal_compute_R: float | None = None


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A task's score for the report, and what the means over tasks are made of."""

    score: TaskScore
    outcome: TaskOutcome | None = None  #: None if cells are missing, or the task cannot measure R


def score_entry(
    index: RecordIndex, baseline: Baseline | None, entry: Entry, task: str, name: str
) -> TaskResult:
    """Score an entry that is not the control.

    Args:
        index: the suite's records.
        baseline: `none` on the task; None if it has not run.
        entry: the regularizer, with the strengths to choose among.
        task: "dataset/architecture".
        name: of the row.
    """
    seeds = baseline.seeds if baseline else index.manifest.seeds
    counts = count_cells(index, entry, task, seeds)
    skipped = entry.skipped.get(task, "")
    if baseline is None:
        return TaskResult(score=replace(_empty_score(name, task, counts), skipped=skipped))
    grid = read_grid(index, baseline, entry)
    score = replace(
        _empty_score(name, task, counts),
        complete=counts.missing == 0,
        skipped=skipped or _skip_reason(grid),
        points=_make_points(baseline, grid),
    )
    if counts.missing or not recovery_is_defined(baseline):
        return TaskResult(score=score)
    outcome = _make_outcome(baseline, grid, score.points)
    outcome = replace(
        outcome,
        cost=largest_cost(grid),
        equal_compute_R=equal_compute(grid, baseline, outcome.chosen),
    )
    flags = []
    if late_gain(grid, baseline, outcome.chosen) > LATE:
        flags.append(STILL_FITTING)
    if outcome.S - outcome.S_mix > SUPPRESSION_GAP:
        flags.append(TWO_NETWORK)
    score = replace(_with_outcome(score, baseline, grid, outcome), flags=tuple(flags))
    return TaskResult(score=score, outcome=outcome)


def score_control(
    index: RecordIndex, baseline: Baseline | None, low_rate: Entry | None, task: str
) -> tuple[TaskResult, Control | None]:
    """Score the one control entry (README, Control).

    Args:
        index: the suite's records.
        baseline: `none` on the task; None if it has not run.
        low_rate: the entry that trains `none` at lower rates, if the suite has it.
        task: "dataset/architecture".

    Returns:
        The result, and the control's points for the figures; None where `none` has not run.
    """
    seeds = baseline.seeds if baseline else index.manifest.seeds
    counts = count_cells(index, low_rate, task, seeds) if low_rate else CellCounts()
    if baseline is None:
        return TaskResult(score=_empty_score(CONTROL, task, counts)), None
    grid = control_grid(index, baseline, low_rate)
    points = _make_points(baseline, grid)
    num_early = sum(not strength for strength in grid.strengths)
    control = Control(
        task=task,
        early=points[:num_early],
        epochs=grid.epochs[:num_early],
        low_rate=points[num_early:],
        curve=mean_curve(baseline, baseline.records, "none"),
    )
    score = replace(
        _empty_score(CONTROL, task, counts), complete=counts.missing == 0, points=points, cost=1.0
    )
    if counts.missing or not recovery_is_defined(baseline):
        return TaskResult(score=score), control
    outcome = _make_outcome(baseline, grid, points)
    return TaskResult(score=_with_outcome(score, baseline, grid, outcome), outcome=outcome), control


def with_excess(result: TaskResult, control: TaskResult) -> TaskScore:
    """Return the score with X = R - R(control), paired; without it if either is not complete."""
    if result.outcome is None or control.outcome is None:
        return result.score
    difference = result.outcome.stratum - control.outcome.stratum
    return replace(result.score, X=_interval(difference))


def _empty_score(name: str, task: str, counts: CellCounts) -> TaskScore:
    """Make a score that holds nothing but the numbers of cells."""
    return TaskScore(
        task=task,
        entry=name,
        complete=False,
        failed=counts.failed,
        done=counts.done,
        cells=counts.cells,
    )


def _skip_reason(grid: Grid) -> str:
    """Say why no run of the entry could act; "" if one did, or none has run."""
    records: list[Record] = []
    for runs in grid.records[1:]:
        records += runs.values()
    if not records or any(record.status != "skipped" for record in records):
        return ""
    return records[0].reason or "skipped"


def _make_points(baseline: Baseline, grid: Grid) -> tuple[Point, ...]:
    """Make one point a strength, off first."""
    total = damage(baseline.accuracy).mean()
    R = ratio(_gains(baseline, grid, TEST).mean(-1), total)
    Rval = ratio(_gains(baseline, grid, VAL).mean(-1), total)
    points = []
    for strength_index, strength in enumerate(grid.strengths):
        setting = grid.readings[strength_index]
        mean = setting.mean(0)  # [signal, reading]
        train = {}
        for signal, fit in zip(baseline.signals, mean[:, TRAIN], strict=True):
            if not np.isnan(fit):
                train[signal] = float(fit)
        point = Point(
            strength=strength,
            label=grid.labels[strength_index],
            real=float(mean[0, TEST]),
            val=float(mean[0, VAL]),
            mixed=_by_level(baseline, mean[baseline.mixed, TEST]),
            mixed_val=_by_level(baseline, mean[baseline.mixed, VAL]),
            fit=float(mean[baseline.rand, TRAIN]),
            wrong=_by_level(baseline, mean[baseline.mixed, WRONG]),
            train=train,
            S=_suppression(baseline, setting),
            dA=_real_change(baseline, setting),
            S_mix=_mixed_suppression(baseline, setting),
            R=float(R[strength_index]),
            Rval=float(Rval[strength_index]),
            seeds=len(baseline.seeds),
            failed=grid.failed[strength_index],
            extra=further_signals(baseline, setting),
        )
        points.append(point)
    return tuple(points)


def _make_outcome(baseline: Baseline, grid: Grid, points: tuple[Point, ...]) -> TaskOutcome:
    """Choose leaving one seed out (README, Choice), and read everything at those strengths."""
    gain_val = _gains(baseline, grid, VAL)
    stratum = make_stratum(
        gain_val, _gains(baseline, grid, TEST), damage(baseline.accuracy), baseline.num_test
    )
    chosen = choose(gain_val)
    votes = np.bincount(chosen)
    R = _interval(stratum)
    setting = grid.readings[chosen, np.arange(len(chosen))]  # each seed at its fold's strength
    S_of_points = np.array([point.S for point in points])
    dA_of_points = np.array([point.dA for point in points])
    return TaskOutcome(
        chosen=chosen,
        modal=int(votes.argmax()),
        stability=float(votes.max() / len(chosen)),
        stratum=stratum,
        image_terms=image_terms(grid, baseline, chosen, R.mean),
        R=R,
        S=_suppression(baseline, setting),
        dA=_real_change(baseline, setting),
        S_mix=float(np.mean(list(_mixed_suppression(baseline, setting).values()))),
        extra=further_signals(baseline, setting),
        S_at={budget: best_suppression(S_of_points, dA_of_points, budget) for budget in BUDGETS},
        area=frontier_area(S_of_points, dA_of_points),
    )


def _with_outcome(
    score: TaskScore, baseline: Baseline, grid: Grid, outcome: TaskOutcome
) -> TaskScore:
    """Return the score with its folds and all that was read at their strengths."""
    mean_damage = outcome.stratum.damage.mean()
    folds = []
    for seed, strength_index, gained in zip(
        baseline.seeds, outcome.chosen, outcome.stratum.gains, strict=True
    ):
        fold = Fold(
            seed=seed,
            strength=grid.strengths[strength_index],
            label=grid.labels[strength_index],
            R=float(gained / mean_damage),
        )
        folds.append(fold)
    modal_label = grid.labels[outcome.modal]
    return replace(
        score,
        folds=tuple(folds),
        modal=modal_label,
        stability=outcome.stability,
        R=outcome.R,
        S=outcome.S,
        dA=outcome.dA,
        S_mix=outcome.S_mix,
        extra=outcome.extra,
        S_at=outcome.S_at,
        area=outcome.area,
        cost=outcome.cost,
        equal_compute_R=outcome.equal_compute_R,
        curve=mean_curve(baseline, grid.records[outcome.modal], modal_label),
    )


def _interval(stratum: Stratum) -> Interval:
    estimated = estimate([stratum])
    return Interval(float(estimated.mean), float(estimated.half))


def _gains(baseline: Baseline, grid: Grid, reading: int) -> Floats:
    """Compute N_s(l) on validation (VAL) or test images (TEST): [l, s]."""
    return gain(grid.graded(baseline, reading), baseline.readings[:, baseline.graded, reading])


def _real_change(baseline: Baseline, setting: Floats) -> float:
    """Compute dA in points, of one setting's readings [s, signal, reading]."""
    return float(100 * (setting[:, 0, TEST] - baseline.accuracy[:, 0]).mean())


def _suppression(baseline: Baseline, setting: Floats) -> float:
    """Compute S of one setting's readings [s, signal, reading]."""
    return float(suppression(setting[:, baseline.rand, TRAIN], baseline.fit, baseline.chance))


def _mixed_suppression(baseline: Baseline, setting: Floats) -> dict[float, float]:
    """Compute S_mix by level, of one setting's readings [s, signal, reading]."""
    wrong = _wrong_beyond_chance(baseline, setting)
    baseline_wrong = _wrong_beyond_chance(baseline, baseline.readings)
    return _by_level(baseline, mixed_suppression(wrong, baseline_wrong))


def _wrong_beyond_chance(baseline: Baseline, setting: Floats) -> Floats:
    """Compute M - q: [s, p], p > 0."""
    return setting[:, baseline.mixed, WRONG] - setting[:, baseline.mixed, CHANCE_WRONG]


def _by_level(baseline: Baseline, values: Floats) -> dict[float, float]:
    """Key [p] values by their noise level p > 0."""
    return {level: float(x) for level, x in zip(baseline.levels, values, strict=True)}

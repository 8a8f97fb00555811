"""One entry on one task: its points, what the folds chose and what that gave (section 1). Called by the board."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.records import Entry
from membench.scoring import curves
from membench.scoring import formulas
from membench.scoring import readings
from membench.scoring.curves import extras
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.gate import usable
from membench.scoring.image_sampling import image_terms
from membench.scoring.readings import Baseline
from membench.scoring.readings import Count
from membench.scoring.readings import Grid
from membench.scoring.readings import RecordIndex
from membench.scoring.stats import Stratum
from membench.scoring.stats import estimate
from membench.scoring.stats import stratum
from membench.scoring.types import CONTROL
from membench.scoring.types import STILL_FITTING
from membench.scoring.types import TWO_NETWORK
from membench.scoring.types import Control
from membench.scoring.types import Curve
from membench.scoring.types import Fold
from membench.scoring.types import Interval
from membench.scoring.types import Point
from membench.scoring.types import TaskScore

BUDGETS = (0.5, 1.0, 2.0)  #: points of real accuracy


@dataclass(frozen=True)
class Scored:
    """A task's score with what the board's own arithmetic needs of it."""

    score: TaskScore
    part: Stratum | None = None
    images: Floats | None = None


def score_entry(
    source: RecordIndex, plain: Baseline | None, entry: Entry, task: str, name: str
) -> Scored:
    """An entry that is not the control, as the row `name`."""
    cells = readings.count_cells(
        source, entry, task, plain.seeds if plain else source.manifest.seeds
    )
    if plain is None:
        return Scored(_empty(name, task, cells, entry.skipped.get(task, "")))
    grid = readings.grid_of(source, plain, entry)
    scored = _score(plain, name, grid, cells)
    score = replace(scored.score, skipped=entry.skipped.get(task, "") or _never_acted(grid))
    if scored.part is None:
        return replace(scored, score=score)
    chosen = _chosen(plain, grid)
    late = curves.late_gain(grid, plain, chosen) > 0.02
    flags = ((STILL_FITTING,) if late else ()) + (
        (TWO_NETWORK,) if score.S - score.S_mix > 0.3 else ()
    )
    equal = curves.equal_compute(grid, plain, chosen)
    return replace(
        scored, score=replace(score, flags=flags, equal_compute_R=equal, cost=curves.cost(grid))
    )


def score_control(
    source: RecordIndex, plain: Baseline | None, low: Entry | None, task: str
) -> tuple[Scored, Control | None]:
    """The one control entry, and its points for the figures."""
    seeds = plain.seeds if plain else source.manifest.seeds
    cells = readings.count_cells(source, low, task, seeds) if low else Count(0, 0, 0, 0)
    if plain is None:
        return Scored(_empty(CONTROL, task, cells)), None
    grid = curves.control_grid(source, plain, low)
    scored = _score(plain, CONTROL, grid, cells)
    early = sum(not strength for strength in grid.strengths)
    points = scored.score.points
    curve = curves.curve(plain, plain.records, "none")
    score = replace(scored.score, cost=1.0)
    return replace(scored, score=score), Control(
        task, points[:early], grid.epochs[:early], points[early:], curve
    )


def with_excess(scored: Scored, control: Scored) -> TaskScore:
    """The score with X = R - R(control), paired; without it if either is not complete."""
    if scored.part is None or control.part is None:
        return scored.score
    return replace(scored.score, X=_interval(scored.part - control.part))


def _empty(name: str, task: str, cells: Count, skipped: str = "") -> TaskScore:
    return TaskScore(
        task, name, False, skipped, failed=cells.failed, done=cells.done, cells=cells.cells
    )


def _never_acted(grid: Grid) -> str:
    runs = [record for cells in grid.records[1:] for record in cells.values()]
    return (
        runs[0].reason or "skipped"
        if runs and all(record.status == "skipped" for record in runs)
        else ""
    )


def _gains(plain: Baseline, grid: Grid, reading: int) -> Floats:
    """N_s(l), by validation or by test: [l, s]."""
    off = plain.cube[:, : 1 + len(plain.levels), reading]
    return formulas.gain(grid.graded(plain, reading), off)


def _chosen(plain: Baseline, grid: Grid) -> Ints:
    return formulas.choose(_gains(plain, grid, readings.VAL))


def _interval(part: Stratum) -> Interval:
    found = estimate([part])
    return Interval(float(found.mean), float(found.half))


def _score(plain: Baseline, name: str, grid: Grid, cells: Count) -> Scored:
    points = _points(plain, grid)
    score = replace(_empty(name, plain.task, cells), points=points, complete=cells.missing == 0)
    if cells.missing or not usable(plain):
        return Scored(score)
    val, test, damage = (
        _gains(plain, grid, readings.VAL),
        _gains(plain, grid, readings.TEST),
        formulas.damage(plain.accuracy),
    )
    chosen = _chosen(plain, grid)
    part = stratum(val, test, damage, plain.tests)
    R = _interval(part)
    modal, share = _modal(chosen)
    S, dA = [np.array([getattr(point, name) for point in points]) for name in ("S", "dA")]
    score = replace(
        score,
        folds=tuple(
            Fold(seed, grid.strengths[i], grid.labels[i], float(n / damage.mean()))
            for seed, i, n in zip(plain.seeds, chosen, part.gains, strict=True)
        ),
        modal=grid.labels[modal],
        stability=share,
        R=R,
        S=_suppression(plain, grid, chosen),
        dA=float(100 * _at(_real_gain(plain, grid), chosen).mean()),
        S_mix=float(np.mean(list(_mixed(plain, _at(grid.cube, chosen)).values()))),
        extra=extras(plain, _at(grid.cube, chosen)),
        S_at={budget: formulas.best_suppression(S, dA, budget) for budget in BUDGETS},
        area=formulas.frontier_area(S, dA),
        curve=_curve(plain, grid, modal),
    )
    return Scored(score, part, image_terms(grid, plain, chosen, R.mean))


def _curve(plain: Baseline, grid: Grid, index: int) -> Curve | None:
    return curves.curve(plain, grid.records[index], grid.labels[index])


def _modal(chosen: Ints) -> tuple[int, float]:
    """The strength that most folds chose, ties to the weaker, and its share."""
    counts = np.bincount(chosen)
    return int(counts.argmax()), float(counts.max() / len(chosen))


def _at(values: Floats, chosen: Ints) -> Floats:
    """Each seed's values at its fold's strength: [l, s, ...] -> [s, ...]."""
    return values[chosen, np.arange(len(chosen))]


def _real_gain(plain: Baseline, grid: Grid) -> Floats:
    """A_0 - A0_0: [l, s]."""
    return grid.cube[:, :, 0, readings.TEST] - plain.accuracy[:, 0]


def _suppression(plain: Baseline, grid: Grid, chosen: Ints) -> float:
    fit = _at(grid.cube[:, :, 1 + len(plain.levels), readings.TRAIN], chosen)
    return float(formulas.suppression(fit, plain.fit, plain.chance))


def _mixed(plain: Baseline, cube: Floats) -> dict[float, float]:
    """S_mix by level, of one setting's readings [s, signal, reading]."""
    levels = slice(1, 1 + len(plain.levels))
    own, base = (
        c[:, levels, readings.WRONG] - c[:, levels, readings.CHANCE_WRONG]
        for c in (cube, plain.cube)
    )
    return dict(zip(plain.levels, map(float, formulas.mixed_suppression(own, base)), strict=True))


def _points(plain: Baseline, grid: Grid) -> tuple[Point, ...]:
    total = formulas.damage(plain.accuracy).mean()
    R = formulas.ratio(_gains(plain, grid, readings.TEST).mean(-1), total)
    Rval = formulas.ratio(_gains(plain, grid, readings.VAL).mean(-1), total)
    dA = 100 * _real_gain(plain, grid).mean(-1)
    return tuple(
        _point(plain, grid, index, R=float(R[index]), Rval=float(Rval[index]), dA=float(dA[index]))
        for index in range(len(grid.strengths))
    )


def _point(plain: Baseline, grid: Grid, index: int, *, R: float, Rval: float, dA: float) -> Point:
    mean = grid.cube[index].mean(0)
    return Point(
        strength=grid.strengths[index],
        label=grid.labels[index],
        real=float(mean[0, readings.TEST]),
        val=float(mean[0, readings.VAL]),
        mixed=_by_level(plain, mean[:, readings.TEST]),
        mixed_val=_by_level(plain, mean[:, readings.VAL]),
        fit=float(mean[1 + len(plain.levels), readings.TRAIN]),
        wrong=_by_level(plain, mean[:, readings.WRONG]),
        train={
            s: float(f)
            for s, f in zip(plain.signals, mean[:, readings.TRAIN], strict=True)
            if not np.isnan(f)
        },
        S=_suppression(plain, grid, np.full(len(plain.seeds), index)),
        dA=dA,
        S_mix=_mixed(plain, grid.cube[index]),
        R=R,
        Rval=Rval,
        seeds=len(plain.seeds),
        failed=grid.failed[index],
        extra=extras(plain, grid.cube[index]),
    )


def _by_level(plain: Baseline, values: Floats) -> dict[float, float]:
    """Of values by signal, those of the noise levels."""
    return {level: float(values[i]) for i, level in enumerate(plain.levels, 1)}

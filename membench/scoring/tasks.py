"""One task in one environment, and the score of a row there."""

from __future__ import annotations

from dataclasses import dataclass

from membench.scoring.choices import Selection
from membench.scoring.curves import mean_curve
from membench.scoring.environments import Environment
from membench.scoring.gate import evaluate_gate
from membench.scoring.outcomes import CommonBaseline
from membench.scoring.outcomes import Outcome
from membench.scoring.outcomes import prepare
from membench.scoring.outcomes import read_early_stopping
from membench.scoring.outcomes import read_row
from membench.scoring.points import make_points
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Control
from membench.scoring.types import Gate
from membench.scoring.types import TaskScore


@dataclass(frozen=True, kw_only=True)
class Site:
    """One task in one environment: what every row that is read there is measured by."""

    environment: Environment
    task: str
    gate: Gate
    common: CommonBaseline | None  #: None where `none` is not complete, or nothing can be measured
    #: `TRAINING_LESS` and `EARLY_STOPPING`, where they are complete
    controls: dict[str, Outcome]


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A row on one task: its score for the report, and what the means over tasks are made of."""

    score: TaskScore
    outcome: Outcome | None = None  #: None if cells are missing, or nothing can be measured
    missing: str = ""  #: what is to go: "choosing: 12 of 45 cells to go"


def make_site(environment: Environment, task: str) -> Site:
    """Judge the task by `none`, and read the controls."""
    choosing, confirming = environment.choosing[task], environment.confirming[task]
    common = None
    if environment.has_baseline(task):
        common = prepare(environment.env, confirming.baseline)
    controls = {}
    if common is not None:
        controls[EARLY_STOPPING] = read_early_stopping(common)
        training_less = None
        if environment.is_complete(task, LOW_RATE):
            training_less = read_row(common, environment.selections[task, LOW_RATE])
        if training_less is not None:
            controls[TRAINING_LESS] = training_less
    return Site(
        environment=environment,
        task=task,
        gate=evaluate_gate(environment.index, task, choosing, confirming),
        common=common,
        controls=controls,
    )


def score_row_on_task(site: Site, name: str) -> TaskResult:
    """Score a row of an entry on the site's task."""
    selection = site.environment.selections[site.task, name]
    outcome = None
    complete = site.environment.is_complete(site.task, name)
    if complete and site.common is not None:
        outcome = read_row(site.common, selection)
    return _result(site, selection, name, outcome, complete)


def score_training_less(site: Site) -> TaskResult:
    """Score the first control on the site's task."""
    selection = site.environment.selections[site.task, LOW_RATE]
    complete = site.environment.is_complete(site.task, LOW_RATE)
    return _result(site, selection, TRAINING_LESS, site.controls.get(TRAINING_LESS), complete)


def score_early_stopping(site: Site) -> TaskResult:
    """Score the second control on the site's task; it has no cells of its own."""
    complete = site.environment.is_complete(site.task, NONE)
    outcome = site.controls.get(EARLY_STOPPING)
    score = TaskScore(
        task=site.task,
        entry=EARLY_STOPPING,
        env=site.environment.env,
        complete=complete,
        held_back=outcome.held_back.shown if outcome else None,
        recovery=outcome.recovery.shown if outcome else None,
    )
    return TaskResult(score=score, outcome=outcome, missing=_missing_of_none(site))


def make_control(site: Site) -> Control | None:
    """Return the points and the curve of `none` for the figures; None before it has run."""
    grid = site.environment.selections[site.task, LOW_RATE].grid
    choosing = site.environment.choosing[site.task].baseline
    if grid is None or choosing is None:
        return None
    points = make_points(choosing, grid)
    num_early = sum(not strength for strength in grid.strengths)
    confirming = site.environment.confirming[site.task].baseline
    curve = mean_curve(confirming, confirming.records, NONE) if confirming else None
    return Control(
        task=site.task,
        early=points[:num_early],
        epochs=grid.epochs[:num_early],
        low_rate=points[num_early:],
        curve=curve,
    )


def _result(
    site: Site, selection: Selection, name: str, outcome: Outcome | None, complete: bool
) -> TaskResult:
    """Make the result of a row that has cells."""
    baseline = site.environment.choosing[site.task].baseline
    score = TaskScore(
        task=site.task,
        entry=name,
        env=site.environment.env,
        complete=complete,
        skipped=selection.skipped,
        points=make_points(baseline, selection.grid) if baseline and selection.grid else (),
        held_back=outcome.held_back.shown if outcome else None,
        recovery=outcome.recovery.shown if outcome else None,
        failed=selection.choosing.failed + selection.confirming.failed,
        diverged=selection.choosing.diverged + selection.confirming.diverged,
        done=selection.done,
        cells=selection.choosing.cells + selection.confirming.cells,
    )
    return TaskResult(score=score, outcome=outcome, missing=_missing(site, selection))


def _missing(site: Site, selection: Selection) -> str:
    """Say which cells are to go; "" if none is."""
    for phase, count in (("choosing", selection.choosing), ("confirming", selection.confirming)):
        if count.missing:
            return f"{phase}: {count.missing} of {count.cells} cells to go"
    return _missing_of_none(site)


def _missing_of_none(site: Site) -> str:
    """Say how many cells of `none` are to go; "" if none is."""
    phases = site.environment.choosing[site.task], site.environment.confirming[site.task]
    cells = sum(phase.cells for phase in phases)
    missing = cells - sum(phase.done for phase in phases)
    return f"`none` beside it: {missing} of {cells} cells to go" if missing else ""

"""The choice of strengths of one row on one task, from the choosing seeds (README, Choice)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

from membench.records import Entry
from membench.records import Record
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.scoring.confirmed import choose_by_recovery
from membench.scoring.controls import training_less_grid
from membench.scoring.formulas import Floats
from membench.scoring.formulas import mixed_suppression
from membench.scoring.readings import VAL
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import read_grid
from membench.scoring.record_index import WORST
from membench.scoring.record_index import RecordIndex
from membench.scoring.record_index import RecordsByCell
from membench.scoring.types import LOW_RATE
from membench.scoring.types import PLACEBO
from membench.scoring.types import Choice
from membench.scoring.types import Strength


@dataclass(frozen=True, kw_only=True)
class Count:
    """The cells of a row on a task in one phase."""

    cells: int = 0  #: planned
    done: int = 0  #: with a record
    failed: int = 0  #: with a record whose status counts as the worst value
    diverged: int = 0  #: those of the failed that diverged

    @property
    def missing(self) -> int:
        """Cells without a record."""
        return self.cells - self.done


@dataclass(frozen=True, kw_only=True)
class Selection:
    """One row on one task in one environment: what has been run, and what was chosen from it."""

    task: str
    name: str  #: of the row
    entry: Entry  #: with the strengths to choose among
    skipped: str  #: why it cannot act here; "" if it can
    choosing: Count
    confirming: Count  #: of the chosen strengths
    grid: Grid | None = None  #: on the choosing seeds; None where `none` has not run there
    choice: Choice | None = None  #: None until all choosing cells have been run
    #: the places of the choice in the grid: by noise held back and by recovery
    held_back: int = 0
    recovery: int = 0
    #: the chosen strengths' records at the confirming seeds
    runs: dict[Strength, RecordsByCell]

    @property
    def is_complete(self) -> bool:
        """Whether a choice was made and every cell of it has a record."""
        return self.choice is not None and not self.confirming.missing

    @property
    def done(self) -> int:
        """Cells with a record, of both phases."""
        return self.choosing.done + self.confirming.done


def select_strengths(
    index: RecordIndex, baseline: Baseline | None, task: str, name: str, entry: Entry
) -> Selection:
    """Find the records of a row on a task, and choose its strengths if all of them are there.

    Args:
        index: the records of one environment.
        baseline: `none` on the task at the choosing seeds.
        task: "dataset/architecture".
        name: of the row.
        entry: with the strengths to choose among.
    """
    manifest = index.manifest
    strengths = () if task in entry.skipped else entry.strengths
    runs = {}
    for strength in strengths:
        runs[strength] = index.runs(task, entry.name, strength, manifest.choosing)
    cells_a_strength = len(manifest.choosing) * len(index.signals)
    choosing = _count(runs, len(runs) * cells_a_strength)
    skipped = ""
    if name != LOW_RATE:  # without it, `TRAINING_LESS` has still the epochs of `none`
        skipped = entry.skipped.get(task, "") or _skip_reason(runs)
    selection = Selection(
        task=task,
        name=name,
        entry=entry,
        skipped=skipped,
        choosing=choosing,
        confirming=Count(),
        runs={},
    )
    if baseline is None:
        return selection
    grid = read_grid(baseline, runs)
    if name == LOW_RATE:
        grid = training_less_grid(baseline, grid)
    if choosing.missing:
        return replace(selection, grid=grid)
    if name == PLACEBO and len(grid.strengths) > 1:
        by_held_back = by_recovery = 1  # off would tie with `none` because it is `none`
    else:
        by_held_back, by_recovery = _choose(baseline, grid)
    choice = Choice(held_back=grid.strengths[by_held_back], recovery=grid.strengths[by_recovery])
    confirmed = {}
    for strength in choice.strengths:
        confirmed[strength] = index.runs(task, entry.name, strength, manifest.confirming)
    cells_a_strength = len(manifest.confirming) * len(index.signals)
    return replace(
        selection,
        grid=grid,
        choice=choice,
        held_back=by_held_back,
        recovery=by_recovery,
        runs=confirmed,
        confirming=_count(confirmed, len(confirmed) * cells_a_strength),
    )


def held_back_by_strength(baseline: Baseline, readings: Floats) -> Floats:
    """Compute H by level, not cut: [..., s, signal, reading] -> [..., p], means over seeds."""
    wrong = baseline.wrong_beyond_chance(readings)
    return mixed_suppression(wrong, baseline.wrong_beyond_chance(baseline.readings))


def validation_gains(baseline: Baseline, grid: Grid) -> Floats:
    """Compute the mean of V_p - V0_p over the seeds: [l, p]; p = 0 is the first."""
    of_none = baseline.readings[:, baseline.graded, VAL]
    return (grid.graded(baseline, VAL) - of_none).mean(1)


def _choose(baseline: Baseline, grid: Grid) -> tuple[int, int]:
    """Answer both questions: the places in the grid."""
    held_back = held_back_by_strength(baseline, grid.readings).mean(-1)
    gains = validation_gains(baseline, grid)
    return int(choose_by_noise_held_back(held_back, gains)), int(choose_by_recovery(gains))


def _count(runs: Mapping[Strength, RecordsByCell], cells: int) -> Count:
    done = failed = diverged = 0
    for records in runs.values():
        done += len(records)
        failed += sum(record.status in WORST for record in records.values())
        diverged += sum(record.status == "diverged" for record in records.values())
    return Count(cells=cells, done=done, failed=failed, diverged=diverged)


def _skip_reason(runs: Mapping[Strength, RecordsByCell]) -> str:
    """Say why no run of the entry could act; "" if one did, or none has run."""
    records: list[Record] = []
    for of_strength in runs.values():
        records += of_strength.values()
    if not records or any(record.status != "skipped" for record in records):
        return ""
    return min(record.reason for record in records) or "skipped"

"""The two controls: the unregularized network trained less (README of this folder, Controls).

`TRAINING_LESS` is one entry whose "strengths" are `none` read at earlier epochs, then `none`
trained at lower rates; it chooses among them as every entry chooses among its own.
`EARLY_STOPPING` chooses for each run apart, by that run's validation images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.readings import NUM_READINGS
from membench.scoring.readings import WRONG
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.readings import readings_at
from membench.scoring.record_index import RAND

BEST_EPOCH = "best validation epoch"  #: the label of what `EARLY_STOPPING` reads


def training_less_grid(baseline: Baseline, low_rate: Grid) -> Grid:
    """Return the grid of `TRAINING_LESS`: off, ever earlier epochs, then ever lower rates.

    Args:
        baseline: `none` on the task.
        low_rate: the grid of `LOW_RATE`, from the highest rate to the lowest; off alone where the
            suite does not have it.
    """
    early = _earlier_epochs(baseline)
    off_and_early = [baseline.readings]
    for epoch in early:
        off_and_early.append(readings_at_epoch(baseline, epoch))
    count = len(off_and_early)
    rates = low_rate.strengths[1:]
    return Grid(
        strengths=((),) * count + rates,
        labels=(
            "off",
            *(f"epoch {epoch}" for epoch in early),
            *(f"{strength[0]:.3g} plain steps" for strength in rates),
        ),
        readings=np.concatenate([np.stack(off_and_early), low_rate.readings[1:]]),
        failed=(0,) * count + low_rate.failed[1:],
        cells=low_rate.cells[:1] * count + low_rate.cells[1:],
        epochs=(baseline.epochs, *early) + (baseline.epochs,) * len(rates),
    )


def is_end(grid: Grid, place: int) -> bool:
    """Tell whether a choice of `TRAINING_LESS` is an end of its grid.

    The ends are the earliest epoch and the lowest rate: training still less might be a stronger
    control. Off, the whole training, is a natural end.

    Args:
        grid: of `training_less_grid`.
        place: the index of the choice.
    """
    num_early = sum(not strength for strength in grid.strengths)
    return place > 0 and place in (num_early - 1, len(grid.strengths) - 1)


def readings_at_epoch(baseline: Baseline, epoch: int) -> Floats:
    """Read `none` at an epoch: [s, signal, reading]; NaN where it was not read then."""
    readings = np.full_like(baseline.readings, np.nan)
    for s, seed in enumerate(baseline.seeds):
        for i, signal in enumerate(baseline.signals):
            record = baseline.records[signal, seed]
            if record.status == "ok" and epoch in record.epochs:
                place = record.epochs.index(epoch)
                readings[s, i] = readings_at(record, place, baseline.num_classes)
    return _with_all_wrong(baseline, readings)


def readings_stopped_early(baseline: Baseline) -> tuple[Floats, bool]:
    """Read each run of `none` on P at its own best epoch on clean validation images.

    The candidates are the epochs that were stored and tested; of equal ones the earliest counts.

    Returns:
        [s, signal, reading], NaN for other signals; and whether an end of the grid was chosen: on
        some signal half of the runs are best at their earliest candidate.
    """
    readings = np.full((len(baseline.seeds), len(baseline.signals), NUM_READINGS), np.nan)
    at_end = False
    for i, signal in enumerate(baseline.signals[baseline.graded]):
        num_earliest = 0
        for s, seed in enumerate(baseline.seeds):
            record = baseline.records[signal, seed]
            places = _tested_places(record)
            best = max(places, key=record.val.__getitem__)  # the first, so the earliest, of equals
            readings[s, i] = readings_at(record, best, baseline.num_classes)
            num_earliest += best == places[0] and len(places) > 1
        at_end = at_end or 2 * num_earliest >= len(baseline.seeds)
    return _with_all_wrong(baseline, readings), at_end


def _with_all_wrong(baseline: Baseline, readings: Floats) -> Floats:
    """Return the readings with M = 0 where no label of a noisy signal really changed."""
    readings[:, baseline.noisy, WRONG] = np.nan_to_num(readings[:, baseline.noisy, WRONG])
    return readings


def _earlier_epochs(baseline: Baseline) -> list[int]:
    """List the epochs before the last at which `none` can be read, latest first.

    Every run of it that a score needs must be stored there, and tested unless it is of randY.
    """
    stored = []
    for seed in baseline.seeds:
        for signal in baseline.signals[baseline.graded]:
            record = baseline.records[signal, seed]
            stored.append({record.epochs[place] for place in _tested_places(record)})
        if baseline.has_rand:
            stored.append(set(baseline.records[RAND, seed].epochs))
    common = set.intersection(*stored)
    return sorted((epoch for epoch in common if epoch < baseline.epochs), reverse=True)


def _tested_places(record: Record) -> Sequence[int]:
    """Return the places of the epochs, earliest first, at which a run was tested."""
    return [place for place, accuracy in enumerate(record.test) if accuracy is not None]

"""The change of R with other test images, from the stored bits (README, Image sampling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import damage
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid
from membench.scoring.record_index import WORST

Z = 1.959963984540054  #: the normal quantile of .975; there are thousands of images


@dataclass(frozen=True, kw_only=True)
class TaskImages:
    """One task's share of the image-sampling error of a row."""

    dataset: str  #: the tasks of one data set share its test images
    weight: float  #: w_t
    terms: Floats | None  #: [m], from `image_terms`


def image_terms(grid: Grid, baseline: Baseline, chosen: Ints, recovery: float) -> Floats | None:
    """Compute x_i = mean_s(N_{s,i} - R G_{s,i}) / D_t, whose variance over images is that of R_t.

    Args:
        grid: the entry's.
        baseline: `none` on the task.
        chosen: [s], each seed's index into the grid's strengths.
        recovery: R_t.

    Returns:
        [m], one term a test image; None if a run's bits are not stored (`none` read early has
        none).
    """
    signals = baseline.signals[baseline.graded]
    terms = []
    for strength_index, seed in zip(chosen, baseline.seeds, strict=True):
        if grid.epochs and grid.epochs[strength_index] != baseline.epochs:
            return None
        runs = grid.records[strength_index]
        right = _correctness([runs[signal, seed] for signal in signals], baseline)
        baseline_right = _correctness(
            [baseline.records[signal, seed] for signal in signals], baseline
        )
        if right is None or baseline_right is None:
            return None
        right = np.where(np.isnan(right), baseline_right, right)
        terms.append((right - baseline_right).sum(-1) - recovery * damage(baseline_right))
    return np.mean(terms, 0) / damage(baseline.accuracy).mean()


def image_half(tasks: Sequence[TaskImages]) -> float | None:
    """Compute the 95% half-width of R from the sampling of test images.

    The tasks of one data set share its test images, so they are added image by image; data sets are
    independent.

    Args:
        tasks: the valid tasks of a row.

    Returns:
        The half-width; None if there is no task, or one lacks its bits.
    """
    shared: dict[tuple[str, int], Floats] = {}
    for task in tasks:
        if task.terms is None:
            return None
        key = (task.dataset, len(task.terms))
        weighted = task.weight * task.terms
        shared[key] = shared[key] + weighted if key in shared else weighted
    if not shared:
        return None
    variance = 0.0
    for terms in shared.values():
        variance += terms.var(ddof=1) / len(terms)
    return float(Z * np.sqrt(variance))


def _correctness(records: Sequence[Record], baseline: Baseline) -> Floats | None:
    """Unpack which images some runs predict right: [m, p].

    1 = right; 1/K for a run that counts as the worst, NaN for one that counts as off. None if a
    run's bits are not stored.
    """
    columns = []
    for record in records:
        column = _correctness_of(record, baseline)
        if column is None:
            return None
        columns.append(column)
    return np.stack(columns, -1)


def _correctness_of(record: Record, baseline: Baseline) -> Floats | None:
    """Unpack one run's bits: [m]; None if they are not stored."""
    if record.status in WORST:
        return np.full(baseline.num_test, 1 / baseline.num_classes)
    if record.status == "skipped":
        return np.full(baseline.num_test, np.nan)
    packed = np.frombuffer(bytes.fromhex(record.test_bits), dtype=np.uint8)
    if 8 * len(packed) < baseline.num_test:
        return None
    return np.unpackbits(packed, count=baseline.num_test, bitorder="big").astype(np.float64)

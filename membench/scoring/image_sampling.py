"""The change of R with other test images, from the stored bits (README, Image sampling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.formulas import damage
from membench.scoring.readings import Baseline
from membench.scoring.record_index import WORST
from membench.scoring.record_index import RecordsByCell

Z = 1.959963984540054  #: the normal quantile of .975; there are thousands of images


@dataclass(frozen=True, kw_only=True)
class TaskImages:
    """One task's share of the image-sampling error of a row."""

    dataset: str  #: the tasks of one data set share its test images
    weight: float  #: w_t
    terms: Floats | None  #: [m], from `image_terms`


def correctness_of_none(baseline: Baseline) -> Floats | None:
    """Unpack which test images `none` predicts right: [s, p, m]; None if bits are not stored."""
    return _correctness(baseline.records, baseline, None)


def image_terms(
    runs: RecordsByCell, baseline: Baseline, of_none: Floats | None, recovery: float
) -> Floats | None:
    """Compute x_i = mean_s(N_{s,i} - R G_{s,i}) / D_t, whose variance over images is that of R_t.

    Args:
        runs: of the setting.
        baseline: `none` on the task.
        of_none: from `correctness_of_none`.
        recovery: R_t.

    Returns:
        [m], one term a test image; None if a run's bits are not stored.
    """
    if of_none is None:
        return None
    right = _correctness(runs, baseline, of_none)
    if right is None:
        return None
    gained = (right - of_none).sum(1).mean(0)
    lost = (of_none[:, :1] - of_none[:, 1:]).sum(1).mean(0)
    return np.asarray((gained - recovery * lost) / damage(baseline.accuracy).mean())


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


def _correctness(runs: RecordsByCell, baseline: Baseline, of_none: Floats | None) -> Floats | None:
    """Unpack which images some runs predict right: [s, p, m]; None if bits are not stored.

    1 = right; 1/K for a run that counts as the worst; as `none` for one that counts as off.
    """
    signals = baseline.signals[baseline.graded]
    right = np.empty((len(baseline.seeds), len(signals), baseline.num_test))
    for s, seed in enumerate(baseline.seeds):
        for p, signal in enumerate(signals):
            record = runs[signal, seed]
            if record.status in WORST:
                right[s, p] = 1 / baseline.num_classes
            elif record.status == "skipped" and of_none is not None:
                right[s, p] = of_none[s, p]
            else:
                bits = _unpack(record, baseline.num_test)
                if bits is None:
                    return None
                right[s, p] = bits
    return right


def _unpack(record: Record, num_test: int) -> Floats | None:
    """Unpack one run's bits: [m]; None if they are not stored."""
    packed = np.frombuffer(bytes.fromhex(record.test_bits), dtype=np.uint8)
    if not num_test or 8 * len(packed) < num_test:
        return None
    return np.unpackbits(packed, count=num_test, bitorder="big").astype(np.float64)

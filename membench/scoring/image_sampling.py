"""How far R would move with other test images: from the stored bits, image by image (section 1, Intervals)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from membench.records import Record
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import damage
from membench.scoring.readings import WORST
from membench.scoring.readings import Baseline
from membench.scoring.readings import Grid

Z = 1.959963984540054  #: thousands of images: the normal quantile of 95%


def image_terms(table: Grid, plain: Baseline, chosen: Ints, value: float) -> Floats | None:
    """x_i = mean_s(N_{s,i} - R G_{s,i}) / D_t, whose variance over the test images i is that of R_t: [m].

    None if a run's bits are not stored (`none` read early has none).
    """
    signals = plain.signals[: 1 + len(plain.levels)]
    terms = []
    for index, seed in zip(chosen, plain.seeds, strict=True):
        own = _bits([table.records[index][signal, seed] for signal in signals], plain)
        base = _bits([plain.records[signal, seed] for signal in signals], plain)
        if own is None or base is None or (table.epochs and table.epochs[index] != plain.epochs):
            return None
        own = np.where(np.isnan(own), base, own)
        terms.append((own - base).sum(-1) - value * damage(base))
    return np.mean(terms, 0) / damage(plain.accuracy).mean()


def _bits(records: Sequence[Record], plain: Baseline) -> Floats | None:
    """[m, p]: 1 = right; 1/K for a run that counts as the worst, NaN for one that counts as off."""
    columns = [_column(record, plain) for record in records]
    return None if any(column is None for column in columns) else np.stack(columns, -1)


def _column(record: Record, plain: Baseline) -> Floats | None:
    if record.status in WORST:
        return np.full(plain.tests, 1 / plain.classes)
    if record.status == "skipped":
        return np.full(plain.tests, np.nan)
    packed = np.frombuffer(bytes.fromhex(record.test_bits), dtype=np.uint8)
    if 8 * len(packed) < plain.tests:
        return None
    return np.unpackbits(packed, count=plain.tests, bitorder="big").astype(np.float64)


def image_half(terms: Sequence[tuple[str, float, Floats | None]]) -> float | None:
    """95% half-width of R from (data set, weight, x of one of its tasks).

    The tasks of one data set share its test images, so they are added image by image; data sets are independent.
    """
    if not terms or any(x is None for _, _, x in terms):
        return None
    shared: dict[tuple[str, int], Floats] = {}
    for dataset, weight, x in terms:
        shared[dataset, len(x)] = shared.get((dataset, len(x)), 0) + weight * x
    return float(Z * np.sqrt(sum(x.var(ddof=1) / len(x) for x in shared.values())))

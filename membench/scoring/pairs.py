"""The differences of all rows of a board, two at a time (README, Intervals).

`differences` compares two rows in every reading, of one board or of two; here all pairs of one
board are estimated at once, for a page that shows any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from membench.scoring.comparisons import differences
from membench.scoring.rows import MeasuredRow
from membench.scoring.rows import environments_by_task
from membench.scoring.rows import readings_by_task
from membench.scoring.types import Interval
from membench.scoring.types import Pairs

READINGS = ("H", "dA", "R")


def pairs_of(rows: Sequence[MeasuredRow]) -> dict[str, Pairs]:
    """Subtract every later row from every earlier one: reading -> (first, second) -> difference.

    Rows of one environment are compared seed by seed, others by Welch's variances. A row of one
    seed has no interval, and is left out.

    Args:
        rows: of one board, so that all have the same tasks and weights.
    """
    rows = [row for row in rows if row.fewest_seeds > 1]
    if len(rows) < 2:
        return {}
    envs = environments_by_task(rows)
    names = [row.row.entry for row in rows]
    found = {}
    for reading in READINGS:
        estimate = differences(readings_by_task(rows, reading), envs)
        mean, half = np.asarray(estimate.mean), np.asarray(estimate.half)
        pairs: Pairs = {}
        for first, second in combinations(range(len(rows)), 2):
            interval = Interval(float(mean[first, second]), float(half[first, second]))
            pairs[names[first], names[second]] = interval
        found[reading] = pairs
    return found

"""Signals that recovery does not read, such as `pair-flip@0.4` and `randX`: columns of their own. Called by tasks."""

from __future__ import annotations

import numpy as np

from membench.records import parse_signal
from membench.scoring.core import Floats
from membench.scoring.core import ratio
from membench.scoring.core import suppression
from membench.scoring.table import TEST
from membench.scoring.table import TRAIN
from membench.scoring.table import WRONG
from membench.scoring.table import Plain


def extras(plain: Plain, cube: Floats) -> dict[str, float]:
    """What one setting does to each further signal, as ratios of means over the seeds that have both runs.

    A part of the labels wrong: "R name@p", the share of the accuracy that this noise costs `none` which is won back.
    Anything else: "S name", the share of its fit that is gone. None of it chooses a strength or ranks.

    Args:
        plain: `none`.
        cube: [s, signal, reading] of the setting.
    """
    out = {}
    for i, signal in list(enumerate(plain.signals))[len(plain.levels) + 2 :]:
        level, wrong = parse_signal(signal)[1], plain.cube[:, i, WRONG]
        recovered = level is not None and not np.isnan(wrong).all()
        reading = TEST if recovered else TRAIN
        own, base = cube[:, i, reading], plain.cube[:, i, reading]
        both = ~np.isnan(own + base)
        if both.any() and recovered:
            real = plain.accuracy[both, 0]
            out[f"R {signal}"] = float(ratio((own - base)[both].mean(), (real - base[both]).mean()))
        elif both.any():
            share = [plain.records[signal, seed].label_share for seed in np.array(plain.seeds)[both].tolist()]
            out[f"S {signal}"] = float(suppression(own[both], base[both], np.array(share)))
    return out

"""Early stopping as a plugin: the weights stay as they are after a share s of the run.

A control of the harness that must equal none at that epoch: the same numbers are read from the
stored curve of `none`, which is what `training less` on the board does (Prechelt, "Early Stopping -
But When?", 1998). Strength: the share s of the steps that are taken, 1 (all, off) to 0.
"""

import torch

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def weights(params: Params, lane: Lane) -> Params:
    going = lane.step + 0.5 < lane.strength * lane.steps
    return {name: torch.where(going, w, lane.before[name]) for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    # The best of 40 and 50 epochs is the fourth to sixth, of 160 the fifth.
    return [
        Regularizer(
            "early-stop",
            strengths=(0.3, 0.2, 0.1, 0.05, 0.02),
            off=1.0,
            limit=0.0,
            group="control",
            weights=weights,
        )
    ]

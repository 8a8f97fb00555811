"""Stochastic weight averaging: evaluates the weights' mean over the last share s of the run.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018,
arXiv:1803.05407, algorithm 1 with a constant learning rate and one snapshot at each epoch's end.
Training itself is untouched; before the first snapshot the weights themselves are evaluated.
Strength: the share s of the run that is averaged, 0 (never) to 1 (from the first epoch on).
"""

from typing import Any

import torch

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def init(params: Params, lane: Lane) -> dict[str, Any]:
    return {"mean": params, "count": torch.zeros_like(lane.progress)}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    mean, count = lane.state["mean"], lane.state["count"]
    done, epoch = lane.step + 1, lane.num_examples // len(lane.index)
    take = (done % epoch == 0) & (done > (1 - lane.strength) * lane.steps + 0.5)
    weight = torch.where(take, 1 / (count + 1), 0.0)
    return {
        "mean": {name: m + weight * (params[name] - m) for name, m in mean.items()},
        "count": count + take,
    }


def readout(params: Params, lane: Lane) -> Params:
    mean, started = lane.state["mean"], lane.state["count"] > 0
    return {name: torch.where(started, mean[name], w) for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.1, 0.3, 0.5, 0.75, 1.0)
    return [
        Regularizer(
            "swa",
            strengths,
            limit=1.0,
            group="trajectory",
            init=init,
            update=update,
            readout=readout,
        )
    ]

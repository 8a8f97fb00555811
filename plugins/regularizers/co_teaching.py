"""Co-teaching: of two networks, each trains on the batch without the s largest losses of the other.

Han, Yao, Yu, Niu, Xu, Hu, Tsang and Sugiyama, "Co-teaching: Robust Training of Deep Neural Networks
with Extremely Noisy Labels", NeurIPS 2018, arXiv:1804.06872, algorithm 1. As there, the share that
is left out rises linearly to s at the start, here over a tenth of the steps; where s n is no whole
number, the example at the border counts for the fraction. The second network has initial weights of
the first one's mean and spread, tensor by tensor, and is trained by SGD with momentum 0.9 at the
run's rate, whatever the optimizer of the first. Evaluated is the first. Strength: the share s of
the batch, 0 to below 1; compare `small-loss`, which has one network.
"""

from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import cross_entropy

RISE = 0.1  # of the steps
MOMENTUM = 0.9


def weights_of_small(losses: Tensor, lane: Lane) -> Tensor:
    """Weigh the smaller of the losses [n] by 1 / (1 - share), the others by 0: [n]."""
    share = lane.strength * (lane.progress / RISE).clamp_max(1)
    kept = (1 - share) * losses.shape[0]
    rank = losses.detach().argsort(stable=True).argsort(stable=True)  # 0 = the smallest
    return (kept - rank).clamp(0, 1) / (1 - share)


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    others = cross_entropy(lane.forward(lane.x, lane.state["second"], train=True), y)
    return losses * weights_of_small(others, lane)


def init(params: Params, lane: Lane) -> dict[str, Any]:
    second = {}
    for name, w in params.items():
        second[name] = w.mean() + w.std(correction=0) * lane.normal(w.shape)
    return {"second": second, "momentum": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    chosen = weights_of_small(cross_entropy(lane.logits, lane.y), lane)

    def objective(second: Params) -> Tensor:
        losses = cross_entropy(lane.forward(lane.x, second, train=True), lane.y)
        return (losses * chosen).mean()

    slope = grad(objective)(lane.state["second"])
    momentum = {name: MOMENTUM * m + slope[name] for name, m in lane.state["momentum"].items()}
    second = {name: w - lane.lr * momentum[name] for name, w in lane.state["second"].items()}
    return {"second": second, "momentum": momentum}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "co-teaching",
            strengths=(0.05, 0.1, 0.2, 0.35, 0.5),
            group="loss",
            loss=loss,
            init=init,
            update=update,
        )
    ]

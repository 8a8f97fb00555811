"""Lion: a step of the learning rate's size by the sign of an averaged gradient.

Chen et al., 2023, "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, algorithm 2,
without weight decay. Betas .9 and .99; the recipe's momentum does not count.
"""

import torch
from torch import Tensor

from membench import Optimizer
from membench import Recipe
from membench import hookimpl
from membench.api import Params

BETA1, BETA2 = 0.9, 0.99
Slots = dict[str, Params]


def init(params: Params, recipe: Recipe) -> Slots:
    return {"mean": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(
    params: Params, grads: Params, slots: Slots, lr: Tensor, t: Tensor, recipe: Recipe
) -> tuple[Params, Slots]:
    weights, mean = {}, {}
    for name, w in params.items():
        old, g = slots["mean"][name], grads[name]
        weights[name] = w - lr * torch.sign(BETA1 * old + (1 - BETA1) * g)
        mean[name] = BETA2 * old + (1 - BETA2) * g
    return weights, {"mean": mean}


@hookimpl
def register() -> list[Optimizer]:
    return [Optimizer("lion", init=init, update=update)]

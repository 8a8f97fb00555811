"""Stochastic gradient descent with heavy-ball momentum, as `torch.optim.SGD` takes it.

Polyak, 1964, "Some Methods of Speeding up the Convergence of Iteration Methods". No Nesterov, no
dampening: m' = momentum * m + g, w' = w - lr * m'.
"""

import torch
from torch import Tensor

from membench import Optimizer
from membench import Recipe
from membench import hookimpl
from membench.api import Params

Slots = dict[str, Params]


def init(params: Params, recipe: Recipe) -> Slots:
    return {"momentum": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(
    params: Params, grads: Params, slots: Slots, lr: Tensor, t: Tensor, recipe: Recipe
) -> tuple[Params, Slots]:
    momentum = {k: recipe.momentum * slots["momentum"][k] + grads[k] for k in params}
    return {k: params[k] - lr * momentum[k] for k in params}, {"momentum": momentum}


@hookimpl
def register() -> list[Optimizer]:
    return [Optimizer("sgd", init=init, update=update)]

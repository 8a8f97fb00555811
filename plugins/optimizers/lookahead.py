"""Lookahead over SGD with momentum: every five steps the weights go half-way back.

Zhang, Lucas, Hinton and Ba, 2019, "Lookahead Optimizer: k steps forward, 1 step back",
arXiv:1907.08610, algorithm 1 with k = 5 and alpha = .5. The momentum is that of the recipe and goes
on; the weights between two of these steps, the fast ones, are those that are evaluated.
"""

import torch
from torch import Tensor

from membench import Optimizer
from membench import Recipe
from membench import hookimpl
from membench.api import Params

K, ALPHA = 5, 0.5
Slots = dict[str, Params]


def init(params: Params, recipe: Recipe) -> Slots:
    zeros = {name: torch.zeros_like(w) for name, w in params.items()}
    return {"momentum": zeros, "slow": params}


def update(
    params: Params, grads: Params, slots: Slots, lr: Tensor, t: Tensor, recipe: Recipe
) -> tuple[Params, Slots]:
    looks_back = (t + 1) % K == 0
    weights, momentum, slow = {}, {}, {}
    for name, w in params.items():
        momentum[name] = recipe.momentum * slots["momentum"][name] + grads[name]
        fast, old = w - lr * momentum[name], slots["slow"][name]
        slow[name] = torch.where(looks_back, old + ALPHA * (fast - old), old)
        weights[name] = torch.where(looks_back, slow[name], fast)
    return weights, {"momentum": momentum, "slow": slow}


@hookimpl
def register() -> list[Optimizer]:
    return [Optimizer("lookahead", init=init, update=update)]

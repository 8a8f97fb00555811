"""Stochastic gradient descent with heavy-ball momentum, as `torch.optim.SGD` takes it.

Polyak, 1964, "Some Methods of Speeding up the Convergence of Iteration Methods". No Nesterov, no
dampening: m' = momentum * m + g, w' = w - lr * m'.
"""

import torch

from membench import Optimizer
from membench import hookimpl


def init(params, recipe):
    """Start with no momentum."""
    return {"momentum": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(params, grads, slots, lr, t, recipe):
    """Take one step."""
    momentum = {k: recipe.momentum * slots["momentum"][k] + grads[k] for k in params}
    return {k: params[k] - lr * momentum[k] for k in params}, {"momentum": momentum}


@hookimpl
def register():
    return [Optimizer("sgd", init=init, update=update)]

"""Adam with decoupled weight decay, whose decay is 0 here, as `torch.optim.AdamW` takes it.

Loshchilov and Hutter, 2019, "Decoupled Weight Decay Regularization", arXiv:1711.05101. Betas .9 and
.999, eps 1e-8; the recipe's momentum does not count.
"""

import torch

from membench import Optimizer
from membench import hookimpl

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def init(params, recipe):
    """Start both moments at zero."""
    slots = {}
    for moment in ("first", "second"):
        slots[moment] = {name: torch.zeros_like(w) for name, w in params.items()}
    return slots


def update(params, grads, slots, lr, t, recipe):
    """Take one step."""
    # float64: in float32, 1 - BETA2**count keeps four digits at the first step
    count = (t + 1).to(torch.float64)
    first = {k: BETA1 * slots["first"][k] + (1 - BETA1) * grads[k] for k in params}
    second = {k: BETA2 * slots["second"][k] + (1 - BETA2) * grads[k].square() for k in params}
    scale = torch.sqrt(1 - BETA2**count).to(lr.dtype)
    size = lr / (1 - BETA1**count).to(lr.dtype)
    new = {k: params[k] - size * first[k] / (second[k].sqrt() / scale + EPS) for k in params}
    return new, {"first": first, "second": second}


@hookimpl
def register():
    return [Optimizer("adamw", init=init, update=update)]

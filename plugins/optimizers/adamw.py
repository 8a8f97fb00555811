"""Adam with decoupled weight decay, whose decay is 0 here, as `torch.optim.AdamW` takes it.

Loshchilov and Hutter, 2019, "Decoupled Weight Decay Regularization", arXiv:1711.05101. Betas .9 and
.999, eps 1e-8; the recipe's momentum does not count.
"""

import torch
from torch import Tensor

from membench import Optimizer
from membench import Recipe
from membench import hookimpl
from membench.api import Params

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
Slots = dict[str, Params]


def init(params: Params, recipe: Recipe) -> Slots:
    slots = {}
    for moment in ("first", "second"):
        slots[moment] = {name: torch.zeros_like(w) for name, w in params.items()}
    return slots


def update(
    params: Params, grads: Params, slots: Slots, lr: Tensor, t: Tensor, recipe: Recipe
) -> tuple[Params, Slots]:
    # float64: in float32, 1 - BETA2**count keeps four digits at the first step
    count = (t + 1).to(torch.float64)
    first = {k: BETA1 * slots["first"][k] + (1 - BETA1) * grads[k] for k in params}
    second = {k: BETA2 * slots["second"][k] + (1 - BETA2) * grads[k].square() for k in params}
    scale = torch.sqrt(1 - BETA2**count).to(lr.dtype)
    size = lr / (1 - BETA1**count).to(lr.dtype)
    new = {k: params[k] - size * first[k] / (second[k].sqrt() / scale + EPS) for k in params}
    return new, {"first": first, "second": second}


@hookimpl
def register() -> list[Optimizer]:
    return [Optimizer("adamw", init=init, update=update)]

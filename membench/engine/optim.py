"""The optimizers and learning rate schedules, as pure functions of one lane.

torch.optim takes one learning rate for all; each lane has its own.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from membench.api import Params
from membench.api import Recipe
from membench.errors import MembenchError

#: AdamW's constants, the defaults of torch.optim.AdamW
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8

Slots = dict[str, dict[str, Tensor]]  #: an optimizer's memory: slot -> weight's name -> tensor
SLOTS = {"sgd": ("momentum",), "adamw": ("first", "second")}  #: by optimizer
SCHEDULES = ("constant", "cosine")


def init(recipe: Recipe, params: Params) -> Slots:
    """Return the optimizer's memory before the first step, all zeros.

    Raises:
        MembenchError: the recipe names an optimizer or a schedule that does not exist.
    """
    if recipe.optimizer not in SLOTS or recipe.schedule not in SCHEDULES:
        raise MembenchError(
            f"recipe {recipe.optimizer}/{recipe.schedule}: know {', '.join(SLOTS)} and"
            f" {', '.join(SCHEDULES)}"
        )
    slots = {}
    for slot in SLOTS[recipe.optimizer]:
        slots[slot] = {name: torch.zeros_like(w) for name, w in params.items()}
    return slots


def rate(recipe: Recipe, progress: Tensor) -> Tensor:
    """Return the learning rate at `progress` (0-d, in [0, 1)), 0-d float32."""
    if recipe.schedule == "constant":
        return torch.full_like(progress, recipe.lr)
    return 0.5 * recipe.lr * (1 + torch.cos(math.pi * progress))


@cache
def mean_rate(recipe: Recipe, steps: int) -> float:
    """Average the learning rate over all steps of a run."""
    # float64 on the CPU, wherever the caller is about to compute
    progress = torch.arange(steps, dtype=torch.float64, device="cpu") / steps
    return float(rate(recipe, progress).mean())


def update(
    recipe: Recipe, params: Params, grads: Params, slots: Slots, lr: Tensor, step_index: Tensor
) -> tuple[Params, Slots]:
    """Take one step, as torch.optim.SGD(momentum) or torch.optim.AdamW(weight_decay=0) does.

    Args:
        recipe: names the optimizer.
        params: the weights before the step.
        grads: the gradient at them, after the `grads` stages.
        slots: the optimizer's memory.
        lr: 0-d, the learning rate.
        step_index: 0-d int32, from 0.

    Returns:
        The weights and the memory after the step.
    """
    if recipe.optimizer == "sgd":
        return _sgd(recipe, params, grads, slots, lr)
    return _adamw(params, grads, slots, lr, step_index)


def _sgd(
    recipe: Recipe, params: Params, grads: Params, slots: Slots, lr: Tensor
) -> tuple[Params, Slots]:
    momentum = {k: recipe.momentum * slots["momentum"][k] + grads[k] for k in params}
    return {k: params[k] - lr * momentum[k] for k in params}, {"momentum": momentum}


def _adamw(
    params: Params, grads: Params, slots: Slots, lr: Tensor, step_index: Tensor
) -> tuple[Params, Slots]:
    """AdamW without decay: Loshchilov and Hutter 2019, arXiv:1711.05101."""
    # float64: in float32, 1 - BETA2**count keeps four digits at the first step
    count = (step_index + 1).to(torch.float64)
    first = {k: BETA1 * slots["first"][k] + (1 - BETA1) * grads[k] for k in params}
    second = {k: BETA2 * slots["second"][k] + (1 - BETA2) * grads[k].square() for k in params}
    scale = torch.sqrt(1 - BETA2**count).to(lr.dtype)
    size = lr / (1 - BETA1**count).to(lr.dtype)
    new = {k: params[k] - size * first[k] / (second[k].sqrt() / scale + EPS) for k in params}
    return new, {"first": first, "second": second}

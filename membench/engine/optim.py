"""The optimizers, one lane each, as pure functions: torch.optim takes one learning rate, lanes have their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from membench.api import Params
from membench.api import Recipe
from membench.errors import MembenchError

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  #: AdamW's, as torch.optim.AdamW has them by default
Slots = dict[str, dict[str, Tensor]]


def init(recipe: Recipe, params: Params) -> Slots:
    """The optimizer's memory before the first step: {slot: {name: zeros}}.

    Raises:
        MembenchError: the recipe names an optimizer or a schedule that does not exist.
    """
    slots = {"sgd": ("momentum",), "adamw": ("first", "second")}.get(recipe.optimizer)
    if slots is None or recipe.schedule not in ("constant", "cosine"):
        raise MembenchError(
            f"recipe {recipe.optimizer}/{recipe.schedule}: know sgd, adamw and constant, cosine"
        )
    return {slot: {k: torch.zeros_like(v) for k, v in params.items()} for slot in slots}


def rate(recipe: Recipe, progress: Tensor) -> Tensor:
    """The learning rate at `progress` (0-d, in [0, 1)), 0-d float32."""
    if recipe.schedule == "constant":
        return torch.full_like(progress, recipe.lr)
    return 0.5 * recipe.lr * (1 + torch.cos(math.pi * progress))


def update(
    recipe: Recipe, params: Params, grads: Params, slots: Slots, lr: Tensor, step: Tensor
) -> tuple[Params, Slots]:
    """One step, as torch.optim.SGD(momentum) or torch.optim.AdamW(weight_decay=0) takes it."""
    if recipe.optimizer == "sgd":
        m = {k: recipe.momentum * slots["momentum"][k] + grads[k] for k in params}
        return {k: params[k] - lr * m[k] for k in params}, {"momentum": m}
    count = (step + 1).to(
        torch.float64
    )  # in float32, 1 - BETA2**count keeps four digits at the first step
    first = {k: BETA1 * slots["first"][k] + (1 - BETA1) * grads[k] for k in params}
    second = {k: BETA2 * slots["second"][k] + (1 - BETA2) * grads[k].square() for k in params}
    scale = torch.sqrt(1 - BETA2**count).to(lr.dtype)
    size = lr / (1 - BETA1**count).to(lr.dtype)
    new = {k: params[k] - size * first[k] / (second[k].sqrt() / scale + EPS) for k in params}
    return new, {"first": first, "second": second}

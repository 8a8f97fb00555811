"""The learning rate schedules, and calls of optimizers whose results are checked. One lane each."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from membench.api import SCHEDULES
from membench.api import Optimizer
from membench.api import Params
from membench.api import Recipe
from membench.engine.contract import unlike
from membench.errors import MembenchError

Slots = dict[str, Any]  #: an optimizer's memory, a nested dict of tensors


def rate(recipe: Recipe, step: Tensor, steps: int) -> Tensor:
    """Return the learning rate of steps; `Recipe.schedule` says what the schedules are.

    Args:
        recipe: names the schedule.
        step: which of the run's steps, from 0; of any shape, float32 or float64.
        steps: how many steps the run has.

    Returns:
        Of the shape and type of `step`.

    Raises:
        MembenchError: the recipe names a schedule that does not exist.
    """
    if recipe.schedule == "constant":
        return torch.full_like(step, recipe.lr)
    if recipe.schedule == "cosine":
        return _cosine(recipe.lr, step / steps)
    if recipe.schedule == "warmup-cosine":
        warm_steps = -(-steps // 10)  # rounded up
        rising = recipe.lr * (step + 1) / warm_steps
        falling = _cosine(recipe.lr, (step - warm_steps) / max(1, steps - warm_steps))
        return torch.where(step < warm_steps, rising, falling)
    raise MembenchError(f"unknown schedule {recipe.schedule!r}; known: {', '.join(SCHEDULES)}")


def _cosine(lr: float, progress: Tensor) -> Tensor:
    """Return half a period of the cosine, from `lr` at progress 0 to 0 at 1."""
    return 0.5 * lr * (1 + torch.cos(math.pi * progress))


@cache
def mean_rate(recipe: Recipe, steps: int) -> float:
    """Average the learning rate over all steps of a run."""
    # float64 on the CPU, wherever the caller is about to compute
    step = torch.arange(steps, dtype=torch.float64, device="cpu")
    return float(rate(recipe, step, steps).mean())


def init(optimizer: Optimizer, params: Params, recipe: Recipe) -> Slots:
    """Return the optimizer's memory before the first step.

    Args:
        optimizer: the live record.
        params: the initial weights.
        recipe: how the lane is trained.

    Raises:
        MembenchError: what the optimizer returned is not a nested dict of tensors.
    """
    slots = optimizer.init(params, recipe)
    # slots may have any entries, but they must be tensors
    fault = unlike(slots, slots if isinstance(slots, dict) else {})
    if fault:
        raise MembenchError(f"optimizer {optimizer.name!r}: init must return {fault}")
    return slots


def update(
    optimizer: Optimizer,
    params: Params,
    grads: Params,
    slots: Slots,
    lr: Tensor,
    step_index: Tensor,
    recipe: Recipe,
) -> tuple[Params, Slots]:
    """Take one step.

    Args:
        optimizer: the live record.
        params: the weights before the step.
        grads: the gradient at them, after the `grads` stages.
        slots: the optimizer's memory.
        lr: 0-d, the learning rate.
        step_index: 0-d int32, from 0.
        recipe: how the lane is trained.

    Returns:
        The weights and the memory after the step.

    Raises:
        MembenchError: they have not the entries, shapes and types of those before it.
    """
    result = optimizer.update(params, grads, slots, lr, step_index, recipe)
    fault = ""
    if not isinstance(result, tuple) or len(result) != 2:
        fault = "(weights, slots)"
    else:
        fault = unlike(result[0], params, "weights: ") or unlike(result[1], slots, "slots: ")
    if fault:
        raise MembenchError(f"optimizer {optimizer.name!r}: update must return {fault}")
    return result

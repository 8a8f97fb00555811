"""Median gradient: the gradient moves by a share s to the coordinate-wise median of three groups.

Zielinski, Krishnan and Chatterjee, "Weak and Strong Gradient Directions: Explaining Memorization,
Generalization, and Hardness of Examples at Scale", 2020, arXiv:2003.07422: M3, the coordinate-wise
median of the mean gradients of the batch's three thirds; what one third alone wants is not done.
(Their RM3 takes this and the two last steps' batches instead.) Strength: the share s, 0 to 1, of
the median in the result; 1 is M3.
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Compute the median of three tensors, coordinate by coordinate."""
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    size = max(1, len(lane.index) // 3)  # the one or two examples that are over are in no third
    rows = torch.arange(3 * size, device=lane.index.device).reshape(3, size) % len(lane.index)
    each = torch.func.vmap(lambda group: lane.gradient(params, group))(rows)
    return {name: g + lane.strength * (median(*each[name]) - g) for name, g in grads.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.2, 0.5, 0.8, 0.9, 1.0)
    return [Regularizer("median-gradient", strengths, limit=1.0, group="gradient", grads=grads)]

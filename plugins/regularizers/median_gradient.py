"""Median gradient: moves each coordinate of the gradient by a share s towards the median of three groups' gradients.

Zielinski, Krishnan and Chatterjee, "Weak and Strong Gradient Directions: Explaining Memorization, Generalization, and
Hardness of Examples at Scale", 2020, arXiv:2003.07422: M3, the coordinate-wise median of the mean gradients of the
batch's three thirds; what one third alone wants is not done. (Their RM3 takes this and the two last steps' batches
instead.) Strength: the share s, 0 to 1, of the median in the result; 1 is M3.
"""

import torch

from membench import Regularizer
from membench import hookimpl


def median(a, b, c):
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def grads(grads, params, lane):
    size = max(1, len(lane.index) // 3)  # the one or two examples that are over are in no third
    rows = torch.arange(3 * size, device=lane.index.device).reshape(3, size) % len(lane.index)
    each = torch.func.vmap(lambda group: lane.gradient(params, group))(rows)
    return {name: g + lane.strength * (median(*each[name]) - g) for name, g in grads.items()}


@hookimpl
def register():
    strengths = (0.2, 0.5, 0.8, 0.9, 1.0)
    return [Regularizer("median-gradient", strengths, group="gradient", grads=grads)]

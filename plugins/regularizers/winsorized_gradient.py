"""Winsorized gradient: the s most extreme of five groups' gradients count as the next ones.

Chatterjee, "Coherent Gradients: An Approach to Understanding Generalization in Gradient
Descent-based Optimization", ICLR 2020, arXiv:2002.10657: the mean of the gradients after each
coordinate's c largest are lowered to the (c+1)-th largest and its c smallest raised likewise, which
silences what few examples want. There the gradients are of single examples, which would cost nine
plain steps; here they are of the fifths of the batch. Strength: s = c, 0 to 2 groups at each end,
the bounds linear between whole numbers; 2 is the median. Cannot act on more than 5 million weights.
"""

import math

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Net
from membench.api import Params

GROUPS = 5
MOST = 5_000_000  # weights: the groups' gradients stand in memory at once


def skip(net: Net) -> str | None:
    weights = sum(math.prod(shape) for shape in net.params.values())
    if weights > MOST:
        return f"{GROUPS} gradients of {weights:,} weights at once; {MOST:,} are the most"
    return None


def ascending(groups: Tensor) -> list[Tensor]:
    """Sort the groups' values [groups, ...] coordinate by coordinate."""
    # odd-even transposition: compares neighbours only, elementwise, many times faster than sorting
    values = list(groups)
    for turn in range(len(values)):
        for i in range(turn % 2, len(values) - 1, 2):
            one, other = values[i], values[i + 1]
            values[i], values[i + 1] = torch.minimum(one, other), torch.maximum(one, other)
    return values


def shift(groups: Tensor, cut: Tensor) -> Tensor:
    """Compute what winsorizing adds to the mean over the groups; exactly 0 for cut = 0.

    Args:
        groups: [groups, ...].
        cut: 0-d, how many values at either end count as the next.

    Returns:
        [...].
    """
    ordered = ascending(groups)
    inner = [(1 - (cut - k).abs()).clamp_min(0.0) for k in range(len(ordered) // 2 + 1)]
    low, high = inner[0] * ordered[0], inner[0] * ordered[-1]
    for k, weight in enumerate(inner[1:], start=1):
        low, high = low + weight * ordered[k], high + weight * ordered[-1 - k]
    moves = [torch.maximum(torch.minimum(v, high), low) - v for v in ordered]
    return sum(moves[1:], start=moves[0]) / len(ordered)


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    groups = min(GROUPS, len(lane.index))
    size = len(lane.index) // groups  # the few examples that are over are in no group
    rows = torch.arange(groups * size, device=lane.index.device).reshape(groups, size)
    each = torch.func.vmap(lambda group: lane.gradient(params, group))(rows)
    return {name: g + shift(each[name], lane.strength) for name, g in grads.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.25, 0.5, 1.0, 1.5, 2.0)
    return [
        Regularizer(
            "winsorized-gradient", strengths, limit=2.0, group="gradient", skip=skip, grads=grads
        )
    ]

"""Winsorized gradient: in each coordinate, the s largest and smallest of five groups' gradients count as the next.

Chatterjee, "Coherent Gradients: An Approach to Understanding Generalization in Gradient Descent-based Optimization",
ICLR 2020, arXiv:2002.10657: the mean of the gradients after each coordinate's c largest are lowered to the (c+1)-th
largest and its c smallest raised likewise, which silences what few examples want. There the gradients are of single
examples, which would cost nine plain steps; here they are of the fifths of the batch. Strength: s = c, 0 to 2 groups
at each end, the bounds linear between whole numbers; 2 is the median. Cannot act on more than 5 million weights.
"""

import math

import torch

from membench import Regularizer
from membench import hookimpl

GROUPS = 5
MOST = 5_000_000  # weights: the groups' gradients stand in memory at once


def skip(net):
    weights = sum(math.prod(shape) for shape in net.params.values())
    return f"{GROUPS} gradients of {weights:,} weights at once; {MOST:,} are the most" if weights > MOST else None


def ascending(values):
    # odd-even transposition: compares neighbours only, elementwise, many times faster than sorting coordinates
    values = list(values)
    for turn in range(len(values)):
        for i in range(turn % 2, len(values) - 1, 2):
            low, high = torch.minimum(values[i], values[i + 1]), torch.maximum(values[i], values[i + 1])
            values[i], values[i + 1] = low, high
    return values


def shift(values, cut):
    """What winsorizing adds to the mean of the values; exactly 0 for cut = 0."""
    ordered = ascending(values)
    inner = [(1 - (cut - k).abs()).clamp_min(0.0) for k in range(len(ordered) // 2 + 1)]
    low = sum(weight * ordered[k] for k, weight in enumerate(inner))
    high = sum(weight * ordered[-1 - k] for k, weight in enumerate(inner))
    return sum(torch.maximum(torch.minimum(v, high), low) - v for v in ordered) / len(ordered)


def grads(grads, params, lane):
    groups = min(GROUPS, len(lane.index))
    size = len(lane.index) // groups  # the few examples that are over are in no group
    rows = torch.arange(groups * size, device=lane.index.device).reshape(groups, size)
    each = torch.func.vmap(lambda group: lane.gradient(params, group))(rows)
    return {name: g + shift(each[name], lane.strength) for name, g in grads.items()}


@hookimpl
def register():
    strengths = (0.25, 0.5, 1.0, 1.5, 2.0)
    return [Regularizer("winsorized-gradient", strengths, group="gradient", skip=skip, grads=grads)]

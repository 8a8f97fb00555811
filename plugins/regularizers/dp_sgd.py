"""DP-SGD: gradients of ten parts of the batch are clipped to C = 0.3; noise s C / 10 is added.

Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, arXiv:1607.00133, algorithm 1:
the clipped gradients' sum plus N(0, s^2 C^2), divided by their number. Clipped are the mean
gradients of microbatches (McMahan et al., 2018, arXiv:1812.06210), a tenth of the batch each, where
the paper clips single examples, which would cost nine plain steps; no privacy is claimed. Strength:
the noise multiplier s (sigma), 0 to infinity; below 0.01 the result is a mix with the plain
gradient, so that 0 is off. Cannot act with batch norm, nor on more than 5 million weights.
"""

import math

import torch

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Net
from membench.api import Params
from membench.nn import global_norm

GROUPS = 10
BOUND = 0.3
WHOLE = 0.01  # from this strength on it is DP-SGD and nothing else
MOST = 5_000_000  # weights: the groups' gradients stand in memory at once


def skip(net: Net) -> str | None:
    weights = sum(math.prod(shape) for shape in net.params.values())
    if net.has_batch_norm:
        return "batch norm mixes the examples, so that no clipping bounds what one of them does"
    if weights > MOST:
        return f"{GROUPS} gradients of {weights:,} weights at once; {MOST:,} are the most"
    return None


def clipped(gradient: Params) -> Params:
    """Scale a gradient down to a norm of at most `BOUND`."""
    scale = (BOUND / global_norm(gradient).clamp_min(1e-12)).clamp_max(1.0)
    return {name: g * scale for name, g in gradient.items()}


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    groups = min(GROUPS, len(lane.index))
    size = len(lane.index) // groups  # the few examples that are over are in no group
    rows = torch.arange(groups * size, device=lane.index.device).reshape(groups, size)
    each = torch.func.vmap(lambda group: clipped(lane.gradient(params, group)))(rows)
    share = (lane.strength / WHOLE).clamp_max(1.0)
    spread = lane.strength * BOUND / groups
    private = {name: g.mean(0) + spread * lane.normal(g.shape[1:]) for name, g in each.items()}
    return {name: g + share * (private[name] - g) for name, g in grads.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.007, 0.02, 0.05, 0.15, 0.5)
    return [Regularizer("dp-sgd", strengths, group="gradient", skip=skip, grads=grads)]

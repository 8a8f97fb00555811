"""Gradient noise: adds s (1 + t)^-0.275 times standard Gaussian noise to the gradient of step t.

Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", 2015,
arXiv:1511.06807: variance eta / (1 + t)^0.55, theirs from 0.01 to 1. Strength: s = sqrt(eta), the
standard deviation at the first step, 0 to infinity, in nats per unit of weight.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    spread = lane.strength * (1 + lane.step) ** -0.275
    return {name: g + spread * lane.normal(g.shape) for name, g in grads.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.01, 0.03, 0.06, 0.1, 0.2)
    return [Regularizer("gradient-noise", strengths, group="gradient", grads=grads)]

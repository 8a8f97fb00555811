"""Gradient clipping: the whole gradient is scaled down to a Euclidean norm of at most s.

Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
arXiv:1211.5063, algorithm 1. Strength: the bound on the gradient's norm, in nats per unit of
weight.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import global_norm


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    norm = global_norm(grads)
    scale = (lane.strength / norm.clamp_min(1e-12)).clamp_max(1.0)
    return {name: g * scale for name, g in grads.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "gradient-clipping",
            strengths=(1.0, 0.3, 0.1, 0.03, 0.003),
            off=float("inf"),
            group="gradient",
            grads=grads,
        )
    ]

"""Momentum-SAM: the gradient is taken at w - s v / |v|, with v the momentum of past gradients.

Becker, Altrock and Risse, "Momentum-SAM: Sharpness Aware Minimization without Computational
Overhead", 2024, arXiv:2401.12033: v <- 0.9 v + g, where g is the gradient at the moved weights that
the optimizer got, so that a step has one forward-backward pass, where `sam` has two. Evaluated are
the weights that are not moved. Strength: the radius rho, in units of the weights' Euclidean norm, 0
to infinity; theirs is up to 3 on CIFAR-100.
"""

from typing import Any

import torch

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import global_norm

MOMENTUM = 0.9


def perturb(params: Params, lane: Lane) -> Params:
    momentum = lane.state["momentum"]
    scale = lane.strength / (global_norm(momentum) + 1e-12)
    return {name: w - scale * momentum[name] for name, w in params.items()}


def init(params: Params, lane: Lane) -> dict[str, Any]:
    return {"momentum": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    old = lane.state["momentum"]
    return {"momentum": {name: MOMENTUM * old[name] + g for name, g in lane.grads.items()}}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "msam",
            strengths=(0.5, 1.0, 2.0, 4.0, 6.0),
            group="trajectory",
            perturb=perturb,
            init=init,
            update=update,
        )
    ]

"""Adaptive SAM: the gradient is taken at w + s T^2 g / |T g|, with T = |w| + 0.01 elementwise.

Kwon, Kim, Park and Choi, "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant Learning
of Deep Neural Networks", ICML 2021, arXiv:2102.11600, algorithm 1 (elementwise, p = 2, eta = 0.01);
T scales each weight by its size; it is 1 for biases, as in the authors' code. Strength: the radius
rho, 0 to infinity, in relative changes of the weights, as a Euclidean norm; theirs is 0.5. Both
gradients use the same draws; two forward-backward passes a step.
"""

import torch

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import global_norm

ETA = 0.01


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    scale = {
        name: w.abs() + ETA if w.dim() > 1 else torch.ones_like(w) for name, w in params.items()
    }
    scaled = {name: scale[name] * g for name, g in grads.items()}
    radius = lane.strength / (global_norm(scaled) + 1e-12)
    return lane.gradient(
        {name: w + radius * scale[name].square() * grads[name] for name, w in params.items()}
    )


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("asam", strengths=(0.5, 1.5, 3.0, 4.0, 6.0), group="trajectory", grads=grads)
    ]

"""Sharpness-aware minimization: the gradient is taken at the weights moved uphill by s.

Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
Generalization", ICLR 2021, arXiv:2010.01412, equation 3 (p = 2): at w + s g / |g|, g the gradient.
Strength: the radius rho, in units of the weights' Euclidean norm. Both gradients use the same
draws; two forward-backward passes a step.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import global_norm


def grads(grads: Params, params: Params, lane: Lane) -> Params:
    norm = global_norm(grads)
    scale = lane.strength / (norm + 1e-12)
    return lane.gradient({name: w + scale * grads[name] for name, w in params.items()})


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("sam", strengths=(0.1, 0.2, 0.35, 0.5, 1.0), group="trajectory", grads=grads)
    ]

"""Sharpness-aware minimization: the gradient is taken at the weights moved by s along the normalised gradient.

Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021,
arXiv:2010.01412, equation 3 (p = 2). Strength: the radius rho, in units of the weights' Euclidean norm. Both gradients
use the same draws; two forward-backward passes a step.
"""

import torch

from membench import Regularizer
from membench import hookimpl


def grads(grads, params, lane):
    norm = torch.sqrt(sum(g.square().sum() for g in grads.values()))
    scale = lane.strength / (norm + 1e-12)
    return lane.gradient({name: w + scale * grads[name] for name, w in params.items()})


@hookimpl
def register():
    return [Regularizer("sam", strengths=(0.1, 0.2, 0.35, 0.5, 1.0), group="trajectory", grads=grads)]

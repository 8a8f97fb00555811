"""Muon: the momentum of each weight matrix is made nearly orthogonal before it is a step.

Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks",
https://kellerjordan.github.io/posts/muon: Nesterov momentum with the recipe's momentum, five
iterations of Newton and Schulz, a step of sqrt(max(1, rows / columns)) times the rate. Weights of
two axes or more count as matrices, the last layer's too. Biases and the like, for which it is not
made, take steps of Adam (Kingma and Ba, 2015, arXiv:1412.6980) at the same rate.
"""

import torch
from torch import Tensor

from membench import Optimizer
from membench import Recipe
from membench import hookimpl
from membench.api import Params

A, B, C = 3.4445, -4.7750, 2.0315  # of the iteration X <- a X + (b XX' + c (XX')^2) X
ITERATIONS = 5
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # of Adam
Slots = dict[str, Params]


def init(params: Params, recipe: Recipe) -> Slots:
    return {
        "first": {name: torch.zeros_like(w) for name, w in params.items()},
        "second": {name: torch.zeros_like(w) for name, w in params.items() if w.dim() < 2},
    }


def update(
    params: Params, grads: Params, slots: Slots, lr: Tensor, t: Tensor, recipe: Recipe
) -> tuple[Params, Slots]:
    count = (t + 1).to(torch.float64)  # in float32, 1 - BETA2**count keeps four digits at first
    corrected1 = (1 - BETA1**count).to(lr.dtype)
    corrected2 = torch.sqrt(1 - BETA2**count).to(lr.dtype)
    weights: Params = {}
    first: Params = {}
    second: Params = {}
    for name, w in params.items():
        old, g = slots["first"][name], grads[name]
        if w.dim() >= 2:
            first[name] = recipe.momentum * old + g
            step = _orthogonal((g + recipe.momentum * first[name]).flatten(1))
            rows, columns = step.shape
            size = max(1.0, rows / columns) ** 0.5
            weights[name] = w - lr * size * step.reshape(w.shape)
        else:
            first[name] = BETA1 * old + (1 - BETA1) * g
            second[name] = BETA2 * slots["second"][name] + (1 - BETA2) * g.square()
            step = first[name] / corrected1 / (second[name].sqrt() / corrected2 + EPS)
            weights[name] = w - lr * step
    return weights, {"first": first, "second": second}


def _orthogonal(m: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of m [r, c] and singular values near 1."""
    x = m.T if m.shape[0] > m.shape[1] else m
    x = x / (torch.linalg.vector_norm(x) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return x.T if m.shape[0] > m.shape[1] else x


@hookimpl
def register() -> list[Optimizer]:
    return [Optimizer("muon", init=init, update=update)]

"""Spectral penalty: adds (s / 2) times every weight matrix's squared largest singular value.

Yoshida and Miyato, "Spectral Norm Regularization for Improving the Generalizability of Deep
Learning", 2017, arXiv:1705.10941, algorithm 1: u by one power iteration a step on the current
weights W, going on from the last step's; with it v = W^T u / sigma and sigma = |W^T u|, so that the
gradient is s sigma u v^T. Kernels count as matrices of their output channels' rows. Strength: the
coefficient s, 0 to infinity, in nats per unit of squared singular value.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def back(w: Tensor, u: Tensor) -> Tensor:
    """Compute W^T u [i], of the matrix w [o, i] and u [o]."""
    # sums, not matmuls: torch's product of a matrix and a vector reshapes in place, which cannot be
    # differentiated twice
    return (u[:, None] * w).sum(0)


def iterate(w: Tensor, u: Tensor) -> Tensor:
    """Take one power iteration: the next u [o]."""
    return F.normalize((w * F.normalize(back(w, u), dim=0)).sum(1), dim=0)


def matrices(params: Params) -> Params:
    """Return the weights that are matrices, kernels flattened to their output channels' rows."""
    return {name: w.flatten(1) for name, w in params.items() if w.dim() > 1}


def init(params: Params, lane: Lane) -> dict[str, Any]:
    return {name: iterate(w, lane.normal(w.shape[:1])) for name, w in matrices(params).items()}


def penalty(params: Params, lane: Lane) -> Tensor:
    total = sum(back(w, lane.state[name]).square().sum() for name, w in matrices(params).items())
    return 0.5 * lane.strength * total


def update(params: Params, lane: Lane) -> dict[str, Any]:
    return {name: iterate(w, lane.state[name]) for name, w in matrices(params).items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.01, 0.04, 0.12, 0.3, 1.0)
    return [
        Regularizer(
            "spectral-penalty",
            strengths,
            group="weights",
            init=init,
            penalty=penalty,
            update=update,
        )
    ]

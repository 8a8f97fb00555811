"""Spectral penalty: adds (s / 2) times the squared largest singular value of every weight matrix to the loss.

Yoshida and Miyato, "Spectral Norm Regularization for Improving the Generalizability of Deep Learning", 2017,
arXiv:1705.10941, algorithm 1: u by one power iteration a step on the current weights W, going on from the last step's;
with it v = W^T u / sigma and sigma = |W^T u|, so that the gradient is s sigma u v^T. Kernels count as matrices of their
output channels' rows. Strength: the coefficient s, 0 to infinity, in nats per unit of squared singular value.
"""

import torch.nn.functional as F

from membench import Regularizer
from membench import hookimpl


def back(w, u):
    """W^T u [i], of the matrix w [o, i] and u [o]."""
    # sums, not matmuls: torch's product of a matrix and a vector reshapes in place, which no tape can play again
    return (u[:, None] * w).sum(0)


def iterate(w, u):
    """One power iteration: the next u [o]."""
    return F.normalize((w * F.normalize(back(w, u), dim=0)).sum(1), dim=0)


def matrices(params):
    return {name: w.flatten(1) for name, w in params.items() if w.dim() > 1}


def init(params, lane):
    return {name: iterate(w, lane.normal(w.shape[:1])) for name, w in matrices(params).items()}


def penalty(params, lane):
    return 0.5 * lane.strength * sum(back(w, lane.state[name]).square().sum() for name, w in matrices(params).items())


def update(params, lane):
    return {name: iterate(w, lane.state[name]) for name, w in matrices(params).items()}


@hookimpl
def register():
    strengths = (0.03, 0.1, 0.25, 0.5, 1.0)
    stages = {"init": init, "penalty": penalty, "update": update}
    return [Regularizer("spectral-penalty", strengths, group="weights", **stages)]

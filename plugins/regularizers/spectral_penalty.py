"""Spectral penalty: adds (s / 2) times the squared largest singular value of every weight matrix to the loss.

Yoshida and Miyato, "Spectral Norm Regularization for Improving the Generalizability of Deep Learning", 2017,
arXiv:1705.10941, algorithm 1: u and v by one power iteration a step, going on from the last step's u, and constants
of the gradient s sigma u v^T. Kernels count as matrices of their output channels' rows. Strength: the coefficient s,
0 to infinity, in nats per unit of squared singular value.
"""

import torch.nn.functional as F

from membench import Regularizer
from membench import hookimpl


def iterate(w, u):
    """One power iteration on the matrix w [o, i] from u [o]: the next u and v [i]."""
    # sums, not matmuls: torch's product of a matrix and a vector reshapes in place, which no tape can play again
    v = F.normalize((u[:, None] * w).sum(0), dim=0)
    return F.normalize((w * v).sum(1), dim=0), v


def matrices(params):
    return {name: w.flatten(1) for name, w in params.items() if w.dim() > 1}


def init(params, lane):
    return {name: F.normalize(lane.normal(w.shape[:1]), dim=0) for name, w in matrices(params).items()}


def penalty(params, lane):
    total = 0.0
    for name, w in matrices(params).items():
        u, v = iterate(w.detach(), lane.state[name])
        total = total + (u[:, None] * w * v).sum().square()
    return 0.5 * lane.strength * total


def update(params, lane):
    # at the weights before the step, as the penalty's own iteration, so that a step makes one iteration and not two
    return {name: iterate(w, lane.state[name])[0] for name, w in matrices(lane.before).items()}


@hookimpl
def register():
    strengths = (0.03, 0.1, 0.25, 0.5, 1.0)
    stages = {"init": init, "penalty": penalty, "update": update}
    return [Regularizer("spectral-penalty", strengths, group="weights", **stages)]

"""Distance from initialization: adds (s / 2) times the squared distance from the initial weights to the loss.

Hu, Li and Yu, "Simple and Effective Regularization Methods for Training on Noisily Labeled Data with Generalization
Guarantee", ICLR 2020, arXiv:1905.11368 (RDI), lambda^2 = s; biases included. Strength: the coefficient
s, 0 to infinity, per unit of squared weight.
"""

from membench import Regularizer
from membench import hookimpl


def penalty(params, lane):
    return 0.5 * lane.strength * sum((w - lane.initial[name]).square().sum() for name, w in params.items())


@hookimpl
def register():
    strengths = (0.01, 0.03, 0.06, 0.15, 0.5)
    return [Regularizer("distance-from-init", strengths, group="weights", penalty=penalty)]

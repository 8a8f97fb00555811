"""Distance from initialization: adds (s / 2) times the squared distance |w - w_0|^2 to the loss.

Hu, Li and Yu, "Simple and Effective Regularization Methods for Training on Noisily Labeled Data
with Generalization Guarantee", ICLR 2020, arXiv:1905.11368 (RDI), lambda^2 = s; the sum runs over
all weights and biases. Strength: the coefficient s, 0 to infinity, per unit of squared weight.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def penalty(params: Params, lane: Lane) -> Tensor:
    distance = sum((w - lane.initial[name]).square().sum() for name, w in params.items())
    return 0.5 * lane.strength * distance


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.003, 0.01, 0.05, 0.15, 0.5)
    return [Regularizer("distance-from-init", strengths, group="weights", penalty=penalty)]

"""Gradient-norm penalty: adds s times the squared norm of the batch's gradient to the loss.

Barrett and Dherin, "Implicit Gradient Regularization", ICLR 2021, arXiv:2009.11162: the explicit
form, E + mu |dE / dw|^2 with E the mean cross-entropy, of what finite steps of gradient descent do
with mu = lr / 4. Differentiated exactly, through the first gradient, over all weights and biases.
Strength: mu, 0 to infinity, in units of the squared weights per nat.
"""

from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import cross_entropy


def penalty(params: Params, lane: Lane) -> Tensor:
    def loss(weights: Params) -> Tensor:
        return cross_entropy(lane.forward(lane.x, weights, train=True), lane.y).mean()

    return lane.strength * sum(g.square().sum() for g in grad(loss)(params).values())


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.003, 0.02, 0.08, 0.2, 0.3)
    return [Regularizer("gradient-norm-penalty", strengths, group="gradient", penalty=penalty)]

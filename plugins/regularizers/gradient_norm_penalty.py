"""Gradient-norm penalty: adds s times the squared norm of the batch gradient d mean(CE) / d weights to the loss.

Barrett and Dherin, "Implicit Gradient Regularization", ICLR 2021, arXiv:2009.11162: the explicit form, E + mu |dE /
dw|^2, of what finite steps of gradient descent do with mu = lr / 4. Differentiated exactly, through the first
gradient, over all weights and biases. Strength: mu, 0 to infinity, in units of the squared weights per nat.
"""

from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.nn import cross_entropy


def penalty(params, lane):
    slope = grad(lambda p: cross_entropy(lane.forward(lane.x, p, train=True), lane.y).mean())(params)
    return lane.strength * sum(g.square().sum() for g in slope.values())


@hookimpl
def register():
    strengths = (0.01, 0.05, 0.12, 0.2, 0.3)
    return [Regularizer("gradient-norm-penalty", strengths, group="gradient", penalty=penalty)]

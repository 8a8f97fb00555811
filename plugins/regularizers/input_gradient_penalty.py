"""Input-gradient penalty: adds (s / 2) times the mean squared norm of d CE / d x to the loss.

H. Drucker and Y. LeCun, "Improving Generalization Performance Using Double Backpropagation", IEEE
Trans. Neural Networks 3(6), 1992: the energy E_f + (1/2) |d E_f / d x|^2. The gradient is that of
each example's own loss, with taps acting. Strength: the weight s of the second term, 0 to infinity,
for x in standard deviations of the inputs.
"""

from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import cross_entropy


def penalty(params: Params, lane: Lane) -> Tensor:
    slope = grad(lambda x: cross_entropy(lane.forward(x, train=True), lane.y).sum())(lane.x)
    return 0.5 * lane.strength * slope.square().flatten(1).sum(1).mean()


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.03, 1.0, 20.0, 40.0, 80.0)
    return [Regularizer("input-gradient-penalty", strengths, group="gradient", penalty=penalty)]

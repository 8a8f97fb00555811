"""Jacobian penalty: adds (s / 2) times the mean squared Frobenius norm of d logits / d x.

Hoffman, Roberts and Yaida, "Robust Learning with Jacobian Regularization", 2019, arXiv:1908.02729,
algorithm 1 with one projection: |J|^2 is estimated without bias by c |d (v . logits) / d x|^2, v
uniform on the unit sphere of the c classes, drawn anew for each example and step. Strength: the
weight s, 0 to infinity, for x in standard deviations of the inputs.
"""

from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def penalty(params: Params, lane: Lane) -> Tensor:
    v = lane.normal((lane.x.shape[0], lane.num_classes))
    v = v / v.norm(dim=1, keepdim=True).clamp_min(1e-12)
    slope = grad(lambda x: (v * lane.forward(x, train=True)).sum())(lane.x)
    return 0.5 * lane.strength * lane.num_classes * slope.square().flatten(1).sum(1).mean()


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.01, 0.1, 1.0, 3.0, 10.0)
    return [Regularizer("jacobian-penalty", strengths, group="gradient", penalty=penalty)]

"""L1: adds s times the sum of the absolute values of all weight matrices to the loss.

R. Tibshirani, "Regression Shrinkage and Selection via the Lasso", J. Royal Stat. Soc. B 58(1),
1996, for linear models; biases are left alone; by subgradients, so that weights come near to zero
and not exactly there. Strength: the coefficient s, 0 to infinity, in nats per unit of absolute
weight.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def penalty(params: Params, lane: Lane) -> Tensor:
    return lane.strength * sum(w.abs().sum() for w in params.values() if w.dim() > 1)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "l1", strengths=(0.0005, 0.002, 0.004, 0.006, 0.01), group="weights", penalty=penalty
        )
    ]

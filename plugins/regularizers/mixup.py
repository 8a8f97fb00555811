"""Mixup: each example is blended with a random other one of the batch, inputs and labels alike.

Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
arXiv:1710.09412. The weight of the example itself is 1 - s u with u uniform on [0, 1), in place of
the paper's Beta law, which no counter-based draw gives in closed form; s = 1 is the paper's Beta(1,
1). Strength: s, 0 to 1, the largest share of the other example.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    n = x.shape[0]
    own = 1 - lane.strength * lane.uniform((n, 1))
    other = lane.permutation(n)
    wide = own[:, :, None, None]
    return wide * x + (1 - wide) * x[other], own * y + (1 - own) * y[other]


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "mixup", strengths=(0.1, 0.25, 0.5, 0.75, 1.0), limit=1.0, group="data", batch=batch
        )
    ]

"""Symmetric cross-entropy: the loss is (1 - s) CE + s RCE, with RCE = -sum_c p_c log y_c.

Wang, Ma, Chen, Luo, Yi and Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
ICCV 2019, arXiv:1908.06112. log 0 is read as -4. With hard labels RCE = 4 (1 - p_y). The paper
weighs the two by alpha and beta: its (0.1, 1) is s = 0.91 at 1.1 times the rate, its (6, 0.1) s =
0.016 at 6.1 times. Strength: the share s of the reverse cross-entropy, 0 to 1.
"""

import math

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane

LOG_ZERO = -4.0  # A


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    reverse = -(logits.softmax(dim=1) * y.clamp_min(math.exp(LOG_ZERO)).log()).sum(dim=1)
    return (1 - lane.strength) * losses + lane.strength * reverse


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "sce", strengths=(0.6, 0.9, 0.97, 0.99, 1.0), limit=1.0, group="loss", loss=loss
        )
    ]

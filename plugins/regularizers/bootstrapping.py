"""Bootstrapping: the target is 1 - s of the label and s of the network's own most likely class.

Reed, Lee, Anguelov, Szegedy, Erhan and Rabinovich, "Training Deep Neural Networks on Noisy Labels
with Bootstrapping", ICLR workshop 2015, arXiv:1412.6596, the "hard" variant: the loss is (1 - s) CE
- s log max_c p_c. Strength: the share s = 1 - beta of the network's own answer, 0 to 1; the paper's
is 0.2.
"""

import torch.nn.functional as F
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    own = -F.log_softmax(logits, dim=1).amax(dim=1)
    return (1 - lane.strength) * losses + lane.strength * own


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "bootstrapping",
            strengths=(0.1, 0.3, 0.5, 0.65, 0.8),
            limit=1.0,
            group="loss",
            loss=loss,
        )
    ]

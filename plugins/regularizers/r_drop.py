"""R-Drop: two passes with dropout at rate s; their mean CE, and a penalty where they differ.

Liang et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021, arXiv:2106.14448,
halved to stay on the scale of CE: (CE1 + CE2) / 2 + (alpha / 2) (KL(p1 | p2) + KL(p2 | p1)) / 2, at
their alpha = 0.6 of images (5, of translation, diverges here). Without dropout the passes are
equal; the strength is therefore that of the dropout which makes them differ, elementwise after
every hidden activation. Strength: the rate s, 0 to below 1; compare `dropout`. Two forward-backward
passes a step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.nn import cross_entropy

ALPHA = 0.6


def hidden(h: Tensor, lane: Lane) -> Tensor:
    keep = lane.uniform(h.shape) >= lane.strength
    return h * keep / (1 - lane.strength)


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    second = lane.forward(lane.x, train=True)
    log_p, log_q = F.log_softmax(logits, dim=1), F.log_softmax(second, dim=1)
    apart = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1)  # KL(p | q) + KL(q | p)
    both = (losses + cross_entropy(second, y)) / 2 + ALPHA / 4 * apart
    return torch.where(lane.strength > 0, both, losses)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "r-drop", strengths=(0.1, 0.3, 0.5, 0.65, 0.8), group="loss", hidden=hidden, loss=loss
        )
    ]

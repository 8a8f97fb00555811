"""Early-learning regularization: the loss is CE + s log(1 - <p, t>), t the example's past output.

Liu, Niles-Weed, Razavian and Fernandez-Granda, "Early-Learning Regularization Prevents Memorization
of Noisy Labels", NeurIPS 2020, arXiv:2007.00151: t <- 0.7 t + 0.3 p each time the example is seen,
from 0, and no gradient flows through it. As in the authors' code, t holds the present p already;
<p, t> is held 1e-4 below 1. Strength: the coefficient lambda = s, from 0; theirs is 3 on CIFAR-10.
"""

from typing import Any

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params

DECAY = 0.7  # beta


def ensemble(logits: Tensor, lane: Lane) -> Tensor:
    """Compute the targets [n, c] of the batch's examples, this step's outputs included."""
    return DECAY * lane.state["targets"][lane.index] + (1 - DECAY) * logits.detach().softmax(dim=1)


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    agreement = (logits.softmax(dim=1) * ensemble(logits, lane)).sum(dim=1)
    return losses + lane.strength * torch.log1p(-agreement.clamp_max(1 - 1e-4))


def init(params: Params, lane: Lane) -> dict[str, Any]:
    like = next(iter(params.values()))
    return {"targets": like.new_zeros((lane.num_examples, lane.num_classes))}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    return {"targets": lane.state["targets"].index_copy(0, lane.index, ensemble(lane.logits, lane))}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "elr",
            strengths=(0.3, 1.0, 3.0, 5.0, 8.0),
            group="loss",
            loss=loss,
            init=init,
            update=update,
        )
    ]

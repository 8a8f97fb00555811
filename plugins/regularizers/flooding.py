"""Flooding: the mean loss J of a batch becomes |J - s| + s: below the level s, a step ascends.

Ishida, Yamane, Sakai, Niu and Sugiyama, "Do We Need Zero Training Loss After Achieving Zero
Training Error?", ICML 2020, arXiv:2002.08709. Strength: the level s in nats, 0 to log K (2.30 with
ten classes), the loss of a constant answer: there nothing is learned.
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    # a loss of several parts can be below 0, where a level of 0 must not act
    below = (losses.mean() < lane.strength) & (lane.strength > 0)
    return torch.where(below, 2 * lane.strength - losses, losses)


@hookimpl
def register() -> list[Regularizer]:
    return [Regularizer("flooding", strengths=(0.03, 0.1, 0.3, 1.0, 2.0), group="loss", loss=loss)]

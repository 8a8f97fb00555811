"""Generalized cross-entropy: the loss is (1 - p^s) / s, with p the probability of the label.

Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
Labels", NeurIPS 2018, arXiv:1805.07836. Written as (1 - exp(-s CE)) / s, so that soft labels and
what other parts made of CE pass through. Strength: the exponent q = s, 0 (cross-entropy) to 1 (half
the mean absolute error); the paper's is 0.7.
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    q = lane.strength
    return torch.where(q == 0, losses, -torch.expm1(-q * losses) / (q + (q == 0)))


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("gce", strengths=(0.2, 0.4, 0.6, 0.8, 1.0), limit=1.0, group="loss", loss=loss)
    ]

"""Oracle: corrupted examples have 1 - s of the others' weight in the loss; it needs the truth.

A control of the harness and an upper bound, after the idealised baselines of the label-noise
literature (Han et al., "Co-teaching", NeurIPS 2018, arXiv:1804.06872). The loss is the weighted
mean; a batch without a clean example gives none. Strength: the share s of their weight that
corrupted examples lose, 0 to 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    weight = 1 - lane.strength * (~lane.clean)
    return losses * weight * (weight.numel() / weight.sum().clamp_min(1.0))


@hookimpl
def register() -> list[Regularizer]:
    return [Regularizer("oracle", strengths=(0.5, 0.9, 1.0), limit=1.0, group="control", loss=loss)]

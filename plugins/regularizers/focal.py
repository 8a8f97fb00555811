"""Focal loss: each loss is multiplied by (1 - p)^s, where p is the probability of the label.

Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", ICCV 2017,
arXiv:1708.02002, equation 4, without class weights: a control, which must not hold noise back. It
turns to the examples that are not fitted yet, among which are the wrong labels. A soft label's p is
its mean probability. Strength: the exponent s (gamma), 0 to infinity; theirs is 2.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    miss = 1 - (y * logits.softmax(1)).sum(1)
    return losses * miss.clamp_min(1e-6) ** lane.strength


@hookimpl
def register() -> list[Regularizer]:
    return [Regularizer("focal", strengths=(0.5, 1.0, 2.0, 5.0), group="control", loss=loss)]

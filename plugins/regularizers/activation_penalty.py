"""Activation penalty: adds s times each hidden layer's mean squared activation to the loss.

Merity, McCann and Socher, "Revisiting Activation Regularization for Language RNNs", 2017,
arXiv:1708.01009 (AR); on classifiers of images with random labels too, El Helou, Dumbgen and
Susstrunk, "AL2", ICASSP 2020, arXiv:2003.03633. The mean runs over examples and units, the sum over
layers, after what other parts do to them (their dropout). Strength: the coefficient, in nats per
squared unit of activation, from 0.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def penalty(params: Params, lane: Lane) -> Tensor:
    return lane.strength * sum(h.square().mean() for h in lane.activations)


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.1, 0.5, 1.5, 3.0, 6.0)
    return [Regularizer("activation-penalty", strengths, group="model", penalty=penalty)]

"""Dropout: each hidden unit is zeroed with probability s, the others scaled by 1 / (1 - s).

Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to Prevent
Neural Networks from Overfitting", JMLR 15, 2014. Strength: the rate, 0 to below 1; after every
hidden activation, elementwise.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def hidden(h: Tensor, lane: Lane) -> Tensor:
    keep = lane.uniform(h.shape) >= lane.strength
    return h * keep / (1 - lane.strength)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("dropout", strengths=(0.1, 0.3, 0.5, 0.7, 0.8), group="model", hidden=hidden)
    ]

"""Fully connected, two hidden layers of 4096 ReLU units: the paper's network for 28x28 digits.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3: stochastic gradient descent without momentum at a rate of 0.01 for 1000 epochs, 4096 units a
layer unless said otherwise: 20,037,642 weights. Not said there: the batch, 100 here, and the
initial weights, Glorot and Bengio's (AISTATS 2010) here, as in Keras 1. Images of any size; meant
for a GPU. `mlp` is its small sibling.
"""

import math

from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import MLP


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    network = MLP(math.prod(input_shape), (4096, 4096), num_classes)
    for layer in (*network.hidden, network.head):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


@hookimpl
def register() -> list[Architecture]:
    return [
        Architecture(
            "mlp-4096", build, recipe=Recipe(lr=0.01, momentum=0.0, batch=100, epochs=1000)
        )
    ]

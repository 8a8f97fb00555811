"""Fully connected, two hidden layers of 64 ReLU units: for small images and very many runs.

`mlp` (after Arpit et al., ICML 2017, arXiv:1706.05394) made small enough that a thousand runs on
8x8 digits take minutes, and still wide enough to fit 300 random labels of them.
"""

import math

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import MLP


def build(input_shape: tuple[int, int, int], num_classes: int) -> MLP:
    return MLP(math.prod(input_shape), (64, 64), num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [Architecture("small-mlp", build, recipe=Recipe(lr=0.03, batch=30, epochs=100))]

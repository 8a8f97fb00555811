"""Fully connected, two hidden layers of 64 ReLU units: for a few hundred small images, and for very many runs.

`mlp` (after Arpit et al., ICML 2017, arXiv:1706.05394) made small enough that a thousand runs on 8x8 digits take
minutes, and still wide enough to fit 300 random labels of them.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl


class MLP(nn.Module):
    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 64)
        self.second = nn.Linear(64, 64)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = tap(F.relu(self.first(x.flatten(1))))
        h = tap(F.relu(self.second(h)))
        return self.head(h)


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    c, h, w = input_shape
    return MLP(c * h * w, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [Architecture("small-mlp", build, recipe=Recipe(lr=0.03, batch=30, epochs=100))]

"""Fully connected, two hidden layers of 256 ReLU units.

The small sibling of the two-layer MLP (4096 units) of Arpit et al., "A Closer Look at Memorization
in Deep Networks", ICML 2017, arXiv:1706.05394; wide enough to fit 1000 random labels.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import hookimpl


class MLP(nn.Module):
    def __init__(self, inputs: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = tap(F.relu(self.first(x.flatten(1))))
        h = tap(F.relu(self.second(h)))
        return self.head(h)


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    channels, height, width = input_shape
    return MLP(channels * height * width, 256, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [Architecture("mlp", build)]

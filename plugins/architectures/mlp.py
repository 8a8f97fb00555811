"""Fully connected, two hidden layers of 256 ReLU units.

The small sibling of the two-layer MLP (4096 units) of Arpit et al., "A Closer Look at Memorization in Deep Networks",
ICML 2017, arXiv:1706.05394; wide enough to fit 1000 random labels.
"""

import torch.nn.functional as F
from torch import nn

from membench import Architecture
from membench import hookimpl


class MLP(nn.Module):
    def __init__(self, inputs, hidden, num_classes):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x, tap):
        h = tap(F.relu(self.first(x.flatten(1))))
        h = tap(F.relu(self.second(h)))
        return self.head(h)


def build(input_shape, num_classes):
    c, h, w = input_shape
    return MLP(c * h * w, 256, num_classes)


@hookimpl
def register():
    return [Architecture("mlp", build)]

"""Convolutional: 4x4 patches to 16 channels, 2x2 patches to 64, a linear layer of 128, ReLU.

Non-overlapping patches as in the stem of ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR
2022, arXiv:2201.03545): a reshape and a matmul, so that its step costs no more than the mlp's.
Initialised after He et al., ICCV 2015, arXiv:1502.01852: with torch's default the loss rests on a
plateau for the first ten epochs of random labels.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import PatchConv
from membench.nn import tapped


class CNN(nn.Module):
    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = PatchConv(channels, 16, 4)
        self.body = PatchConv(16, 64, 2)
        self.neck = nn.Linear(64 * (height // 8) * (width // 8), 128)
        self.head = nn.Linear(128, num_classes)
        for layer in (self.stem.linear, self.body.linear, self.neck):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = tapped(tap, F.relu(self.stem(x.permute(0, 2, 3, 1))))
        h = tapped(tap, F.relu(self.body(h)))
        h = tap(F.relu(self.neck(h.flatten(1))))
        return self.head(h)


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return CNN(*input_shape, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [Architecture("cnn", build, recipe=Recipe(lr=0.05))]

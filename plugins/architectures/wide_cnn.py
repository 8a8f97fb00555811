"""Convolutional, as `cnn` and four times as wide, which fits 50,000 random labels.

4x4 patches to 64 channels, 2x2 patches to 256, a linear layer of 512, ReLU. Non-overlapping patches
as in the stem of ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022, arXiv:2201.03545),
initialised after He et al., ICCV 2015, arXiv:1502.01852. Of 50,000 random labels of Fashion-MNIST
`cnn` learns a third and no more. 1,252,170 weights for 28x28 images and 10 classes.
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


class WideCNN(nn.Module):
    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = PatchConv(channels, 64, 4)
        self.body = PatchConv(64, 256, 2)
        self.neck = nn.Linear(256 * (height // 8) * (width // 8), 512)
        self.head = nn.Linear(512, num_classes)
        for layer in (self.stem.linear, self.body.linear, self.neck):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = tapped(tap, F.relu(self.stem(x.permute(0, 2, 3, 1))))
        h = tapped(tap, F.relu(self.body(h)))
        h = tap(F.relu(self.neck(h.flatten(1))))
        return self.head(h)


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return WideCNN(*input_shape, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [
        Architecture(
            "wide-cnn", build, recipe=Recipe(lr=0.05, batch=100, epochs=80, schedule="cosine")
        )
    ]

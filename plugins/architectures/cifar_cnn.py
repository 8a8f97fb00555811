"""The paper's network for CIFAR-10: two 5x5 convolutions, layers of 384 and 192, batch norm.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3: crop of 2 pixels at each side, twice (convolution, batch norm, ReLU, 3x3 max-pooling), then 384
and 192 units, each with batch norm and ReLU, after Zhang et al. (ICLR 2017, arXiv:1611.03530).
1,170,386 weights for 32x32 images in colour and 10 classes, with the defaults of Keras 1 where the
paper says nothing: convolutions without padding, pools that do not overlap, Glorot's initial
weights. Its rate halves every 15 epochs; here it falls to 0 as a cosine. Images below 28x28 are set
in the middle of a frame of that size, so that the two convolutions have room; smaller ones than
32x32 lose less or nothing at the sides. Meant for a GPU.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import BatchNorm
from membench.nn import Conv
from membench.nn import max_pool
from membench.nn import tapped

CROP, LEAST = 2, 28  # pixels off each side; the smallest side that is left


def sides(size: int) -> tuple[int, int]:
    """Return what is put on before and behind a side of `size` pixels; less than 0 = cut off."""
    more = max(size - 2 * CROP, LEAST) - size
    return more // 2, more - more // 2


def left(size: int) -> int:
    """Count the places that a side of `size` pixels has after both convolutions and pools."""
    return ((size + sum(sides(size)) - 4) // 3 - 4) // 3


class CifarCNN(nn.Module):
    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.frame = (*sides(width), *sides(height))
        places = left(height) * left(width)
        self.convs = nn.ModuleList([Conv(channels, 200, 5), Conv(200, 200, 5)])
        self.conv_norms = nn.ModuleList(BatchNorm(200, axis=-1) for _ in self.convs)
        self.dense = nn.ModuleList([nn.Linear(200 * places, 384), nn.Linear(384, 192)])
        self.dense_norms = nn.ModuleList(BatchNorm(units) for units in (384, 192))
        self.head = nn.Linear(192, num_classes)
        for layer in (*(conv.linear for conv in self.convs), *self.dense, self.head):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = F.pad(x, self.frame).permute(0, 2, 3, 1)
        for conv, norm in zip(self.convs, self.conv_norms, strict=True):
            h = max_pool(tapped(tap, F.relu(norm(conv(h)))), 3)
        h = h.flatten(1)
        for layer, norm in zip(self.dense, self.dense_norms, strict=True):
            h = tap(F.relu(norm(layer(h))))
        return self.head(h)


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return CifarCNN(*input_shape, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [
        Architecture(
            "cifar-cnn", build, recipe=Recipe(lr=0.01, batch=100, epochs=100, schedule="cosine")
        )
    ]

"""Layers that stack well: what an architecture plugin uses where torch's own are slow or break under vmap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn


class PatchConv(nn.Module):
    """A convolution with stride = kernel size, as channels-last patches x matmul.

    Stacked over lanes, torch's convolution becomes a grouped one with two layout copies; this stays one batched matmul.
    Rows and columns that fill no whole patch are dropped, as `nn.Conv2d` without padding does. The weight is
    [out, in * size * size] with the input's channel running fastest, initialised as `nn.Linear`.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(inputs * size * size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, h, w, inputs] -> [n, h // size, w // size, outputs]."""
        n, h, w, c = x.shape
        k, rows, columns = self.size, x.shape[1] // self.size, x.shape[2] // self.size
        if (rows * k, columns * k) != (h, w):
            x = x[:, : rows * k, : columns * k]
        patches = x.reshape(n, rows, k, columns, k, c).transpose(2, 3).reshape(n, rows * columns, k * k * c)
        return self.linear(patches).reshape(n, rows, columns, -1)


class MLP(nn.Module):
    """Fully connected: hidden layers of `units` ReLU units each, tapped, and a linear head."""

    def __init__(self, inputs: int, units: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        sizes = (inputs, *units)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor, tap: Callable[[Tensor], Tensor]) -> Tensor:
        """x [n, ...] -> logits [n, num_classes]."""
        h = x.flatten(1)
        for layer in self.hidden:
            h = tap(F.relu(layer(h)))
        return self.head(h)


def tapped(tap: object, h: Tensor) -> Tensor:
    """A channels-last activation [n, h, w, c] through the tap, which sees the [n, c, h, w] view."""
    return tap(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """[n]: -sum_c y log softmax(logits), for soft labels y [n, c]."""
    return -(y * F.log_softmax(logits, dim=1)).sum(dim=1)


def one_hot(y: Tensor, num_classes: int) -> Tensor:
    """[...] int64 -> [..., num_classes] float32; unlike F.one_hot it never looks at the values."""
    return (y[..., None] == torch.arange(num_classes, device=y.device)).to(torch.float32)


@torch.library.custom_op("membench::settle", mutates_args=())
def settle(x: Tensor) -> Tensor:
    """A copy of `x` that the compiler must compute before it goes on.

    Left to itself it writes each use of a value out in full; a mix uses its value twice, three times over, so a chain
    of four keys would become 4096 copies: 18 000 operations and 40 s for dropout. No gradient flows through it.
    """
    return x.clone()


@settle.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@settle.register_vmap
def _(info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
    return settle(x), in_dims[0]

"""The tiny networks of the checks, on [n, 1, 8, 8] inputs with 3 classes: every kind of tap and of weight is in one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench.api import Architecture
from membench.nn import BatchNorm
from membench.nn import Conv
from membench.nn import PatchConv
from membench.nn import tapped

SHAPE = (1, 8, 8)
CLASSES = 3


class TinyMLP(nn.Module):
    """64-6-5-3 with two taps: small enough for exact comparisons, uneven so that a transposed shape shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 6)
        self.second = nn.Linear(6, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tap(F.relu(self.first(x.flatten(1))))
        return self.head(tap(F.relu(self.second(h))))


class TinyCNN(nn.Module):
    """A 4x4 patch convolution, a branch and a linear layer: taps see [n, c, h, w] and [n, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PatchConv(1, 5, 4)
        self.body = nn.Linear(20, 20)
        self.head = nn.Linear(20, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tapped(tap, F.relu(self.stem(x.permute(0, 2, 3, 1)))).flatten(1)
        return self.head(h + tap(F.relu(self.body(h)), "branch"))


class TinyViT(nn.Module):
    """Four patches as tokens, one attention and one feed-forward branch: taps see [n, tokens, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = PatchConv(1, 6, 4)
        self.position = nn.Parameter(torch.randn(4, 6) / 10)
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.mix = nn.Linear(6, 6)
        self.up = nn.Linear(6, 7)
        self.down = nn.Linear(7, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = self.patches(x.permute(0, 2, 3, 1)).flatten(1, 2) + self.position
        q, k, v = self.qkv(self.norm(h)).chunk(3, dim=-1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(6)).softmax(dim=-1)
        h = h + tap(self.mix(weights @ v), "branch")
        h = h + tap(self.down(tap(F.gelu(self.up(h)))), "branch")
        return self.head(h.mean(dim=1))


class TinyNorm(nn.Module):
    """A 3x3 convolution and a linear layer, each with batch norm: running statistics, two layouts of taps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(1, 4, 3, stride=2, pad=1)
        self.stem_norm = BatchNorm(4, axis=-1)
        self.body = nn.Linear(64, 6)
        self.body_norm = BatchNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tapped(tap, F.relu(self.stem_norm(self.stem(x.permute(0, 2, 3, 1)))))
        return self.head(tap(F.relu(self.body_norm(self.body(h.flatten(1))))))


MLP = Architecture("mlp", lambda shape, classes: TinyMLP())
CNN = Architecture("cnn", lambda shape, classes: TinyCNN())
VIT = Architecture("vit", lambda shape, classes: TinyViT())
NORM = Architecture("norm", lambda shape, classes: TinyNorm())

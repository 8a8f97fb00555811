"""Vision transformer, small: 4x4 patches as tokens of 64 features, four blocks of attention.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929: layer norm before
each of the two branches of a block, learned positions; the mean over tokens in place of a class
token, as in Beyer, Zhai and Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022,
arXiv:2205.01580. Four heads, 128 GELU units in the feed-forward layer: 141,898 weights for 32x32
images in colour and 10 classes, for which it is meant. Images of any size from 4x4; pixels at the
end that fill no patch are dropped.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import PatchConv
from membench.nn import SelfAttention

PATCH, FEATURES, HEADS, UNITS, DEPTH = 4, 64, 4, 128, 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(FEATURES), SelfAttention(FEATURES, HEADS)
        self.between = nn.LayerNorm(FEATURES)
        self.up, self.down = nn.Linear(FEATURES, UNITS), nn.Linear(UNITS, FEATURES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Transform x [n, tokens, features] to the same shape."""
        x = x + tap(self.attention(self.before(x)), "branch")
        h = tap(F.gelu(self.up(self.between(x))))
        return x + tap(self.down(h), "branch")


class ViT(nn.Module):
    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.patches = PatchConv(channels, FEATURES, PATCH)
        self.positions = nn.Parameter(
            0.02 * torch.randn((height // PATCH) * (width // PATCH), FEATURES)
        )
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, num_classes)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = self.patches(x.permute(0, 2, 3, 1)).flatten(1, 2) + self.positions
        for block in self.blocks:
            h = block(h, tap)
        return self.head(self.norm(h).mean(dim=1))


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return ViT(*input_shape, num_classes)


@hookimpl
def register() -> list[Architecture]:
    return [
        Architecture(
            "vit", build, recipe=Recipe("adamw", lr=0.001, batch=100, epochs=100, schedule="cosine")
        )
    ]

"""MLP-Mixer, small: 4x4 patches as tokens of 64 features, mixed over tokens, then features.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, arXiv:2105.01601:
four blocks of two branches block, each layer norm, linear, GELU, linear; 32 hidden units where
tokens are mixed and 256 where features are, half and four times the features as there; layer norm
and the mean over tokens before the linear head. 154,058 weights for 32x32 images in colour and 10
classes, for which it is meant. Images of any size from 4x4; pixels at the end that fill no patch
are dropped.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl
from membench.nn import PatchConv

PATCH, FEATURES, DEPTH = 4, 64, 4
TOKEN_UNITS, FEATURE_UNITS = FEATURES // 2, 4 * FEATURES


class Block(nn.Module):
    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(FEATURES) for _ in range(2))
        self.up = nn.ModuleList(
            [nn.Linear(tokens, TOKEN_UNITS), nn.Linear(FEATURES, FEATURE_UNITS)]
        )
        self.down = nn.ModuleList(
            [nn.Linear(TOKEN_UNITS, tokens), nn.Linear(FEATURE_UNITS, FEATURES)]
        )

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Transform x [n, tokens, features] to the same shape."""
        h = F.gelu(
            self.up[0](self.norms[0](x).mT)
        )  # [n, features, units]: the units stand where tokens do
        x = x + tap(self.down[0](tap(h.mT).mT).mT, "branch")
        h = tap(F.gelu(self.up[1](self.norms[1](x))))
        return x + tap(self.down[1](h), "branch")


class Mixer(nn.Module):
    def __init__(self, channels: int, height: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.patches = PatchConv(channels, FEATURES, PATCH)
        tokens = (height // PATCH) * (width // PATCH)
        self.blocks = nn.ModuleList(Block(tokens) for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, num_classes)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        h = self.patches(x.permute(0, 2, 3, 1)).flatten(1, 2)
        for block in self.blocks:
            h = block(h, tap)
        return self.head(self.norm(h).mean(dim=1))


def build(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return Mixer(*input_shape, num_classes)


@hookimpl
def register() -> list[Architecture]:
    recipe = Recipe("adamw", lr=0.001, batch=100, epochs=100, schedule="cosine")
    return [Architecture("mlp-mixer", build, recipe=recipe)]

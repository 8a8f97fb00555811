"""Layers that stack well: what an architecture plugin uses where torch's own are slow or break under vmap."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

MOMENTUM = 0.1  #: the share of a batch in the running statistics, torch's default


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
        patches = (
            x.reshape(n, rows, k, columns, k, c)
            .transpose(2, 3)
            .reshape(n, rows * columns, k * k * c)
        )
        return self.linear(patches).reshape(n, rows, columns, -1)


class Conv(nn.Module):
    """A `size` x `size` convolution as channels-last patches x matmul: each pixel's neighbourhood is one row.

    Stacked over lanes, torch's convolution becomes a grouped one with two layout copies; this stays one batched matmul.
    The weight is [out, size * size * in] with the input's channel running fastest, initialised as `nn.Linear`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        pad: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.stride, self.pad = size, stride, pad
        self.linear = nn.Linear(inputs * size * size, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, h, w, inputs] -> [n, (h + 2 pad - size) // stride + 1, the same of w, outputs]."""
        if self.pad:
            x = F.pad(x, (0, 0, *(self.pad,) * 4))
        k, s = self.size, self.stride
        rows, columns = ((x.shape[axis] - k) // s + 1 for axis in (1, 2))
        ends = (s * (rows - 1) + 1, s * (columns - 1) + 1)
        shifts = [
            x[:, i : i + ends[0] : s, j : j + ends[1] : s] for i in range(k) for j in range(k)
        ]
        return self.linear(torch.cat(shifts, dim=-1))


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but `axis`. Ioffe and Szegedy, ICML 2015, arXiv:1502.03167.

    In training mode by the batch's mean and biased variance, in eval mode by the running ones, which torch's rule moves
    on (momentum .1, unbiased variance). The buffers are assigned, never written in place: `functional_call` hands the
    new ones back, and the engine keeps those of each step's main forward, one set a lane.
    """

    def __init__(self, features: int, axis: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.axis, self.eps = axis, eps
        self.weight, self.bias = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
        )
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """x with `features` along `axis` (-1 for channels-last) -> the same shape."""
        axis = self.axis % x.dim()
        others = [d for d in range(x.dim()) if d != axis]
        lie = lambda v: v.reshape([-1 if d == axis else 1 for d in range(x.dim())])  # noqa: E731
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            return x * lie(scale) + lie(self.bias - self.running_mean * scale)
        mean, count = x.mean(others), x.numel() // x.shape[axis]
        centred = x - lie(mean)
        var = centred.square().mean(others)
        unbiased = var.detach() * (count / max(count - 1, 1))
        self.running_mean = (1 - MOMENTUM) * self.running_mean + MOMENTUM * mean.detach()
        self.running_var = (1 - MOMENTUM) * self.running_var + MOMENTUM * unbiased
        return centred * lie(self.weight * torch.rsqrt(var + self.eps)) + lie(self.bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention as matmul and softmax: torch's own has no vmap rule. Vaswani et al., NeurIPS 2017,
    arXiv:1706.03762."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, tokens, features] -> the same shape."""
        n, tokens, features = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, features))


def max_pool(x: Tensor, size: int) -> Tensor:
    """x [n, h, w, c], stride = size -> [n, h // size, w // size, c]; what fills no window is dropped."""
    rows, columns = x.shape[1] // size, x.shape[2] // size
    x = x[:, : rows * size, : columns * size]
    return x.reshape(x.shape[0], rows, size, columns, size, -1).amax(dim=(2, 4))


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


def tapped(tap: Callable[..., Tensor], h: Tensor, kind: str = "hidden") -> Tensor:
    """A channels-last activation [n, h, w, c] through the tap, which sees the [n, c, h, w] view."""
    return tap(h.permute(0, 3, 1, 2), kind).permute(0, 2, 3, 1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """[n]: -sum_c y log softmax(logits), for soft labels y [n, c]."""
    return -(y * F.log_softmax(logits, dim=1)).sum(dim=1)


def one_hot(y: Tensor, num_classes: int) -> Tensor:
    """[...] int64 -> [..., num_classes] float32; unlike F.one_hot it never looks at the values."""
    return (y[..., None] == torch.arange(num_classes, device=y.device)).to(torch.float32)


@torch.library.custom_op("membench::settle", mutates_args=())
def materialize(x: Tensor) -> Tensor:
    """A copy of `x` that the compiler must compute before it goes on.

    Left to itself it writes each use of a value out in full; a mix uses its value twice, three times over, so a chain
    of four keys would become 4096 copies: 18 000 operations and 40 s for dropout. No gradient flows through it.
    """
    return x.clone()


@materialize.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@materialize.register_vmap
def _(info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
    return materialize(x), in_dims[0]


settle = materialize  #: the name that a plugin imports

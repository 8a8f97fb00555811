"""Building blocks of plugins, for use where torch's own are slow or break under vmap.

Layers for architectures, and what several regularizers compute alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

MOMENTUM = 0.1  #: share of a batch's statistics in the running ones, torch's default


class PatchConv(nn.Module):
    """A convolution with stride = kernel size, as channels-last patches x matmul.

    Stacked over lanes, torch's convolution becomes a grouped one with two layout copies; this stays
    one batched matmul. Rows and columns that fill no whole patch are dropped, as `nn.Conv2d`
    without padding does. The weight is [out, in * size * size] with the input's channel running
    fastest, initialised as `nn.Linear`.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(inputs * size * size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [n, h, w, inputs] to [n, h // size, w // size, outputs]."""
        n, h, w, c = x.shape
        k = self.size
        rows, columns = h // k, w // k
        if (rows * k, columns * k) != (h, w):
            x = x[:, : rows * k, : columns * k]
        patches = x.reshape(n, rows, k, columns, k, c).transpose(2, 3)
        flat = patches.reshape(n, rows * columns, k * k * c)
        return self.linear(flat).reshape(n, rows, columns, -1)


class Conv(nn.Module):
    """A `size` x `size` convolution as channels-last patches x matmul.

    Each pixel's neighbourhood is one row of the product. Stacked over lanes, torch's convolution
    becomes a grouped one with two layout copies; this stays one batched matmul. The weight is
    [out, size * size * in] with the input's channel running fastest, initialised as `nn.Linear`.
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
        """Convolve x [n, h, w, inputs] to [n, h', w', outputs].

        Returns:
            h' = (h + 2 pad - size) // stride + 1, w' likewise.
        """
        size, stride, pad = self.size, self.stride, self.pad
        if pad:
            x = F.pad(x, (0, 0, pad, pad, pad, pad))
        rows = (x.shape[1] - size) // stride + 1
        columns = (x.shape[2] - size) // stride + 1
        height = stride * (rows - 1) + 1  # of what one offset of the kernel sees
        width = stride * (columns - 1) + 1
        shifted = []
        for i in range(size):
            for j in range(size):
                shifted.append(x[:, i : i + height : stride, j : j + width : stride])
        return self.linear(torch.cat(shifted, dim=-1))


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but `axis`.

    In training mode by the batch's mean and biased variance, in eval mode by the running ones,
    which torch's rule updates (momentum .1, unbiased variance). The buffers are assigned, never
    written in place: `functional_call` hands the new ones back, and the engine keeps those of each
    step's main forward, one set a lane. Ioffe and Szegedy, ICML 2015, arXiv:1502.03167.
    """

    running_mean: Tensor  #: [features]
    running_var: Tensor  #: [features]

    def __init__(
        self, features: int, axis: int = 1, eps: float = 1e-5, momentum: float = MOMENTUM
    ) -> None:
        super().__init__()
        self.axis, self.eps, self.momentum = axis, eps, momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, which has `features` along `axis` (-1: channels-last); keeps the shape."""
        axis = self.axis % x.dim()
        others = [d for d in range(x.dim()) if d != axis]
        along_axis = [1] * x.dim()
        along_axis[axis] = -1
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            scaled = x * scale.reshape(along_axis)
            return scaled + (self.bias - self.running_mean * scale).reshape(along_axis)
        mean, count = x.mean(others), x.numel() // x.shape[axis]
        centred = x - mean.reshape(along_axis)
        var = centred.square().mean(others)
        unbiased = var.detach() * (count / max(count - 1, 1))
        old, new = 1 - self.momentum, self.momentum
        self.running_mean = old * self.running_mean + new * mean.detach()
        self.running_var = old * self.running_var + new * unbiased
        scale = self.weight * torch.rsqrt(var + self.eps)
        return centred * scale.reshape(along_axis) + self.bias.reshape(along_axis)


class SelfAttention(nn.Module):
    """Multi-head self-attention as matmul and softmax, because torch's own has no vmap rule.

    Vaswani et al., NeurIPS 2017, arXiv:1706.03762.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens of x [n, tokens, features]; keeps the shape."""
        n, tokens, features = x.shape
        by_head = self.qkv(x).reshape(n, tokens, 3, self.heads, -1)
        q, k, v = by_head.permute(2, 0, 3, 1, 4).unbind()  # [n, heads, tokens, features / heads]
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, features))


class MLP(nn.Module):
    """A fully connected network: hidden layers of `units` ReLU units, tapped, and a linear head."""

    def __init__(self, inputs: int, units: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        sizes = (inputs, *units)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor, tap: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the logits [n, num_classes] of x [n, ...]."""
        h = x.flatten(1)
        for layer in self.hidden:
            h = tap(F.relu(layer(h)))
        return self.head(h)


def max_pool(x: Tensor, size: int) -> Tensor:
    """Take the maximum of each `size` x `size` window, stride = size.

    Args:
        x: [n, h, w, c].
        size: of the window; rows and columns that fill no whole window are dropped.

    Returns:
        [n, h // size, w // size, c].
    """
    rows, columns = x.shape[1] // size, x.shape[2] // size
    x = x[:, : rows * size, : columns * size]
    return x.reshape(x.shape[0], rows, size, columns, size, -1).amax(dim=(2, 4))


def tapped(tap: Callable[..., Tensor], h: Tensor, kind: str = "hidden") -> Tensor:
    """Pass a channels-last activation through a tap, which sees the [n, c, h, w] view.

    Args:
        tap: as `forward` received it.
        h: [n, h, w, c].
        kind: "hidden" or "branch".

    Returns:
        [n, h, w, c].
    """
    return tap(h.permute(0, 3, 1, 2), kind).permute(0, 2, 3, 1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Compute -sum_c y log softmax(logits) for soft labels y [n, c]: [n]."""
    return -(y * F.log_softmax(logits, dim=1)).sum(dim=1)


def global_norm(params: Mapping[str, Tensor]) -> Tensor:
    """Compute the Euclidean norm of weights or of a gradient, all tensors as one vector: 0-d."""
    squares = [values.square().sum() for values in params.values()]
    return sum(squares[1:], start=squares[0]).sqrt()


def one_hot(y: Tensor, num_classes: int) -> Tensor:
    """Encode y [...] int64 as [..., num_classes] float32.

    Unlike `F.one_hot` this never looks at the values, which vmap and a compiled step forbid.
    """
    return (y[..., None] == torch.arange(num_classes, device=y.device)).to(torch.float32)


@torch.library.custom_op("membench::settle", mutates_args=())
def _settle(x: Tensor) -> Tensor:
    return x.clone()


@_settle.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@_settle.register_vmap
def _(info: Any, in_dims: tuple[int | None], x: Tensor) -> tuple[Tensor, int | None]:
    return _settle(x), in_dims[0]


def materialize(x: Tensor) -> Tensor:
    """Copy `x`; the compiler must compute it before it goes on, and no gradient flows through it.

    Left to itself the compiler writes each use of a value out in full. The integer hash `mix` uses
    its value twice, three times in a row, so a chain of four keys would become 4096 copies: 18 000
    operations and 40 s for dropout.
    """
    # Whoever traces or counts has a mode, but for Dynamo, which cannot trace that question. Else no
    # compiler asks, and a call of an operation that is defined in Python costs 0.2 ms.
    is_eager = not torch.compiler.is_dynamo_compiling()
    if is_eager and torch._C._len_torch_dispatch_stack() == 0:
        return x.detach().clone()
    return _settle(x)


settle = materialize  #: the name that a plugin imports

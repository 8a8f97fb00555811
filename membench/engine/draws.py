"""The torch side of the random numbers: the same hash as `membench.rng`, on 0-d keys inside vmap and torch.compile."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from membench.nn import materialize
from membench.rng import M1
from membench.rng import M2
from membench.rng import mix

SCALE = 1.0 / (1 << 24)


def to_int32(value: int) -> int:
    """A 32-bit integer as int32 holds it."""
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def mix_tensor(x: Tensor) -> Tensor:
    """`rng.mix` on int32; the shifts are masked because int32 shifts keep the sign."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * to_int32(M1)
    x = (x ^ ((x >> 15) & 0x1FFFF)) * to_int32(M2)
    return x ^ ((x >> 16) & 0xFFFF)


def chain_tensor(key: Tensor, value: int | Tensor) -> Tensor:
    """`rng.chain` of key [1] by one value: an int known while tracing, or an int32 tensor [1].

    Keys have one dimension: on a 0-d tensor under vmap the compiler rounds integer constants to float32 (torch 2.15).
    """
    return materialize(
        mix_tensor((mix_tensor(value) if isinstance(value, Tensor) else to_int32(mix(value))) + key)
    )


def bits(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """[*shape] int32, h(key, element). With `rows` [k], the rows of the draw that the whole batch would get."""
    if rows is None:
        # the elements' own hash is the same for all lanes: once a step, not once a lane
        element = materialize(
            mix_tensor(torch.arange(math.prod(shape), dtype=torch.int32, device=key.device))
        )
    else:
        width = math.prod(shape[1:])
        element = rows.to(torch.int32)[:, None] * width + torch.arange(
            width, dtype=torch.int32, device=key.device
        )
        element = mix_tensor(element).flatten()
    return mix_tensor(element + key).reshape(shape)


def uniform(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """[*shape] float32 on [0, 1), 24 bits."""
    return ((bits(key, shape, rows) >> 8) & 0xFFFFFF).to(torch.float32) * SCALE


def normal(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """[*shape] float32, standard Gaussian by Box and Muller (1958) from two streams; |z| < 5.9."""
    radius = torch.sqrt(-2 * torch.log(uniform(chain_tensor(key, 1), shape, rows) + SCALE / 2))
    return radius * torch.cos(2 * math.pi * uniform(chain_tensor(key, 2), shape, rows))

"""Counter-based random numbers on tensors: `membench.rng` inside vmap and torch.compile.

Every number is a hash of a key and of its position in the draw, so a lane's numbers do not depend
on the other lanes, and the same numbers come on a CPU and on a GPU. Keys are [1] int32.
"""

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
    """Return the 32 low bits of an integer as int32 holds them."""
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


def mix_tensor(x: Tensor) -> Tensor:
    """Mix the bits of int32 numbers as `rng.mix` does; shifts keep the sign, so they are masked."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * to_int32(M1)
    x = (x ^ ((x >> 15) & 0x1FFFF)) * to_int32(M2)
    return x ^ ((x >> 16) & 0xFFFF)


def chain_tensor(key: Tensor, value: int | Tensor) -> Tensor:
    """Chain a key [1] with one value, as `rng.chain` does.

    Keys have one dimension: on a 0-d tensor under vmap the compiler rounds integer constants to
    float32 (torch 2.15).

    Args:
        key: [1] int32.
        value: an int known while tracing, or [1] int32.
    """
    mixed = mix_tensor(value) if isinstance(value, Tensor) else to_int32(mix(value))
    return materialize(mix_tensor(mixed + key))


def bits(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """Draw 32 random bits for each element: h(key, element), [*shape] int32.

    Args:
        key: [1] int32.
        shape: of the result.
        rows: [k] int64, to get only these rows of the draw that the whole batch would get.
    """
    if rows is None:
        elements = torch.arange(math.prod(shape), dtype=torch.int32, device=key.device)
        # their hash is the same for all lanes: computed once a step, not once a lane
        hashed = materialize(mix_tensor(elements))
    else:
        width = math.prod(shape[1:])
        columns = torch.arange(width, dtype=torch.int32, device=key.device)
        elements = rows.to(torch.int32)[:, None] * width + columns
        hashed = mix_tensor(elements).flatten()
    return mix_tensor(hashed + key).reshape(shape)


def uniform(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """Draw from [0, 1), 24 bits: [*shape] float32; arguments as of `bits`."""
    return ((bits(key, shape, rows) >> 8) & 0xFFFFFF).to(torch.float32) * SCALE


def normal(key: Tensor, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
    """Draw from the standard Gaussian, |z| < 5.9: [*shape] float32; arguments as of `bits`.

    The method is that of Box and Muller (1958), on two streams.
    """
    radius = torch.sqrt(-2 * torch.log(uniform(chain_tensor(key, 1), shape, rows) + SCALE / 2))
    return radius * torch.cos(2 * math.pi * uniform(chain_tensor(key, 2), shape, rows))


def permutation(key: Tensor, n: int) -> Tensor:
    """Draw a permutation of range(n), [n] int64.

    It sorts 31 hashed bits; ties, n^2 / 2^32 of them, go by position.
    """
    return torch.argsort(bits(key, (n,)) & 0x7FFFFFFF, stable=True)

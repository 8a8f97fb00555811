"""Counter-based random numbers: hashes of integers, the same bits on every machine, device, numpy and torch version.

`u = h(h(h(h(seed, step), part), site), element)`, chained, never added: a sum of two counters would make one stream a
shifted copy of another. This is the numpy side (keys, splits, orders, signals); `engine.draws` is the torch side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
#: Multipliers of the 32-bit integer hash "lowbias32" (C. Wellons, "Prospecting for Hash Functions", 2018).
M1, M2 = 0x7FEB352D, 0x846CA68B
QUANTILES = 1 << 16  #: size of the Gaussian table


def mix(x: int) -> int:
    """A bijection of 32-bit integers that looks random."""
    x &= MASK
    x = ((x ^ (x >> 16)) * M1) & MASK
    x = ((x ^ (x >> 15)) * M2) & MASK
    return x ^ (x >> 16)


def chain(key: int, *values: int) -> int:
    """h(...h(h(key, v1), v2)..., vn) with h(k, v) = mix(mix(v) + k)."""
    for value in values:
        key = mix(mix(value) + key)
    return key


def word(*parts: object) -> int:
    """32 bits of the SHA-256 of the parts' text, as a key: `word("mnist5k", "mlp", 0)`."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:4], "big")


def hashes(key: int, n: int) -> NDArray[np.uint32]:
    """[n] uint32: h(key, i) for i in range(n), as `chain` gives it."""
    with np.errstate(over="ignore"):
        x = _mix(_mix(np.arange(n, dtype=np.uint32)) + np.uint32(key))
    return x


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(M1)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(M2)
    return x ^ (x >> np.uint32(16))


@cache
def gaussian_table() -> NDArray[np.float32]:
    """[65536] float32, the standard normal's quantiles at (i + 1/2) / 65536, rounded to 1e-6: |z| < 4.4, symmetric."""
    upper = [
        round(NormalDist().inv_cdf((i + 0.5) / QUANTILES), 6)
        for i in range(QUANTILES // 2, QUANTILES)
    ]
    return np.array([-z for z in reversed(upper)] + upper, dtype=np.float32)


@dataclass(frozen=True)
class Draws:
    """The `Draw` that signals get; each name is a stream of its own."""

    key: int
    num_classes: int = 0
    world: Draws | None = None  #: for signals: the same in training, validation and test

    def uniform(self, name: str, n: int) -> NDArray[np.float64]:
        """[n] float64 on [0, 1), 32 bits each."""
        return hashes(chain(self.key, word(name)), n) / float(1 << 32)

    def normal(self, name: str, n: int) -> NDArray[np.float32]:
        """[n] float32, standard Gaussian from a table of 65536 quantiles."""
        return gaussian_table()[hashes(chain(self.key, word(name)), n) >> np.uint32(16)]

    def permutation(self, name: str, n: int) -> NDArray[np.int64]:
        """[n] int64, a uniform permutation of range(n)."""
        return np.argsort(hashes(chain(self.key, word(name)), n), kind="stable").astype(np.int64)


def fold(values: Sequence[int]) -> int:
    """One 32-bit integer for a sequence of integers: the site of a draw."""
    return chain(0x9E3779B9, *values)


def spell(text: str) -> int:
    """A 32-bit integer for a name, from its characters alone: torch.compile can trace it, unlike a SHA-256."""
    return fold([ord(c) for c in text])

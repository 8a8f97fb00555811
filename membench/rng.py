"""Counter-based random numbers: hashes of integers, the same bits on every machine and device.

They depend on no version of numpy or torch either. A number is
`u = h(h(h(h(seed, step), part), site), element)`: chained, never added, because a sum of two
counters would make one stream a shifted copy of another. This is the numpy side (keys, splits,
orders, signals); `membench.engine.draws` is the torch side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
#: Multipliers of the 32-bit integer hash "lowbias32" (C. Wellons, "Prospecting for Hash Functions",
#: 2018).
M1, M2 = 0x7FEB352D, 0x846CA68B
QUANTILES = 1 << 16  #: size of the Gaussian table


@dataclass(frozen=True)
class Draws:
    """A source of random numbers, the `membench.api.Draw` of signals; each name is one stream."""

    key: int
    num_classes: int = 0
    #: for signals: the draws that training, validation and test have in common
    shared: Draws | None = None
    #: for signals: [n] int64, the rows of the data set that the split's examples are
    rows: NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, dtype=np.int64), repr=False, compare=False
    )
    #: for signals: where the files of this one are
    folder: Path = field(default=Path(), repr=False, compare=False)

    @property
    def world(self) -> Draws:
        """The draws that training, validation and test share; these draws, if no others are."""
        return self if self.shared is None else self.shared

    def uniform(self, name: str, n: int) -> NDArray[np.float64]:
        """Draw uniformly from [0, 1), 32 bits each: [n] float64."""
        return hashes(chain(self.key, word(name)), n) / float(1 << 32)

    def normal(self, name: str, n: int) -> NDArray[np.float32]:
        """Draw from the standard Gaussian, by a table of 65536 quantiles: [n] float32."""
        return gaussian_table()[hashes(chain(self.key, word(name)), n) >> np.uint32(16)]

    def permutation(self, name: str, n: int) -> NDArray[np.int64]:
        """Draw a uniform permutation of range(n): [n] int64."""
        return np.argsort(hashes(chain(self.key, word(name)), n), kind="stable").astype(np.int64)


def word(*parts: object) -> int:
    """Hash the parts' text to a 32-bit key, as in `word("mnist5k", "mlp", 0)`; by SHA-256."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def chain(key: int, *values: int) -> int:
    """Compute h(...h(h(key, v1), v2)..., vn) with h(k, v) = mix(mix(v) + k), 32 bits."""
    for value in values:
        key = mix(mix(value) + key)
    return key


def mix(x: int) -> int:
    """Map a 32-bit integer to another; the map is a bijection that looks random."""
    x &= MASK
    x = ((x ^ (x >> 16)) * M1) & MASK
    x = ((x ^ (x >> 15)) * M2) & MASK
    return x ^ (x >> 16)


def hashes(key: int, n: int) -> NDArray[np.uint32]:
    """Compute h(key, i) for i in range(n), as `chain` gives it: [n] uint32."""
    with np.errstate(over="ignore"):
        return _mix_array(_mix_array(np.arange(n, dtype=np.uint32)) + np.uint32(key))


def _mix_array(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(M1)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(M2)
    return x ^ (x >> np.uint32(16))


@cache
def gaussian_table() -> NDArray[np.float32]:
    """Tabulate the standard normal's quantiles at (i + 1/2) / 65536, rounded to 1e-6.

    Returns:
        [65536] float32, |z| < 4.4, symmetric.
    """
    upper = []
    for i in range(QUANTILES // 2, QUANTILES):
        upper.append(round(NormalDist().inv_cdf((i + 0.5) / QUANTILES), 6))
    lower = [-z for z in reversed(upper)]
    return np.array(lower + upper, dtype=np.float32)


def fold(values: Sequence[int]) -> int:
    """Hash a sequence of integers to one of 32 bits: the site of a draw."""
    return chain(0x9E3779B9, *values)


def spell(text: str) -> int:
    """Hash a name to a 32-bit integer, from its characters alone.

    torch.compile can trace this, unlike a SHA-256.
    """
    return fold([ord(c) for c in text])

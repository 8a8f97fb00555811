"""The matrix products of a step: which operations they are, and how many of which shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
#: operation -> the position of its first factor; the second follows it
PRODUCTS: dict[Any, int] = {
    aten.mm.default: 0,
    aten.bmm.default: 0,
    aten.addmm.default: 1,
    aten.baddbmm.default: 1,
}
MIN_MULTIPLICATIONS = 1 << 15  #: below so many multiplications the casts cost more than the product


@dataclass(frozen=True, kw_only=True)
class Product:
    """A batch of matrix products, [batch, m, k] times [batch, k, n]."""

    batch: int
    m: int
    k: int
    n: int
    transposed: tuple[bool, bool] = (False, False)  #: whether a factor lies in memory transposed

    @property
    def flops(self) -> int:
        """The floating-point operations: two for each multiplication."""
        return 2 * self.batch * self.m * self.k * self.n

    @property
    def is_large(self) -> bool:
        """True if it is multiplied in bfloat16 where any product is."""
        return self.m * self.k * self.n >= MIN_MULTIPLICATIONS


class ProductCounter(TorchDispatchMode):
    """A context that counts the matrix products inside it, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = PRODUCTS.get(func)
        if first is not None:
            self.counts[_product(args[first], args[first + 1])] += 1
        return func(*args, **(kwargs or {}))


def _product(a: Tensor, b: Tensor) -> Product:
    """Describe the product of two factors, matrices or batches of matrices."""
    return Product(
        batch=a.shape[0] if a.dim() == 3 else 1,
        m=a.shape[-2],
        k=a.shape[-1],
        n=b.shape[-1],
        transposed=(_is_transposed(a), _is_transposed(b)),
    )


def _is_transposed(factor: Tensor) -> bool:
    return factor.stride(-1) > 1 and factor.stride(-2) == 1

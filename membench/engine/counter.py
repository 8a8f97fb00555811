"""Count what operations ask for, while they run on the meta device."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class StepCounter(TorchDispatchMode):
    """A context that counts the operations inside it.

    It stands in for torch's FlopCounterMode, which hooks modules; that breaks `torch.func.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0  #: of matrix products and convolutions
        #: bytes that these read and wrote, which no fusion can spare
        self.product_bytes = 0
        self.kernels = 0  #: operations that are not views: so many kernels, if none are fused
        #: what they wrote: the memory taken if nothing were fused and nothing given back
        self.bytes = 0
        #: what of it was alive at once, at most: the memory taken if nothing were fused
        self.peak_bytes = 0
        self._alive: dict[int, int] = {}  #: a storage that was made inside -> its bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            self.kernels += 1
            self.bytes += tree_bytes(out)
            self._hold(out, (args, kwargs))
        count_flops = flop_registry.get(func._overloadpacket)
        if count_flops is not None:
            self.flops += count_flops(*args, **kwargs, out_val=out)
            self.product_bytes += tree_bytes((args, kwargs, out))
        return out

    def _hold(self, out: Any, arguments: Any) -> None:
        """Count the memory of an operation's results, until it is given back."""
        written_over = {storage._cdata for storage in _storages(arguments)}
        for storage in _storages(out):
            name = storage._cdata
            if name not in written_over and name not in self._alive:
                self._alive[name] = storage.nbytes()
                weakref.finalize(storage, self._alive.pop, name).atexit = False
        self.peak_bytes = max(self.peak_bytes, sum(self._alive.values()))


def tree_bytes(tree: Any) -> int:
    """Return the bytes of all tensors in a tree."""
    total = 0
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            total += leaf.numel() * leaf.element_size()
    return total


def _storages(tree: Any) -> list[Any]:
    """Return the memory of all tensors in a tree."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]

"""Count what operations ask for, while they run on the meta device."""

from __future__ import annotations

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
        self.kernels = 0  #: operations that are not views: so many kernels, if none are fused
        #: what they wrote: the memory taken if nothing were fused and nothing given back
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            self.kernels += 1
            self.bytes += tree_bytes(out)
        count_flops = flop_registry.get(func._overloadpacket)
        if count_flops is not None:
            self.flops += count_flops(*args, **kwargs, out_val=out)
        return out


def tree_bytes(tree: Any) -> int:
    """Return the bytes of all tensors in a tree."""
    total = 0
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            total += leaf.numel() * leaf.element_size()
    return total

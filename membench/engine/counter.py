"""What a step asks for, counted while it runs on the meta device."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class StepCounter(TorchDispatchMode):
    """Sums the matrix FLOPs of all that runs inside. torch's FlopCounterMode hooks modules, which breaks func.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.kernels = 0  #: operations that are no mere view: as many kernels, if none are fused
        self.bytes = (
            0  #: what they wrote: the memory taken if nothing were fused and nothing given back
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.kernels += 1
            self.bytes += tree_bytes(out)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def tree_bytes(tree: Any) -> int:
    """Bytes of all tensors in it."""
    return sum(v.numel() * v.element_size() for v in tree_leaves(tree) if isinstance(v, Tensor))

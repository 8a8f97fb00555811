"""What would go wrong on a GPU, seen on any device while a step runs: waits for the host, tensors elsewhere.

The checks of strangers' plugins use these, and membench's own tests of its engine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Operations whose result, or its shape, the host must know before it can go on.
WAITS = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "_linalg_check_errors"),
    *("nonzero", "masked_select", "bincount"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
)
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
COPIES = ("_to_copy", "copy", "copy_", "_copy_from")
MASKS = (torch.bool, torch.uint8)


class Refused(AssertionError):
    """A guard has seen what it is there to see."""


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in an operation's arguments or results."""
    return [v for v in tree_leaves(tree) if isinstance(v, Tensor)]


def refuse_waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """
    Raises:
        Refused: on a GPU the operation makes the host wait.
    """
    name = func._overloadpacket.__name__
    counted = name == "repeat_interleave" and kwargs.get("output_size") is None
    if name in WAITS or counted:
        raise Refused(f"{func} waits for the device")
    if name in INDEXED and any(i is not None and i.dtype in MASKS for i in args[1]):
        raise Refused(f"{func} by a mask waits for the device; use torch.where")
    if name == "lift_fresh":
        raise Refused("a tensor of Python values is copied from the host; use new_full or full_like")


class SyncGuard(TorchDispatchMode):
    """Refuses, on any device, what makes the host wait on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        refuse_waits(func, args, kwargs)
        out = func(*args, **kwargs)
        kinds = {v.device.type for v in tensors((args, out))}
        if func._overloadpacket.__name__ in COPIES and len(kinds) > 1:
            raise Refused(f"{func} copies between {' and '.join(sorted(kinds))}")
        return out


class PlacementGuard(TorchDispatchMode):
    """Refuses every tensor that is not on the one device: what `torch.arange(n)` gives where it says no device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.numbers: list[Tensor] = []  #: what functorch makes of a Python number: a kernel's argument, never a copy

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is torch.ops.aten._to_copy.default and isinstance(args[0], (int, float)):
            self.numbers.append(out)
        seen = [v for v in tensors((args, kwargs, out)) if all(v is not number for number in self.numbers)]
        elsewhere = {v.device.type for v in seen} - {self.device}
        if elsewhere:
            raise Refused(f"{func} has a tensor on {elsewhere.pop()}, not on {self.device}; name the device")
        return out

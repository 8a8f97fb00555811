"""What a step asks for, counted while it runs on the meta device."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class StepCounter(TorchDispatchMode):
    """Sums the matrix FLOPs of all that runs inside. torch's FlopCounterMode hooks modules, which breaks func.grad."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.kernels = 0  #: operations that are no mere view: as many kernels, if none are fused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kernels += not func.is_view
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out

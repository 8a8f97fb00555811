"""Architectures as the engine needs them: built per seed, and looked at on the meta device for `skip`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Architecture
from membench.api import Net
from membench.errors import MembenchError

Shape = tuple[int, int, int]


def build(architecture: Architecture, shape: Shape, num_classes: int, key: int) -> dict[str, Tensor]:
    """The initial weights for `key`, in `named_parameters()` order; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        module = architecture.build(shape, num_classes)
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def skeleton(architecture: Architecture, shape: Shape, num_classes: int) -> nn.Module:
    """The module without weights, for `functional_call`.

    Raises:
        MembenchError: the module keeps buffers (running statistics), which this engine does not carry yet.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = architecture.build(shape, num_classes)
    buffers = [name for name, _ in module.named_buffers()]
    if buffers:
        raise MembenchError(
            f"architecture {architecture.name!r} has buffers ({', '.join(buffers[:3])}): running statistics are not "
            "supported yet; use nn.GroupNorm or nn.LayerNorm instead of batch norm"
        )
    return module


def describe(architecture: Architecture, shape: Shape, num_classes: int) -> Net:
    """What `skip` sees, from one forward pass on the meta device."""
    module = skeleton(architecture, shape, num_classes)
    taps: list[tuple[str, tuple[int, ...]]] = []

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        taps.append((kind, tuple(h.shape[1:])))
        return h

    params = dict(module.named_parameters())
    functional_call(module, params, (torch.empty((2, *shape), device="meta"), tap))
    batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
    return Net(shape, num_classes, tuple(taps), {k: tuple(v.shape) for k, v in params.items()}, batch_norm)

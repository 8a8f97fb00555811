"""Architectures as the engine needs them: built per seed, and looked at on the meta device for `skip`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Architecture
from membench.api import Net
from membench.errors import MembenchError
from membench.nn import BatchNorm

Shape = tuple[int, int, int]


def initial_weights(
    architecture: Architecture, shape: Shape, num_classes: int, key: int
) -> dict[str, Tensor]:
    """The initial weights for `key`, in `named_parameters()` order; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        module = architecture.build(shape, num_classes)
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def meta_module(architecture: Architecture, shape: Shape, num_classes: int) -> nn.Module:
    """The module without weights, for `functional_call`.

    Raises:
        MembenchError: the module has buffers that are not those of `membench.nn.BatchNorm`.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = architecture.build(shape, num_classes)
    strange = sorted({name for name, _ in module.named_buffers()} - set(batch_norm_buffers(module)))
    if strange:
        raise MembenchError(
            f"architecture {architecture.name!r} has buffers ({', '.join(strange[:3])}): lanes carry those of "
            "membench.nn.BatchNorm alone; use it, nn.GroupNorm or nn.LayerNorm, and make constants in forward"
        )
    return module


def batch_norm_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The running statistics of its batch norms by name, in `named_buffers()` order."""
    norms = [
        f"{name}." if name else "" for name, m in module.named_modules() if isinstance(m, BatchNorm)
    ]
    mine = {norm + buffer for norm in norms for buffer in ("running_mean", "running_var")}
    return {name: b for name, b in module.named_buffers() if name in mine}


def initial_buffers(module: nn.Module, lanes: int, device: torch.device) -> dict[str, Tensor]:
    """The running statistics before the first step, stacked: means 0 and variances 1, whatever the seed."""
    start = lambda name: float(name.endswith("running_var"))  # noqa: E731
    stacked = {name: (lanes, *b.shape) for name, b in batch_norm_buffers(module).items()}
    return {name: torch.full(shape, start(name), device=device) for name, shape in stacked.items()}


def inspect_network(architecture: Architecture, shape: Shape, num_classes: int) -> Net:
    """What `skip` sees, from one forward pass on the meta device."""
    module = meta_module(architecture, shape, num_classes)
    taps: list[tuple[str, tuple[int, ...]]] = []

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        taps.append((kind, tuple(h.shape[1:])))
        return h

    params = dict(module.named_parameters())
    functional_call(
        module,
        {**params, **batch_norm_buffers(module)},
        (torch.empty((2, *shape), device="meta"), tap),
    )
    sizes = {name: tuple(p.shape) for name, p in params.items()}
    return Net(
        shape, num_classes, tuple(taps), sizes, has_batch_norm=bool(batch_norm_buffers(module))
    )

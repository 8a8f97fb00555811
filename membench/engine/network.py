"""Architectures as the engine uses them: initial weights, a module without weights, its shapes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.api import Architecture
from membench.api import Net
from membench.api import Params
from membench.engine.adapted import build
from membench.errors import MembenchError
from membench.nn import BatchNorm

Shape = tuple[int, int, int]  #: of an image, [c, h, w]


def initial_weights(architecture: Architecture, shape: Shape, num_classes: int, key: int) -> Params:
    """Draw initial weights; torch's global generator is left as it was.

    Args:
        architecture: the network.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
        key: the seed.

    Returns:
        The weights in `named_parameters()` order, on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        module = build(architecture, shape, num_classes)
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def meta_module(architecture: Architecture, shape: Shape, num_classes: int) -> nn.Module:
    """Build the module on the meta device, without weights, for `functional_call`.

    Args:
        architecture: the network.
        shape: of an image, [c, h, w].
        num_classes: of the data set.

    Raises:
        MembenchError: the module has buffers that are not those of `membench.nn.BatchNorm`.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module = build(architecture, shape, num_classes)
    all_buffers = {name for name, _ in module.named_buffers()}
    other_buffers = sorted(all_buffers - set(batch_norm_buffers(module)))
    if other_buffers:
        raise MembenchError(
            f"architecture {architecture.name!r} has buffers ({', '.join(other_buffers[:3])}):"
            " lanes carry those of membench.nn.BatchNorm alone; use it, nn.GroupNorm or"
            " nn.LayerNorm, and make constants in forward"
        )
    return module


def batch_norm_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the running statistics of a module's batch norms, in `named_buffers()` order."""
    names = set()
    for prefix, submodule in module.named_modules():
        if isinstance(submodule, BatchNorm):
            dotted = f"{prefix}." if prefix else ""
            names |= {f"{dotted}running_mean", f"{dotted}running_var"}
    return {name: buffer for name, buffer in module.named_buffers() if name in names}


def batch_norm_momenta(module: nn.Module) -> dict[str, float]:
    """Return the momentum of each running statistic, by the names of `batch_norm_buffers`."""
    momenta = {}
    for prefix, submodule in module.named_modules():
        if isinstance(submodule, BatchNorm):
            for name in ("running_mean", "running_var"):
                momenta[f"{prefix}.{name}" if prefix else name] = submodule.momentum
    return momenta


def initial_buffers(module: nn.Module, lanes: int, device: torch.device) -> dict[str, Tensor]:
    """Return the running statistics before the first step: means 0, variances 1, for any seed.

    Args:
        module: the network.
        lanes: how many lanes to stack.
        device: where they are trained.
    """
    buffers = {}
    for name, buffer in batch_norm_buffers(module).items():
        value = 1.0 if name.endswith("running_var") else 0.0
        buffers[name] = torch.full((lanes, *buffer.shape), value, device=device)
    return buffers


def inspect_network(architecture: Architecture, shape: Shape, num_classes: int) -> Net:
    """Return what `Regularizer.skip` sees of a network, from one forward pass on the meta device.

    Args:
        architecture: the network.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
    """
    module = meta_module(architecture, shape, num_classes)
    taps: list[tuple[str, tuple[int, ...]]] = []

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        taps.append((kind, tuple(h.shape[1:])))
        return h

    params = dict(module.named_parameters())
    buffers = batch_norm_buffers(module)
    x = torch.empty((2, *shape), device="meta")
    functional_call(module, {**params, **buffers}, (x, tap))
    return Net(
        input_shape=shape,
        num_classes=num_classes,
        taps=tuple(taps),
        params={name: tuple(p.shape) for name, p in params.items()},
        has_batch_norm=bool(buffers),
    )

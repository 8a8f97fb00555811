"""Networks as they come: a module of plain torch is made one that the engine can stack.

A network of a plugin may be written for membench, with `forward(x, tap)`, or for anything else,
with `forward(x)`. The second kind gets a tap after each of its activation modules. In both, torch's
batch norms are exchanged for those of `membench.nn`, which keep no state that is written in place.
What has no place in a comparison of regularizers, such as dropout inside, is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterator
from types import MethodType
from typing import Any

from torch import Tensor
from torch import nn

from membench.api import Architecture
from membench.errors import MembenchError
from membench.nn import BatchNorm

#: Modules whose result is a hidden layer's activation. Softmax and its kin are none.
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Sigmoid,
    nn.GLU,
)
#: Names of classes whose activations are those of a gate: it weighs channels, and is no layer.
GATES = ("squeezeexcit", "semodule", "selayer", "seblock", "ecamodule", "cbam")
DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
#: Names of classes that skip whole blocks: torchvision's and timm's.
STOCHASTIC_DEPTHS = ("StochasticDepth", "DropPath")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
RGB = 3


def build(architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build an architecture's module, as the engine takes it: `forward(x, tap)` gives the logits.

    The weights have the names that they have in the module as it comes.

    Args:
        architecture: the network.
        shape: of an image, [c, h, w].
        num_classes: of the data set.

    Raises:
        MembenchError: it cannot be trained here; the message names the line to change.
    """
    module = architecture.build(shape, num_classes)
    if not isinstance(module, nn.Module):  # a check says it better
        return module
    _refuse_randomness(architecture.name, module)
    _exchange_batch_norms(module)
    if not _takes_a_tap(architecture.name, module):
        _add_taps(module, channels=shape[0])
    return module


def _takes_a_tap(name: str, module: nn.Module) -> bool:
    """Tell whether a network is written for membench.

    Raises:
        MembenchError: its forward takes neither (x, tap) nor (x).
    """
    signature = inspect.signature(module.forward)
    takes_one = _binds(signature, "x")
    # a second argument that has a default and another name is no tap
    is_tap = "tap" in signature.parameters or not takes_one
    if is_tap and _binds(signature, "x", "tap"):
        return True
    if takes_one:
        return False
    raise MembenchError(
        f"architecture {name!r}: forward takes {signature}: write forward(self, x), or "
        "forward(self, x, tap) with h = tap(h) after each hidden activation"
    )


def _binds(signature: inspect.Signature, *arguments: str) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _refuse_randomness(name: str, module: nn.Module) -> None:
    """Let dropout at p = 0 be nothing; refuse a network that is random by itself.

    Raises:
        MembenchError: a layer drops at random.
    """
    for parent, child_name, child, path in _children(module):
        kind = type(child).__name__
        if not isinstance(child, DROPOUTS) and kind not in STOCHASTIC_DEPTHS:
            continue
        rate = getattr(child, "p", getattr(child, "drop_prob", 0.0)) or 0.0
        if rate > 0:
            raise MembenchError(
                f"architecture {name!r}: {path} is {kind}(p={rate:g}): build it with p = 0 "
                "(torchvision's networks take dropout=0.0 or stochastic_depth_prob=0.0); dropout "
                "and stochastic-depth are regularizers of the board, at the network's taps"
            )
        setattr(parent, child_name, nn.Identity())


def _exchange_batch_norms(module: nn.Module) -> None:
    """Put batch norms of `membench.nn` in the place of torch's, with their weights.

    One without weights or with a cumulative average (momentum=None) stays: it has no counterpart,
    and its buffers are refused.
    """
    for parent, child_name, child, _ in _children(module):
        if not isinstance(child, BATCH_NORMS) or not (child.affine and child.track_running_stats):
            continue
        if child.momentum is None:
            continue
        norm = BatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
        norm.weight, norm.bias = child.weight, child.bias
        setattr(parent, child_name, norm)


def _children(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
    """Yield each module below a module: its parent, its name there, itself, and its path."""
    for path, parent in list(module.named_modules()):
        for name, child in list(parent.named_children()):
            yield parent, name, child, f"{path}.{name}" if path else name


def _add_taps(module: nn.Module, channels: int) -> None:
    """Give a module with `forward(x)` a `forward(x, tap)`, which taps its activation modules.

    Args:
        module: the network.
        channels: of an image. A network that begins with a convolution of three gets one three
            times.
    """
    taps: list[Callable[..., Tensor]] = []  #: of the forward under way

    def after_activation(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if taps and output.dim() in (2, 3, 4):
            return taps[-1](output)
        return output

    for layer in _hidden_activations(module):
        if "inplace" in vars(layer):
            vars(layer)["inplace"] = False  # what a tap has seen is not written
        layer.register_forward_hook(after_activation)
    plain_forward = type(module).forward  # a copy of the module calls it on itself
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    is_repeated = channels == 1 and first is not None and first.in_channels == RGB

    def forward(self: nn.Module, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        taps.append(tap)
        try:
            return plain_forward(self, x.expand(-1, RGB, -1, -1) if is_repeated else x)
        finally:
            taps.pop()

    module.forward = MethodType(forward, module)


def _hidden_activations(module: nn.Module) -> list[nn.Module]:
    """List the activation modules whose results are hidden layers: none of a gate."""
    gated = set()
    for part in module.modules():
        name = type(part).__name__.lower()
        if any(gate in name for gate in GATES):
            gated |= set(part.modules())
    found: list[nn.Module] = []
    for part in module.modules():
        if isinstance(part, ACTIVATIONS) and part not in gated:
            found.append(part)
    return found

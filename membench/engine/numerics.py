"""A fixed computation whose bits tell whether this processor computes as another one did.

An environment (`membench.engine.environment`) names what a machine *is*; two machines that it
calls equal may still differ in last bits, where a library fits its blocks to a cache that nobody
lists. The digest of this computation says what a machine *does*. It stands in every record beside
the environment, and `membench verify` holds a record to the bits of its own training where both are
the same, and to an interval elsewhere.

What is computed are the kinds of kernels that a run is made of, at the sizes of the shipped
networks: matrix products and their transposes, in float32 and at the precision of the process, and
in bfloat16 where that is not full float32; a convolution and its gradients; `exp`, `log`, `tanh`,
`erf`, `rsqrt` and softmax; sums over rows, over columns and over all.

Of a compiled step the loops are machine code that the C++ compiler of the machine writes for the
processor. No fixed code stands for all of it, so the compiler's version and the processor's name
are hashed too: equal ones write equal code of equal source. What the digest does not cover: kernels
of a plugin's own that are not among those above, sizes at which a library takes another path, and
any GPU, whose products depend on how many lanes train side by side. There it is "", and records are
held to intervals.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from membench.engine.environment import PRECISION
from membench.engine.environment import processor

_FULL = PRECISION[False]  #: torch's name of float32 products
_TIMEOUT = 20  #: seconds that the compiler has to name its version


def numerics_digest(device: torch.device, compiled: bool) -> str:
    """Hash what this process computes, as it is set up now: SHA-256, in hex.

    It takes some milliseconds, once a process and precision; of a compiled pack the compiler is
    asked for its version too.

    Args:
        device: where the lanes are trained.
        compiled: whether their step is compiled.

    Returns:
        "" for a GPU.
    """
    if device.type != "cpu":
        return ""
    setting = torch.get_float32_matmul_precision(), torch.get_num_threads()
    return _digest(setting, compiled)


@cache
def _digest(setting: tuple[str, int], compiled: bool) -> str:
    """Hash the results of the process at one setting, which names it for the cache."""
    precision, _ = setting
    sha = hashlib.sha256()
    for result in _results(products_in_bfloat16=precision != _FULL):
        sha.update(result.detach().contiguous().numpy().tobytes())
    if compiled:
        sha.update(f"{_compiler()}\n{processor()}".encode())
    return sha.hexdigest()


def _results(products_in_bfloat16: bool) -> Iterator[Tensor]:
    """Compute; the inputs are exact in float32, so that only what is done with them can differ."""
    images, weights, last = _numbers(100, 784), _numbers(784, 256), _numbers(256, 10)
    lanes, stacked = _numbers(5, 100, 256), _numbers(5, 256, 64)
    products = [
        (images, weights),
        (weights.T, images.T),
        (images @ weights, last),
        (lanes, stacked),
    ]
    for left, right in products:
        yield left @ right
        if products_in_bfloat16:
            yield (left.bfloat16() @ right.bfloat16()).float()

    x = _numbers(20, 1, 28, 28).requires_grad_()
    kernel = _numbers(16, 1, 3, 3).requires_grad_()
    features = F.conv2d(x, kernel, stride=2, padding=1)
    yield features
    yield from torch.autograd.grad(features.square().sum(), (x, kernel))

    logits = _numbers(100, 10)
    yield F.log_softmax(logits, dim=1)
    yield F.softmax(logits, dim=1)
    for function in (torch.exp, torch.tanh, torch.erf, torch.sigmoid):
        yield function(images)
    positive = images.square() + 0.5
    for function in (torch.log, torch.rsqrt, torch.sqrt):
        yield function(positive)

    for dims in ((0,), (1,), (0, 1)):
        yield images.sum(dims)
        yield images.var(dims)


def _numbers(*shape: int) -> Tensor:
    """Return numbers from -1 to 1 that follow no simple rule: multiples of 1/4096."""
    count = torch.Size(shape).numel()
    places = torch.arange(count, dtype=torch.int64)
    mixed = (places * 2654435761 + 12345) % 8191
    return ((mixed.float() - 4095) / 4096).reshape(shape)


@cache
def _compiler() -> str:
    """Return the first line that the C++ compiler of Inductor says of itself; "" without one."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        command = [get_cpp_compiler(), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except Exception:  # without a compiler nothing is compiled, and the pack says so itself
        return ""
    return done.stdout.partition("\n")[0]

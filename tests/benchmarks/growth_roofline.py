"""Compute the least that a step can cost on an H100, for two networks.

Formulas and public figures; nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from membench.engine.card import BYTES_PER_SECOND
from membench.engine.card import FP32_FLOPS
from membench.engine.card import LAUNCH_SECONDS
from membench.report.columns import table


@dataclass(frozen=True)
class Network:
    """A fully connected network."""

    name: str
    sizes: tuple[int, ...]  #: of the layers, from the inputs to the classes
    batch: int

    @property
    def weights(self) -> list[int]:
        """The number of entries of each weight matrix."""
        return [inputs * outputs for inputs, outputs in pairwise(self.sizes)]

    @property
    def params(self) -> int:
        """P, the number of weights and biases."""
        return sum(self.weights) + sum(self.sizes[1:])

    @property
    def flops(self) -> int:
        """F = 2 N (3 W - W1).

        The forward pass, the gradient of the inputs (not of the first layer's), and the gradient of
        the weights.
        """
        return 2 * self.batch * (3 * sum(self.weights) - self.weights[0])

    @property
    def bytes(self) -> int:
        """B = 32 P - 4 W1.

        Weights are read twice (the first layer's once), the gradient is written, and momentum SGD
        moves 5 x 4 bytes.
        """
        return 32 * self.params - 4 * self.weights[0]


NETWORKS = (
    Network("quick suite's mlp, 784-256-256-10", (784, 256, 256, 10), 100),
    Network("wide, 784-512-512-10", (784, 512, 512, 10), 128),
)


def roofline() -> str:
    """Return the section of the README."""
    header = [
        "network",
        "batch N",
        "P",
        "F, MFLOP",
        "B, MB",
        "F / R, us",
        "B / BW, us",
        "floor of a lane-step, us",
        "lanes that hide a kernel",
    ]
    return "\n\n".join([_HEAD, table(header, map(_row, NETWORKS)), _FOOT])


def _row(net: Network) -> list[str]:
    compute, memory = 1e6 * net.flops / FP32_FLOPS, 1e6 * net.bytes / BYTES_PER_SECOND
    floor = max(compute, memory)
    return [
        net.name,
        str(net.batch),
        f"{net.params:,}",
        f"{net.flops / 1e6:.0f}",
        f"{net.bytes / 1e6:.1f}",
        f"{compute:.1f}",
        f"{memory:.1f}",
        f"{floor:.1f}",
        f"{1e6 * LAUNCH_SECONDS / floor:.2f}",
    ]


_HEAD = """\
### An H100: projection, nothing measured

A step of L lanes takes at least

    T >= max( L F / R,  L B / BW,  k t )

| symbol | what |
| --- | --- |
| F | FLOPs of a lane-step, fully connected: 2 N (3 W - W1); N batch, W entries of the matrices, \
W1 of the first |
| B | bytes of a lane-step, fp32, momentum SGD, perfectly fused: 32 P - 4 W1; P parameters; \
activations left out |
| R | 67 TFLOP/s: full fp32, no tensor cores, the maker's figure |
| BW | 3.0 TB/s: copies of large arrays, read and written |
| k, t | kernels of a step; 2 to 2.5 us each inside a CUDA graph |"""

_FOOT = """\
The floors are for more lanes than fit into the 50 MB cache. The last column is t over the floor: \
a step of k kernels needs k times as many lanes before the launches no longer decide. What share \
of the floor an engine reaches is not known here: no figure of this section comes from a run."""

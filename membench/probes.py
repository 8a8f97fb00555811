"""The contract of probes: a measurement of the network while it trains, which must not change how it trains.

The engine calls `measure` at the checkpoints of a run that asks for the probe, and keeps its numbers in the record.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

from membench.api import Lane
from membench.api import Params
from membench.api import Recipe

if TYPE_CHECKING:
    from torch import Tensor


Metrics = Mapping[
    str, "Tensor | float"
]  #: metric name, `[a-z0-9][a-z0-9-]*` -> one number or a 1-d tensor
MAX_VALUES = 4096  #: numbers in one metric at one checkpoint
WHEN = ("checkpoints", "end")


class ProbeData(Protocol):
    """The data of the run, as tensors of this lane only, in the order in which its examples are numbered."""

    x: Tensor  #: [n, c, h, w] float32, standardised training inputs, after the signal
    y: Tensor  #: [n] int64, training labels as given
    wrong: Tensor  #: [n] bool, labels that are not the real ones
    clean: Tensor  #: [n] bool, input and label are the real ones
    trained: (
        Tensor  #: [n] bool, rows that this run trains on; all True unless the split has a share
    )
    val_x: Tensor  #: [m, c, h, w] float32, clean
    val_y: Tensor  #: [m] int64


class ProbeLane(Protocol):
    """What a probe is told about the run that it looks at, beside the data."""

    num_classes: int
    num_examples: int  #: n, the size of the training set
    pixel: Tensor  #: [c, 1, 1], one grey level of 0-255 in units of x
    epoch: int  #: epochs taken so far
    steps: int  #: optimizer steps taken so far
    recipe: Recipe
    initial: Params  #: the weights at step 0
    order: Tensor  #: [steps, batch] int64, the rows of x that each step so far trained on
    state: dict[str, Any]  #: what `init` or the last `update` returned; {} without them

    def forward(self, x: Tensor, params: Params | None = None) -> Tensor:
        """Logits [k, num_classes] in evaluation mode, differentiable in both; `None`: the weights that are measured."""

    def uniform(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Uniform on [0, 1), 24 bits; keyed by lane, probe, step and name."""

    def normal(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Standard Gaussian, |z| < 6; keyed likewise."""

    def permutation(self, n: int, name: str) -> Tensor:
        """[n] int64, a uniform permutation of range(n); keyed likewise."""


@dataclass(frozen=True)
class Probe:
    """`measure(params, data, lane)` at the weights that are evaluated, eagerly, for one lane at a time.

    Outside of vmap and at full float32 precision: Python's control flow, autograd and `torch.func` are all there. What
    it returns is stored as `record.probes[probe][metric]`, one entry a checkpoint: a float, or a tuple for a 1-d
    tensor of at most 4096 numbers; six significant digits, None for what is not finite.

    `init` and `update` carry a state through training, as a regularizer's do: written for one lane inside vmap, no
    Python control flow on tensors. What `update` sees is in `Lane`; it must not change anything.
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`
    measure: Callable[[Params, ProbeData, ProbeLane], Metrics]
    at: str = "checkpoints"  #: or "end": at the budget only
    init: Callable[[Params, Lane], dict[str, Any]] | None = None  #: state at step 0; needs `update`
    update: Callable[[Params, Lane], dict[str, Any]] | None = (
        None  #: state at the end of each step; needs `init`
    )
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    version: int = 1  #: raise it when a helper in another file changes what this measures

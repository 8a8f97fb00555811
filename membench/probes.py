"""The contract of probes: measurements of a network while it trains.

A probe must not change how the network trains. The engine calls `measure` at the checkpoints of a
run that asks for the probe, and keeps its numbers in the record.
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


#: metric name, `[a-z0-9][a-z0-9-]*` -> one number or a 1-d tensor
Metrics = Mapping[str, "Tensor | float"]
MAX_VALUES = 4096  #: numbers in one metric at one checkpoint
WHEN = ("checkpoints", "end")


class ProbeData(Protocol):
    """The data of the run: tensors of this lane only, in the order that numbers its examples."""

    @property
    def x(self) -> Tensor:
        """[n, c, h, w] float32, standardised training inputs, after the signal."""

    @property
    def y(self) -> Tensor:
        """[n] int64, training labels as given."""

    @property
    def wrong(self) -> Tensor:
        """[n] bool, labels that are not the real ones."""

    @property
    def clean(self) -> Tensor:
        """[n] bool, input and label are the real ones."""

    @property
    def trained(self) -> Tensor:
        """[n] bool, rows that this run trains on; all True unless the split has a share."""

    @property
    def val_x(self) -> Tensor:
        """[m, c, h, w] float32, clean validation inputs."""

    @property
    def val_y(self) -> Tensor:
        """[m] int64, validation labels."""


class ProbeLane(Protocol):
    """The run that a probe measures, except for its data."""

    @property
    def num_classes(self) -> int:
        """The number of classes."""

    @property
    def num_examples(self) -> int:
        """The size n of the training set."""

    @property
    def pixel(self) -> Tensor:
        """[c, 1, 1], one grey level of 0-255 in units of x."""

    @property
    def epoch(self) -> int:
        """Epochs taken so far."""

    @property
    def steps(self) -> int:
        """Optimizer steps taken so far."""

    @property
    def recipe(self) -> Recipe:
        """The recipe that the network is trained by."""

    @property
    def initial(self) -> Params:
        """The weights at step 0."""

    @property
    def order(self) -> Tensor:
        """[steps, batch] int64, the rows of x that each step so far trained on."""

    @property
    def rates(self) -> Tensor:
        """[steps] float64, the learning rate of each step so far, by the recipe's schedule."""

    @property
    def state(self) -> dict[str, Any]:
        """The state that the probe's `init` or last `update` returned; {} without them."""

    def forward(self, x: Tensor, params: Params | None = None) -> Tensor:
        """Compute logits in evaluation mode, differentiable in both arguments.

        Args:
            x: [k, c, h, w].
            params: the weights to use; default: those that are measured.

        Returns:
            [k, num_classes].
        """

    def uniform(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Draw uniformly from [0, 1), 24 bits; keyed by lane, probe, step and name."""

    def normal(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Draw from the standard Gaussian, |z| < 6; keyed as `uniform`."""

    def permutation(self, n: int, name: str) -> Tensor:
        """Draw a uniform permutation of range(n): [n] int64; keyed as `uniform`."""


@dataclass(frozen=True)
class Probe:
    """A measurement, `measure(params, data, lane)`, of the weights that are evaluated.

    It is called eagerly, for one lane at a time, outside of vmap and at full float32 precision:
    Python's control flow, autograd and `torch.func` are available. What it returns is stored as
    `record.probes[probe][metric]`, one item a checkpoint: a float, or a tuple for a 1-d tensor of
    at most 4096 numbers; six significant digits, None for what is not finite.

    `init` and `update` carry a state through training, as a regularizer's do: written for one lane
    inside vmap, without Python control flow on tensors. `Lane` says what `update` sees; it must not
    change anything.

    Example:
        The mean margin of the training examples, one number a checkpoint.

        ```python
        from membench import Probe, hookimpl

        def margin(params, data, lane):
            logits = lane.forward(data.x)  # [n, num_classes]
            top2 = logits.topk(2).values
            return {"mean": (top2[:, 0] - top2[:, 1]).mean()}

        @hookimpl
        def register():
            return [Probe("top-margin", margin)]
        ```
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`
    measure: Callable[[Params, ProbeData, ProbeLane], Metrics]
    at: str = "checkpoints"  #: or "end": at the budget only
    #: (params, lane) -> state at step 0; needs `update`
    init: Callable[[Params, Lane], dict[str, Any]] | None = None
    #: (params, lane) -> state at the end of each step; needs `init`
    update: Callable[[Params, Lane], dict[str, Any]] | None = None
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    version: int = 1  #: raise it when a helper in another file changes what this measures

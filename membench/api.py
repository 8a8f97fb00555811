"""The contract: all that a plugin author may rely on, on one page.

A plugin is a Python file with one `register` hook that hands over frozen records of pure functions. membench reads
nothing else of it. Tensors are torch tensors of **one** lane (one training run); the engine stacks many lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor
    from torch import nn

    Array = np.ndarray

Params = dict[str, "Tensor"]  #: in `named_parameters()` order, PyTorch layout: axis 0 = output unit
PROJECT = "membench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
#: The acting points of one training step, in the order in which the step reaches them.
STAGES = (
    "batch",
    "perturb",
    "hidden",
    "loss",
    "penalty",
    "grads",
    "weights",
    "init",
    "update",
    "readout",
)


class Spec:
    """The one hook of membench."""

    @hookspec
    def register(self) -> Iterable[Any]:
        """Return the records that this plugin adds: regularizers, architectures, data sets, signals.

        ```python
        from membench import Regularizer, hookimpl

        def shrink(params, lane):
            return {name: w * (1 - lane.lr * lane.strength) for name, w in params.items()}

        @hookimpl
        def register():
            return [Regularizer("shrink", strengths=(0.01, 0.03, 0.1, 0.3, 1.0), weights=shrink)]
        ```
        """


class Lane(Protocol):
    """What a stage function is told about the run it acts in; any other field raises `LaneError`.

    Always there: `strength` to `permutation`. By stage: `index` (batch, hidden, loss, penalty, grads, update), `tap`
    and `kind` (hidden), `x` (loss, penalty, grads, update), `y` (penalty, grads, update), `logits` (grads, update),
    `params` (loss), `activations` (loss, penalty), `forward` (batch, loss, penalty), `gradient` (grads), `before`
    (weights, update), `clean` (batch and loss, controls only).
    """

    strength: Tensor  #: 0-d, this part's strength; never a Python number: it differs by lane inside one program
    step: Tensor  #: 0-d int32, the step that is being taken, from 0
    steps: int  #: how many steps the run has
    progress: Tensor  #: 0-d, step / steps, in [0, 1)
    lr: Tensor  #: 0-d, the learning rate of this step
    num_classes: int
    num_examples: int  #: size of the training set
    pixel: Tensor  #: [c, 1, 1], one grey level of 0-255 in units of x
    initial: Params  #: the weights at step 0
    state: dict[
        str, Any
    ]  #: this part's state as `init` or the last `update` returned it (not in `init`)

    index: Tensor  #: [n] int64, which training examples the batch holds; ids are permuted per run
    tap: int  #: which tap, in the order of the forward pass, from 0
    kind: str  #: "hidden" or "branch"
    x: Tensor  #: [n, c, h, w], the batch after the `batch` stages
    y: Tensor  #: [n, num_classes], its soft labels after the `batch` stages
    logits: Tensor  #: [n, num_classes], of the main forward
    params: Params  #: the weights under differentiation
    before: Params  #: the weights before this step's update
    activations: list[Tensor]  #: the main forward's tap outputs, in order, after `hidden`
    clean: Tensor  #: [n] bool, label and input are the real ones; `group="control"` only, which is never ranked

    def uniform(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Uniform on [0, 1), 24 bits. With `name`, the same values wherever this part asks for it in this step."""

    def normal(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Standard Gaussian, |z| < 6."""

    def permutation(self, n: int, name: str | None = None) -> Tensor:
        """[n] int64, a uniform permutation of range(n)."""

    def forward(self, x: Tensor, params: Params | None = None, train: bool = False) -> Tensor:
        """Logits [n, num_classes], differentiable in x and params.

        `params=None`: the weights at hand (in `loss` and `penalty` the ones under differentiation). `train=False`: no
        taps (attacks, teachers). `train=True`: taps act, with fresh draws. Never changes `activations`.
        """

    def gradient(self, params: Params, rows: Tensor | None = None) -> Params:
        """The objective's gradient at `params` on the same batch and the **same draws**.

        `rows` [k] int64 picks examples of the batch. The `grads` stages of the parts to the left of this one apply.
        """


Batch = Callable[["Tensor", "Tensor", Lane], tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class Regularizer:
    """Pure functions that act on one training step, each at its own stage; `None` = does not act there.

    `off` is the strength at which every function is exactly the identity; it is never trained: it *is* `none`. A
    strength is one float, never a shape, a loop bound or an `if`.
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`
    strengths: tuple[float, ...]  #: five, from "no visible effect" to "real accuracy breaks"
    off: float = 0.0  #: may be `inf`
    group: str = (
        "other"  #: data, model, loss, gradient, weights, trajectory; "control" is never ranked
    )
    skip: Callable[[Net], str | None] | None = (
        None  #: at plan time; a string is the reason why it cannot act
    )
    batch: Batch | None = (
        None  #: (x [n, c, h, w], y [n, c], lane) -> (x, y); constants: no gradient flows through
    )
    perturb: Callable[[Params, Lane], Params] | None = None  #: this step's forward only
    hidden: Callable[[Tensor, Lane], Tensor] | None = None  #: (h, lane) -> h at every tap
    loss: Callable[[Tensor, Tensor, Tensor, Lane], Tensor] | None = (
        None  #: (losses [n], logits [n, c], y, lane)
    )
    penalty: Callable[[Params, Lane], Tensor] | None = (
        None  #: -> finite scalar, added to the mean loss
    )
    grads: Callable[[Params, Params, Lane], Params] | None = None  #: (grads, params, lane) -> grads
    weights: Callable[[Params, Lane], Params] | None = None  #: after the optimizer's update
    init: Callable[[Params, Lane], dict[str, Any]] | None = None  #: state at step 0; needs `update`
    update: Callable[[Params, Lane], dict[str, Any]] | None = None  #: state at the end of each step
    readout: Callable[[Params, Lane], Params] | None = None  #: the weights that are evaluated
    redraw: bool = False  #: controls only: strength k trains plainly, with the k-th other weights, order and draws
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    version: int = 1  #: raise it when a helper in another file changes what this does

    @property
    def acts_on(self) -> tuple[str, ...]:
        """The stages where this acts."""
        return tuple(stage for stage in STAGES if getattr(self, stage) is not None)


@dataclass(frozen=True)
class Composite:
    """Several registered regularizers at once, `a+b`, with a strength grid of its own: one tuple a setting."""

    name: str  #: "dropout+mixup": the parts act in this order
    strengths: tuple[tuple[float, ...], ...]
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the budget is epochs x (examples // batch) optimizer steps, equal for all."""

    optimizer: str = (
        "sgd"  #: "sgd" (momentum, no Nesterov) or "adamw" (betas .9 and .999, no decay)
    )
    lr: float = 0.02
    momentum: float = 0.9
    batch: int = 100
    epochs: int = 100
    schedule: str = "constant"  #: or "cosine", to 0 over the budget

    def steps(self, examples: int) -> int:
        """Optimizer steps of the whole budget on so many training examples; what fills no batch is left out."""
        return self.epochs * (examples // self.batch)


@dataclass(frozen=True)
class Architecture:
    """`build((c, h, w), num_classes)` returns an `nn.Module` whose `forward(x, tap)` calls `h = tap(h)` after each
    hidden activation and `tap(h, "branch")` on each residual branch. No dropout inside, no data-dependent branch."""

    name: str
    build: Callable[[tuple[int, int, int], int], nn.Module]
    recipe: Recipe = Recipe()
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Arrays:
    """A data set in memory; `test=None` lets the harness cut a fixed, class-balanced test set off."""

    x: Array  #: [n, c, h, w], uint8 (0-255) or float32 (0-1)
    y: Array  #: [n] int64, 0 .. num_classes - 1
    num_classes: int
    test: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Dataset:
    """`load(folder)` returns `Arrays`; one that is not at hand raises `FileNotFoundError` saying how to get it.

    `fetch(folder, progress)` downloads it, calling progress(bytes here, bytes in all or 0) for the file at hand.
    """

    name: str
    load: Callable[[Path], Arrays]
    fetch: Callable[[Path, Callable[[int, int], None]], None] | None = (
        None  #: `None` = ships with a package
    )
    summary: str = ""
    source: str = ""
    version: int = 1
    shape: tuple[int, int, int] | None = None  #: of an image, [c, h, w]; and
    num_classes: int | None = None  #: both for a projection of time before it is fetched


class Draw(Protocol):
    """Random numbers for signals: hashes of integers, the same bytes on every machine and numpy version."""

    num_classes: int
    world: Draw  #: the same draws in training, validation and test: for one transform of them all

    def uniform(self, name: str, n: int) -> Array: ...
    def normal(self, name: str, n: int) -> Array: ...
    def permutation(self, name: str, n: int) -> Array: ...


@dataclass(frozen=True)
class Signal:
    """What the training set is. `apply(x, y, level, draw, train) -> (x, y, changed [n] bool)`, numpy only.

    It runs on each split; only a transform of the whole world touches validation and test (`train=False`). `level` is
    the p of `name@p`, else None.
    """

    name: str  #: `[A-Za-z0-9-]+`
    apply: Callable[[Array, Array, float | None, Draw, bool], tuple[Array, Array, Array]]
    noise: str | None = None  #: "labels", "inputs" or None
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Net:
    """What `skip` may look at: shapes only."""

    input_shape: tuple[int, int, int]
    num_classes: int
    taps: tuple[tuple[str, tuple[int, ...]], ...]  #: (kind, shape without the batch axis)
    params: dict[str, tuple[int, ...]]
    has_batch_norm: bool


@dataclass(frozen=True)
class Split:
    """How many images of a data set are test (fixed), and how many each seed draws for training and validation."""

    test: int
    train: int
    validation: int
    fixed: int | None = (
        None  #: all seeds see the draw, the signal and the ids of this seed; weights and order differ
    )
    share: float | None = (
        None  #: each seed trains on its own round(share * train) rows (`membench.data.trained_rows`)
    )

    @property
    def trained(self) -> int:
        """How many rows a run trains on."""
        return self.train if self.share is None else round(self.share * self.train)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; what is not set is left out, so that keys are as they were before it could be."""
        return {name: value for name, value in vars(self).items() if value is not None}

"""The contract of plugins: the hook, the records it returns, and what their functions receive.

`membench/__init__.py` lists the public modules and names; a plugin may rely on those and on nothing
else. A plugin is a Python file with one `register` hook that returns frozen records of pure
functions. All tensors are torch tensors of **one** lane (one training run); the engine stacks many.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import KW_ONLY
from dataclasses import dataclass
from dataclasses import field
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
#: The fields of `Lane` that every stage has, but for `state`, which `init` does not have.
COMMON_FIELDS = (
    "strength",
    "step",
    "steps",
    "progress",
    "lr",
    "mean_lr",
    "num_classes",
    "num_examples",
    "pixel",
    "initial",
    "state",
)
#: The further fields of `Lane`, and the stages that have them; `clean` for controls only.
STAGE_FIELDS = {
    "index": ("batch", "hidden", "loss", "penalty", "grads", "update"),
    "tap": ("hidden",),
    "kind": ("hidden",),
    "x": ("loss", "penalty", "grads", "update"),
    "y": ("penalty", "grads", "update"),
    "logits": ("grads", "update"),
    "params": ("loss",),
    "before": ("weights", "update"),
    "activations": ("loss", "penalty"),
    "forward": ("batch", "loss", "penalty", "update"),
    "grads": ("update",),
    "gradient": ("grads", "update"),
    "clean": ("batch", "loss"),
}


#: What `Recipe.schedule` may be.
SCHEDULES = ("constant", "cosine", "warmup-cosine")


class Spec:
    """The specification of membench's one hook."""

    @hookspec
    def register(self) -> Iterable[Any]:
        """Return the records that this plugin adds.

        pluggy serves as validator and registrar only: it checks the hook's name and signature, and
        collects the records once. It calls nothing during training; the records' functions act.

        Returns:
            Any number of records, of any kind: `Regularizer`, `Composite`, `Architecture`,
            `Dataset`, `Signal`, `Optimizer` and `Suite` (this module), `Probe` (`membench.probes`)
            and `Study` (`membench.studies`).

        Example:
            A regularizer that shrinks the weights after each step. `params` maps names to tensors;
            `lane.lr` and `lane.strength` are 0-d tensors. Strength 0, the default `off`, must
            change nothing, and real accuracy should break at the last of the strengths.

            ```python
            from membench import Regularizer, hookimpl

            def shrink(params, lane):
                keep = 1 - lane.lr * lane.strength
                return {name: w * keep for name, w in params.items()}

            @hookimpl
            def register():
                grid = (0.01, 0.03, 0.1, 0.3, 1.0)
                return [Regularizer("shrink", strengths=grid, weights=shrink)]
            ```
        """
        raise NotImplementedError("a hook's specification is never called")


class Lane(Protocol):
    """The run that a stage function acts in.

    A field that the stage does not have raises `LaneError`.

    Valid in every stage: `strength` to `state` (`state` not in `init`), `uniform`, `normal` and
    `permutation`. By stage: `index` (batch, hidden, loss, penalty, grads, update), `tap` and `kind`
    (hidden), `x` (loss, penalty, grads, update), `y` (penalty, grads, update), `logits` (grads,
    update), `params` (loss), `activations` (loss, penalty), `forward` (batch, loss, penalty,
    update), `grads` (update), `gradient` (grads, update), `before` (weights, update), `clean`
    (batch and loss, controls only).
    """

    #: 0-d, this part's strength; never a Python number: it differs by lane inside one program
    strength: Tensor
    step: Tensor  #: 0-d int32, the step that is being taken, from 0
    steps: int  #: how many steps the run has
    progress: Tensor  #: 0-d, step / steps, in [0, 1)
    lr: Tensor  #: 0-d, the learning rate of this step
    mean_lr: float  #: the mean of `lr` over all steps of the run, by the recipe's schedule
    num_classes: int
    num_examples: int  #: size of the training set
    pixel: Tensor  #: [c, 1, 1], one grey level of 0-255 in units of x
    initial: Params  #: the weights at step 0
    state: dict[str, Any]  #: this part's state, as `init` or the last `update` returned it

    index: Tensor  #: [n] int64, which training examples the batch holds; ids are permuted per run
    tap: int  #: which tap, in the order of the forward pass, from 0
    kind: str  #: "hidden" or "branch"
    x: Tensor  #: [n, c, h, w], the batch after the `batch` stages
    y: Tensor  #: [n, num_classes], its soft labels after the `batch` stages
    logits: Tensor  #: [n, num_classes], of the main forward
    params: Params  #: the weights under differentiation
    before: Params  #: the weights before this step's update
    grads: Params  #: the gradient at `before` after the `grads` stages, as the optimizer got it
    activations: list[Tensor]  #: the main forward's tap outputs, in order, after `hidden`
    #: [n] bool, input and label are the real ones. Internal, for the control `oracle`: only
    #: `group="control"`, which is never ranked, has it.
    clean: Tensor

    def uniform(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Draw uniformly from [0, 1), 24 bits.

        Args:
            shape: of the result.
            name: if given, this part gets the same values wherever it asks for it in this step.
        """

    def normal(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """Draw from the standard Gaussian, |z| < 6; arguments as of `uniform`."""

    def permutation(self, n: int, name: str | None = None) -> Tensor:
        """Draw a uniform permutation of range(n): [n] int64; `name` as of `uniform`."""

    def forward(self, x: Tensor, params: Params | None = None, train: bool = False) -> Tensor:
        """Compute logits, differentiable in `x` and `params`; never changes `activations`.

        Args:
            x: [n, c, h, w].
            params: the weights to use; default: the present ones, in `loss` and `penalty` those
                under differentiation, in `update` those after the step.
            train: False: no taps (attacks, teachers); True: taps act, with fresh draws.

        Returns:
            [n, num_classes].
        """

    def gradient(self, params: Params, rows: Tensor | None = None) -> Params:
        """Compute the objective's gradient at `params` on the same batch with the **same draws**.

        The `grads` stages of the parts to the left of this one are applied to it.

        Args:
            params: where the gradient is taken.
            rows: [k] int64, examples of the batch; default: all.
        """


Batch = Callable[["Tensor", "Tensor", Lane], tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class Regularizer:
    """Pure functions that act on one training step, each at its stage; `None` = does not act there.

    `off` is the strength at which every function is exactly the identity. It is never trained: it
    *is* `none`. A strength is one float, never a shape, a loop bound or an `if`.
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`
    strengths: tuple[float, ...]  #: five, from "no visible effect" to "real accuracy breaks"
    off: float = 0.0  #: may be `inf`
    #: The strongest value that makes sense, where there is one: a natural end of the grid, such as
    #: 1.0 for a share. A best strength that is the last of the grid is then no sign that the grid
    #: ends too early. No strength may lie beyond it.
    limit: float | None = None
    #: data, model, loss, gradient, weights, trajectory or other; "control" is never ranked
    group: str = "other"
    #: net -> the reason why it cannot act on that network, else None; called when a run is planned
    skip: Callable[[Net], str | None] | None = None
    #: (x [n, c, h, w], y [n, c], lane) -> (x, y); constants: no gradient flows through
    batch: Batch | None = None
    #: (params, lane) -> params; for this step's forward only
    perturb: Callable[[Params, Lane], Params] | None = None
    #: (h, lane) -> h, at every tap; h [n, features], [n, tokens, features] or [n, c, h, w]
    hidden: Callable[[Tensor, Lane], Tensor] | None = None
    #: (losses [n], logits [n, c], y [n, c], lane) -> losses [n]
    loss: Callable[[Tensor, Tensor, Tensor, Lane], Tensor] | None = None
    #: (params, lane) -> finite scalar, added to the mean loss
    penalty: Callable[[Params, Lane], Tensor] | None = None
    #: (grads, params, lane) -> grads
    grads: Callable[[Params, Params, Lane], Params] | None = None
    #: (params, lane) -> params; after the optimizer's update
    weights: Callable[[Params, Lane], Params] | None = None
    #: (params, lane) -> state at step 0; needs `update`
    init: Callable[[Params, Lane], dict[str, Any]] | None = None
    #: (params, lane) -> state at the end of each step
    update: Callable[[Params, Lane], dict[str, Any]] | None = None
    #: (params, lane) -> the weights that are evaluated
    readout: Callable[[Params, Lane], Params] | None = None
    #: Internal, for the control `placebo`: strength k trains without a regularizer, with the k-th
    #: other initial weights, batch order and draws.
    redraw: bool = False
    summary: str = ""  #: one sentence; default: the module docstring's first
    source: str = ""  #: the citation; default: the rest of the module docstring
    #: raise it when what the hash of the code does not cover changes what this does: a file that is
    #: opened, an installed package
    version: int = 1

    @property
    def acts_on(self) -> tuple[str, ...]:
        """The stages where this acts."""
        return tuple(stage for stage in STAGES if getattr(self, stage) is not None)


@dataclass(frozen=True)
class Composite:
    """Several registered regularizers at once, `a+b`, with a strength grid for the combination."""

    name: str  #: "dropout+mixup": the parts act in this order
    strengths: tuple[tuple[float, ...], ...]  #: one tuple a setting, one float a part
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Recipe:
    """The training of a network: epochs x (examples // batch) optimizer steps, equal for all."""

    optimizer: str = "sgd"  #: or "adamw", or another that is registered
    lr: float = 0.02
    momentum: float = 0.9
    batch: int = 100
    epochs: int = 100
    #: The learning rate of step t = 0, 1, ... of T. "constant": lr. "cosine":
    #: lr (1 + cos(pi t / T)) / 2. "warmup-cosine": lr (t + 1) / W for the first W = ceil(T / 10)
    #: steps, then lr (1 + cos(pi (t - W) / (T - W))) / 2.
    schedule: str = "constant"

    def steps(self, examples: int) -> int:
        """Count the optimizer steps of the budget; examples that fill no batch are left out."""
        return self.epochs * (examples // self.batch)


@dataclass(frozen=True)
class Optimizer:
    """A rule that turns gradients into steps: pure functions of one lane, which the engine stacks.

    It is called after the `grads` stages of the regularizers and before their `weights` stages.
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`; what `Recipe(optimizer=...)` takes
    #: (params, recipe) -> slots: its memory before the first step, a nested dict of tensors; {} =
    #: none
    init: Callable[[Params, Recipe], dict[str, Any]]
    #: (params, grads, slots, lr, t, recipe) -> (params, slots), with the entries, shapes and types
    #: of those given; lr is 0-d, t 0-d int32, the number of the step from 0
    update: Callable[
        [Params, Params, dict[str, Any], Tensor, Tensor, Recipe], tuple[Params, dict[str, Any]]
    ]
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Architecture:
    """A network, built anew for each seed.

    `build((c, h, w), num_classes)` returns an `nn.Module` whose `forward(x, tap)` maps images
    [n, c, h, w] to logits [n, num_classes]. It calls `h = tap(h)` after each hidden activation and
    `h = tap(h, "branch")` on each residual branch. No dropout inside, no data-dependent branch.
    """

    name: str
    build: Callable[[tuple[int, int, int], int], nn.Module]
    recipe: Recipe = Recipe()
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Arrays:
    """A data set in memory."""

    x: Array  #: [n, c, h, w], uint8 (0-255) or float32 (0-1)
    y: Array  #: [n] int64, 0 .. num_classes - 1
    num_classes: int
    #: (x, y); None: membench cuts off a fixed, class-balanced test set
    test: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set that can be loaded, and downloaded where it does not ship with a package.

    `load(folder)` returns `Arrays`; where the data are missing it raises `FileNotFoundError` saying
    how to get them. `fetch(folder, progress)` downloads them and calls
    `progress(bytes that are here, bytes in all or 0 if unknown)` for the file in progress.
    """

    name: str
    load: Callable[[Path], Arrays]
    #: `None`: ships with a package
    fetch: Callable[[Path, Callable[[int, int], None]], None] | None = None
    summary: str = ""
    source: str = ""
    version: int = 1
    #: [c, h, w] of an image. With `num_classes`, it lets a run be projected before it is fetched.
    shape: tuple[int, int, int] | None = None
    num_classes: int | None = None


class Draw(Protocol):
    """Random numbers for signals, each name an independent stream.

    They are hashes of integers: the same bytes on every machine and numpy version.
    """

    @property
    def num_classes(self) -> int:
        """The number of classes of the data set."""

    @property
    def rows(self) -> Array:
        """The rows of the data set, in its own order, that the split's examples are: [n] int64.

        By them a file is joined that has a line for each image, as of labels that people gave. The
        rows of a test set of the data set's own follow the others. Empty in `world`.
        """

    @property
    def folder(self) -> Path:
        """Where the signal's own files are, if it reads any: what `Signal.fetch` was given."""

    @property
    def world(self) -> Draw:
        """The draws that training, validation and test share: for one transform of them all."""

    def uniform(self, name: str, n: int) -> Array:
        """Draw uniformly from [0, 1): [n] float64."""

    def normal(self, name: str, n: int) -> Array:
        """Draw from the standard Gaussian, |z| < 4.4: [n] float32."""

    def permutation(self, name: str, n: int) -> Array:
        """Draw a uniform permutation of range(n): [n] int64."""


@dataclass(frozen=True)
class Signal:
    """A way to make the training set; numpy only.

    `apply(x, y, level, draw, train) -> (x, y, changed)` gets the images [n, c, h, w] and labels [n]
    of one split, and returns both with the mask `changed` [n] bool of the examples it touched. It
    must copy before writing. `level` is the p of `name@p`, else None. It runs on each split; only a
    transform of all data (one permutation of pixels) changes validation and test (`train=False`).

    One that reads files, such as labels that people gave, finds them in `draw.folder`; where they
    are missing it raises `FileNotFoundError` saying how to get them.
    """

    name: str  #: `[A-Za-z0-9-]+`
    #: its `level` is a float if the signal has levels, a name if these have names, else None
    apply: Callable[[Array, Array, Any, Draw, bool], tuple[Array, Array, Array]]
    noise: str | None = None  #: "labels", "inputs" or None
    #: True: its name always takes a level, `name@p` with 0 < p <= 1. A tuple of names: it takes one
    #: of these, `name@worst`.
    levels: bool | tuple[str, ...] = False
    #: as `Dataset.fetch`, for a signal that reads files; called by `membench data fetch` only
    fetch: Callable[[Path, Callable[[int, int], None]], None] | None = None
    summary: str = ""
    source: str = ""
    version: int = 1


@dataclass(frozen=True)
class Net:
    """The shapes of a network, for `Regularizer.skip`."""

    input_shape: tuple[int, int, int]
    num_classes: int
    taps: tuple[tuple[str, tuple[int, ...]], ...]  #: (kind, shape without the batch axis)
    params: dict[str, tuple[int, ...]]
    has_batch_norm: bool


@dataclass(frozen=True)
class Split:
    """Image counts: the fixed test set, and what each seed draws for training and validation.

    A test set that is cut off the images has each class equally often, as far as the numbers allow.
    A class that would be left with less than half of its share for training and validation, in
    proportion to all images, is limited to its share of the test set. Of a class with one image
    that is not for test; with two, one is; with three or more, at most all but two.

    Training and validation images are drawn from the rest at random. Where a class was limited, or
    where the draw lacks a class and the data set has a rare one (fewer than 30 images, or than half
    as many as the average class), every class is drawn in its share instead: at least one image for
    training and one for validation. A class with only one image left is in training. A part that
    has fewer images than there are classes cannot hold them all.
    """

    test: int  #: the same images for every seed
    train: int
    validation: int
    #: if given, all seeds see this seed's draw, signal and ids; initial weights and order differ
    fixed: int | None = None
    #: if given, each seed trains on its round(share * train) rows (`membench.data.trained_rows`)
    share: float | None = None

    @property
    def trained(self) -> int:
        """The number of rows that a run trains on."""
        return self.train if self.share is None else round(self.share * self.train)

    def to_json(self) -> dict[str, Any]:
        """Make a JSON-ready dict, part of cell keys.

        Fields that are None are left out, so that keys are as they were before there were any.
        """
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Suite:
    """A set of tasks, and the signals, seeds and budgets with which each entry is trained on them.

    A task is a data set with an architecture. Each strength of an entry is trained on the
    `choosing` seeds, and the strengths that are chosen there anew on the `confirming` ones, which
    alone are read. Fewer than five confirming seeds: intervals, no ranks.
    """

    name: str  #: `[a-z0-9][a-z0-9-]*`; what `--suite` takes
    _: KW_ONLY
    datasets: tuple[str, ...]
    architectures: tuple[str, ...]
    #: "real", "mixed@0.4", "randY" or other signals; without real and label noise nothing is ranked
    signals: tuple[str, ...]
    choosing: tuple[int, ...]  #: whole numbers from 0
    confirming: tuple[int, ...]  #: others
    splits: dict[str, Split]  #: by data set
    #: (dataset, architecture) -> the recipe that replaces the architecture's
    recipes: dict[tuple[str, str], Recipe] = field(default_factory=dict)
    width: int = 15  #: lanes in a pack, at most; `membench run` joins packs for a GPU
    compiled: bool = True  #: whether a step is compiled; not worth it for a run of seconds
    probes: tuple[str, ...] = ()  #: measured in every cell; they change no other number
    #: data set or architecture -> why its recipes are not to be relied on; it is trained only where
    #: the command asks for it by name
    uncalibrated: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    source: str = ""
    version: int = 1  #: raise it when anything above changes: results of two versions do not mix

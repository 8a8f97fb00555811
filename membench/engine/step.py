"""One training step of one lane, as a pure function of its tensors.

```
x, y    = batch stages(x, y)                          # constants: no gradient flows through them
q       = perturb stages(params)
f(p)    = mean(loss stages(CE(network(q, x), y))) + sum of penalty stages(p)
params' = weights stages(optimizer(params, grads stages(grad f(params))))
state'  = each part's update stage(params')
```

The `hidden` stages act at the network's taps. Evaluation runs the network in eval mode on clean
inputs, with no stage, at `readout stages(params)`.

`Program` holds what all lanes of a pack share and steps one lane; the trainer stacks lanes with
`vmap`. `Step` holds what the stages of one step have in common while it is traced. `Taps`,
`forward_of` and `gradient_of` are what a network and the regularizers call from inside a step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.func import grad_and_value

from membench.api import STAGES
from membench.api import Optimizer
from membench.api import Params
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine import draws
from membench.engine import optim
from membench.engine.contract import call
from membench.engine.lane import LaneView
from membench.engine.lane import Stream
from membench.nn import cross_entropy
from membench.rng import spell

Tree = dict[str, Any]
Tap = Callable[..., Tensor]  #: (h, kind="hidden") -> h
MAIN = (0, 0, 0)  #: the site of the main forward; others are (stage, caller, count) with stage >= 1


@dataclass(frozen=True, kw_only=True)
class RunSizes:
    """The numbers that a program is made for, beside its network, regularizer and recipe."""

    steps: int  #: optimizer steps of the whole run
    num_classes: int
    num_examples: int  #: size of the training set
    pixel_scale: float  #: one grey level in raw units: 1 for uint8, 1/255 for float32


@dataclass(frozen=True, kw_only=True)
class Program:
    """The network, the regularizer's parts and the sizes that all lanes of a pack share.

    Its functions take the tensors of one lane. `state` is what a step changes: "params", the
    optimizer's "slots", the parts' "states", the batch norm "buffers", and "diverged_at", 0-d
    int32, the step at which the loss was first not finite, or -1. `constants` is what it does not
    change: "initial" weights, "strengths" [parts], "key" [1] int32 and the images' "std" [c].
    `step_index` is 0-d int32, from 0.
    """

    module: nn.Module  #: its own weights are never read
    parts: tuple[Regularizer, ...]
    recipe: Recipe
    optimizer: Optimizer  #: the one that the recipe names
    sizes: RunSizes
    #: `module` in eval mode: batch norm goes by running statistics
    eval_module: nn.Module = field(init=False, repr=False, compare=False)
    mean_lr: float = field(init=False, repr=False, compare=False)  #: of all steps' learning rates

    def __post_init__(self) -> None:
        object.__setattr__(self, "eval_module", copy.deepcopy(self.module).eval())
        object.__setattr__(self, "mean_lr", optim.mean_rate(self.recipe, self.sizes.steps))

    def acting(self, stage: str) -> list[tuple[int, Any]]:
        """Return (part number, checked function) of each part that acts at a stage, in order."""
        return [
            (i, partial(call, part, stage))
            for i, part in enumerate(self.parts)
            if getattr(part, stage) is not None
        ]

    def step(self, state: Tree, constants: Tree, batch: Tree, step_index: Tensor) -> Tree:
        """Take one step.

        Args:
            state: the lane's state before the step.
            constants: what does not change during training.
            batch: "x" [n, c, h, w], "y" [n, c], "index" [n] int64, "clean" [n] bool.
            step_index: 0-d int32, which step it is.

        Returns:
            The new state. If the loss is not finite, or was not at an earlier step, it is the old
            one, and "diverged_at" says when.
        """
        params = state["params"]
        step = Step(self, state, constants, step_index)
        step.take_batch(batch)
        gradient = step.gradient(params, len(self.parts))
        new_params, slots = optim.update(
            self.optimizer,
            params,
            gradient.grads,
            state["slots"],
            step.lr,
            step_index,
            self.recipe,
        )
        for i, weights in self.acting("weights"):
            new_params = weights(new_params, step.lane(i, "weights", before=params))
        states = list(state["states"])
        for i, update in self.acting("update"):
            lane = step.lane(
                i,
                "update",
                before=params,
                index=step.index,
                x=step.x,
                y=step.y,
                logits=gradient.logits,
                grads=gradient.grads,
                gradient=gradient_of(step, i),
                forward=forward_of(step, i, "update", new_params),
            )
            states[i] = update(new_params, lane)
        trained_before = state["diverged_at"] < 0
        finite = trained_before & torch.isfinite(gradient.loss)
        diverged_at = torch.where(trained_before & ~finite, step_index, state["diverged_at"])
        new = {"params": new_params, "slots": slots, "states": states, "buffers": gradient.buffers}
        old = {name: state[name] for name in new}
        return {**_where(finite, new, old), "diverged_at": diverged_at}

    def initial_slots(self, params: Params) -> Tree:
        """Return the optimizer's memory before the first step, at the initial weights."""
        return optim.init(self.optimizer, params, self.recipe)

    def initial_states(self, params: Params, constants: Tree, step_index: Tensor) -> list[Tree]:
        """Return each part's state before the first step; {} where a part keeps none.

        Args:
            params: the initial weights.
            constants: what does not change during training.
            step_index: 0-d int32, 0.
        """
        states: list[Tree] = [{} for _ in self.parts]
        state = {"params": params, "states": states, "buffers": {}}
        step = Step(self, state, constants, step_index)
        initial = list(states)
        for i, init in self.acting("init"):
            initial[i] = init(params, step.lane(i, "init"))
        return initial

    def readout(self, state: Tree, constants: Tree, step_index: Tensor) -> Params:
        """Return the weights that are evaluated.

        Args:
            state: the lane's state.
            constants: what does not change during training.
            step_index: 0-d int32, how many steps were taken.
        """
        step, params = Step(self, state, constants, step_index), state["params"]
        for i, readout in self.acting("readout"):
            params = readout(params, step.lane(i, "readout"))
        return params

    def logits(self, params: Params, x: Tensor, buffers: Params | None = None) -> Tensor:
        """Run the network for evaluation: no stage acts, batch norm goes by the running statistics.

        Args:
            params: the weights.
            x: [n, c, h, w] inputs.
            buffers: the running statistics, if the network has any.

        Returns:
            [n, num_classes].
        """
        return functional_call(self.eval_module, {**params, **(buffers or {})}, (x, untapped))

    def forward(
        self, params: Params, buffers: Params, x: Tensor, tap: Tap
    ) -> tuple[Tensor, Params]:
        """Run the network in training mode: batch norm goes by the batch.

        Args:
            params: the weights.
            buffers: the running statistics before this batch.
            x: [n, c, h, w] inputs.
            tap: called by the network with its activations.

        Returns:
            The logits [n, num_classes], and the running statistics after this batch.
        """
        tensors = {**params, **buffers}
        logits = functional_call(self.module, tensors, (x, tap))
        # functional_call writes what a module assigns to its buffers back into the dict given to it
        return logits, {name: tensors[name] for name in buffers}

    def batch_statistics(self, params: Params, buffers: Params, x: Tensor) -> Params:
        """Return the running statistics after one clean batch.

        Args:
            params: the weights.
            buffers: the running statistics before it.
            x: [n, c, h, w] inputs.
        """
        return self.forward(params, buffers, x, untapped)[1]


class Gradient(NamedTuple):
    """The objective's gradient, and what its forward pass computed on the way."""

    grads: Params
    loss: Tensor  #: 0-d
    logits: Tensor  #: [n, num_classes]
    buffers: Params  #: the running statistics after the main forward


class Step:
    """One lane's step while it is traced: what the lanes of all its stages have in common."""

    index: Tensor  #: [n] int64, which training examples the batch holds
    clean: Tensor  #: [n] bool
    x: Tensor  #: [n, c, h, w]; after `take_batch`, as the `batch` stages left it
    y: Tensor  #: [n, num_classes]

    def __init__(self, program: Program, state: Tree, constants: Tree, step_index: Tensor) -> None:
        self.program = program
        self.params: Params = state["params"]
        self.states: list[Tree] = state["states"]
        self.buffers: Params = state["buffers"]
        self.strengths: Tensor = constants["strengths"]
        sizes = program.sizes
        step = step_index.to(torch.float32)
        progress = step / sizes.steps
        self.lr = optim.rate(program.recipe, step, sizes.steps)
        key = draws.chain_tensor(constants["key"], step_index[None])
        self.keys = [draws.chain_tensor(key, spell(part.name)) for part in program.parts]
        self.common = {
            "step": step_index,
            "steps": sizes.steps,
            "progress": progress,
            "lr": self.lr,
            "mean_lr": program.mean_lr,
            "num_classes": sizes.num_classes,
            "num_examples": sizes.num_examples,
            "pixel": (sizes.pixel_scale / constants["std"])[:, None, None],
            "initial": constants["initial"],
        }

    def lane(
        self,
        part: int,
        stage: str,
        site: tuple[int, ...] = (),
        rows: Tensor | None = None,
        **fields: Any,
    ) -> LaneView:
        """Build the lane that one part sees at one stage.

        Args:
            part: the part's number.
            stage: the stage's name.
            site: what tells its draws from those of the part's other calls at this stage.
            rows: [k] int64, the batch's rows that are computed; None = all.
            **fields: the fields that are valid at this stage only.
        """
        if stage != "init":
            fields["state"] = self.states[part]
        if "clean" in fields and self.program.parts[part].group != "control":
            del fields["clean"]
        stream = Stream(key=self.keys[part], stage=stage, site=site, rows=rows)
        return LaneView(stream, {**self.common, **fields, "strength": self.strengths[part]})

    def take_batch(self, batch: Tree) -> None:
        """Apply the `batch` stages; what they return is a constant of the objective."""
        self.index, self.clean = batch["index"], batch["clean"]
        x, y = batch["x"], batch["y"]
        self.x = x
        for i, act in self.program.acting("batch"):
            forward = forward_of(self, i, "batch", self.params)
            lane = self.lane(i, "batch", index=self.index, clean=self.clean, forward=forward)
            x, y = act(x, y, lane)
        self.x, self.y = x.detach(), y.detach()

    def objective(
        self, params: Params, x: Tensor, y: Tensor, index: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Params]]:
        """Compute f, the objective in the module's docstring.

        Args:
            params: the weights to differentiate by.
            x: [n, c, h, w], the inputs at `rows` of the batch.
            y: [n, num_classes], their soft labels.
            index: [n] int64, which training examples they are.
            rows: [n] int64, the batch's rows; None = all.

        Returns:
            f, 0-d, and (logits, running statistics) of the main forward.
        """
        perturbed = params
        for i, perturb in self.program.acting("perturb"):
            # no `rows`: these are draws for weights, and a matrix of as many rows is not the batch
            perturbed = perturb(perturbed, self.lane(i, "perturb"))
        activations: list[Tensor] = []
        taps = Taps(self, MAIN, index, rows, activations)
        logits, buffers = self.program.forward(perturbed, self.buffers, x, taps)
        losses = cross_entropy(logits, y)
        for i, loss in self.program.acting("loss"):
            lane = self.lane(
                i,
                "loss",
                rows=rows,
                index=index,
                x=x,
                activations=activations,
                params=perturbed,
                clean=self.clean if rows is None else self.clean[rows],
                forward=forward_of(self, i, "loss", perturbed, rows),
            )
            losses = loss(losses, logits, y, lane)
        total = losses.mean()
        for i, penalty in self.program.acting("penalty"):
            lane = self.lane(
                i,
                "penalty",
                rows=rows,
                index=index,
                x=x,
                y=y,
                activations=activations,
                forward=forward_of(self, i, "penalty", perturbed, rows),
            )
            total = total + penalty(params, lane)
        return total, (logits, buffers)

    def gradient(self, params: Params, num_parts: int, rows: Tensor | None = None) -> Gradient:
        """Differentiate the objective at `params` and apply `grads` stages.

        Args:
            params: the weights.
            num_parts: the `grads` stages of the first so many parts apply.
            rows: [k] int64, the batch's rows to compute on; None = all.
        """
        x, y, index = self.x, self.y, self.index
        if rows is not None:
            x, y, index = x[rows], y[rows], index[rows]
        differentiate = grad_and_value(self.objective, has_aux=True)
        grads, (loss, (logits, buffers)) = differentiate(params, x, y, index, rows)
        for i, act in self.program.acting("grads"):
            if i >= num_parts:
                break
            lane = self.lane(
                i,
                "grads",
                rows=rows,
                index=index,
                x=x,
                y=y,
                logits=logits,
                gradient=gradient_of(self, i),
            )
            grads = act(grads, params, lane)
        return Gradient(grads, loss, logits, buffers)


class Taps:
    """The tap of one forward pass in training: at every call, each part's `hidden` in order."""

    def __init__(
        self,
        step: Step,
        site: tuple[int, ...],
        index: Tensor,
        rows: Tensor | None,
        activations: list[Tensor] | None,
    ) -> None:
        """Make a tap.

        Args:
            step: the step that the forward pass belongs to.
            site: which forward pass of the step it is.
            index: [n] int64, which training examples go through it.
            rows: [n] int64, the batch's rows; None = all.
            activations: the list to append each tap's output to, if they are wanted.
        """
        self.step, self.site, self.index, self.rows = step, site, index, rows
        self.activations = activations
        self.count = 0  #: taps reached so far

    def __call__(self, h: Tensor, kind: str = "hidden") -> Tensor:
        """Apply the parts' `hidden` to an activation."""
        tap, self.count = self.count, self.count + 1
        for i, hidden in self.step.program.acting("hidden"):
            lane = self.step.lane(
                i, "hidden", (*self.site, tap), self.rows, index=self.index, tap=tap, kind=kind
            )
            h = hidden(h, lane)
        if self.activations is not None:
            self.activations.append(h)
        return h


def untapped(h: Tensor, kind: str = "hidden") -> Tensor:
    """Return `h`: the tap of evaluation and of attacks, where nothing acts."""
    return h


def forward_of(
    step: Step, part: int, stage: str, params: Params, rows: Tensor | None = None
) -> Callable[..., Tensor]:
    """Return `lane.forward` of one part at one stage.

    Each call of it with `train=True` gets draws that no other call gets. It is a function, not an
    object: no attribute of it leads to the step, which knows which examples are corrupted.

    Args:
        step: the step that is traced.
        part: the part's number.
        stage: the stage's name.
        params: the weights that it uses by default.
        rows: [k] int64, the batch's rows that are computed; None = all.
    """
    default_params, calls = params, 0
    site = (1 + STAGES.index(stage), spell(step.program.parts[part].name))

    def forward(x: Tensor, params: Params | None = None, train: bool = False) -> Tensor:
        nonlocal calls
        if params is None:
            params = default_params
        if not train:
            return step.program.logits(params, x, step.buffers)
        calls += 1
        index = step.index if rows is None else step.index[rows]
        taps = Taps(step, (*site, calls), index, rows, None)
        return step.program.forward(params, step.buffers, x, taps)[0]

    return forward


def gradient_of(step: Step, part: int) -> Callable[..., Params]:
    """Return `lane.gradient` of one part: the parts to its left have acted on what it returns.

    It is a function, not an object, for the same reason as `forward_of`.
    """

    def gradient(params: Params, rows: Tensor | None = None) -> Params:
        return step.gradient(params, part, rows).grads

    return gradient


def _where(condition: Tensor, new: Any, old: Any) -> Any:
    """Apply `torch.where` leaf by leaf to two trees of one structure."""
    if isinstance(new, dict):
        return {name: _where(condition, new[name], old[name]) for name in new}
    if isinstance(new, list):
        return [_where(condition, n, o) for n, o in zip(new, old, strict=True)]
    return torch.where(condition, new, old)

"""What is called from inside a step: a network's tap, `lane.forward` and `lane.gradient`. Made by `program.Step`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.func import functional_call
from torch.func import grad_and_value

from membench.api import STAGES
from membench.api import Params
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine import draws
from membench.engine import optim
from membench.engine.contract import call
from membench.engine.lane import LaneView
from membench.engine.lane import Stream
from membench.nn import MOMENTUM
from membench.nn import cross_entropy
from membench.rng import spell


def untapped(h: Tensor, kind: str = "hidden") -> Tensor:
    """The tap of evaluation and of attacks: nothing acts."""
    return h


class Taps:
    """The tap of one forward pass: every part's `hidden`, from left to right, at every call."""

    def __init__(
        self,
        step: Step,
        site: tuple[int, ...],
        index: Tensor,
        rows: Tensor | None,
        seen: list[Tensor] | None,
    ) -> None:
        self.step, self.site, self.index, self.rows, self.seen = step, site, index, rows, seen
        self.count = 0

    def __call__(self, h: Tensor, kind: str = "hidden") -> Tensor:
        tap, self.count = self.count, self.count + 1
        for i, hidden in self.step.program.acting("hidden"):
            site = (*self.site, tap)
            h = hidden(
                h,
                self.step.lane(i, "hidden", site, self.rows, index=self.index, tap=tap, kind=kind),
            )
        if self.seen is not None:
            self.seen.append(h)
        return h


def forward_of(
    step: Step, part: int, stage: str, params: Params, rows: Tensor | None = None
) -> Callable[..., Tensor]:
    """`lane.forward` of one part at one stage; each call with `train=True` gets draws of its own.

    A function, not an object: no attribute of it leads to the step, which knows which examples are corrupted.
    """
    at_hand, calls = params, 0
    site = (1 + STAGES.index(stage), spell(step.program.parts[part].name))

    def forward(x: Tensor, params: Params | None = None, train: bool = False) -> Tensor:
        nonlocal calls
        params = at_hand if params is None else params
        if not train:
            return step.program.logits(params, x, step.buffers)
        calls += 1
        index = step.index if rows is None else step.index[rows]
        return step.program.forward(
            params, step.buffers, x, Taps(step, (*site, calls), index, rows, None)
        )[0]

    return forward


def gradient_of(step: Step, part: int) -> Callable[..., Params]:
    """`lane.gradient` of one part: the parts to its left have acted on what it returns. A function, as `forward_of`."""

    def gradient(params: Params, rows: Tensor | None = None) -> Params:
        return step.gradient(params, part, rows)[0]

    return gradient


Tree = dict[str, Any]
MAIN = (0, 0, 0)  #: the site of the main forward; others are (stage, caller, count) with stage >= 1


@dataclass(frozen=True)
class Program:
    """What all lanes of a pack share: the network, the regularizer's parts and the sizes."""

    module: nn.Module  #: its own weights are never read
    parts: tuple[Regularizer, ...]
    recipe: Recipe
    steps: int
    num_classes: int
    num_examples: int
    pixel_scale: float  #: one grey level in raw units: 1 for uint8, 1/255 for float32
    still: nn.Module = field(
        init=False, repr=False, compare=False
    )  #: `module` in eval mode: by running statistics

    def __post_init__(self) -> None:
        object.__setattr__(self, "still", copy.deepcopy(self.module).eval())

    def acting(self, stage: str) -> list[tuple[int, Any]]:
        """(part number, checked function) of the parts that act at `stage`, from left to right."""
        return [
            (i, partial(call, p, stage))
            for i, p in enumerate(self.parts)
            if getattr(p, stage) is not None
        ]

    def advance(self, var: Tree, fixed: Tree, batch: Tree, t: Tensor) -> Tree:
        """One step: the new `var`. A lane whose loss is not finite keeps its old one and is marked `died` at t."""
        step = Step(self, var["params"], var["states"], fixed, t, var["buffers"])
        step.take_batch(batch)
        grads, loss, logits, buffers = step.gradient(var["params"], len(self.parts))
        params, slots = optim.update(self.recipe, var["params"], grads, var["slots"], step.lr, t)
        for i, weights in self.acting("weights"):
            params = weights(params, step.lane(i, "weights", before=var["params"]))
        states = list(var["states"])
        for i, update in self.acting("update"):
            seen = {
                "before": var["params"],
                "index": step.index,
                "x": step.x,
                "y": step.y,
                "logits": logits,
            }
            states[i] = update(params, step.lane(i, "update", **seen))
        healthy = (var["died"] < 0) & torch.isfinite(loss)
        died = torch.where((var["died"] < 0) & ~healthy, t, var["died"])
        new = {"params": params, "slots": slots, "states": states, "buffers": buffers}
        old = {name: var[name] for name in new}
        return {**_select(healthy, new, old), "died": died}

    def initial_states(self, params: Params, fixed: Tree, t: Tensor) -> list[Tree]:
        """Each part's state before the first step; {} where it keeps none."""
        step = Step(self, params, [{}] * len(self.parts), fixed, t, {})
        states: list[Tree] = [{} for _ in self.parts]
        for i, init in self.acting("init"):
            states[i] = init(params, step.lane(i, "init"))
        return states

    def readout(self, var: Tree, fixed: Tree, t: Tensor) -> Params:
        """The weights that are evaluated after step t - 1."""
        step, params = (
            Step(self, var["params"], var["states"], fixed, t, var["buffers"]),
            var["params"],
        )
        for i, readout in self.acting("readout"):
            params = readout(params, step.lane(i, "readout"))
        return params

    def logits(self, params: Params, x: Tensor, buffers: Params | None = None) -> Tensor:
        """Evaluation: no stage acts, batch norm goes by the running statistics in `buffers`."""
        return functional_call(self.still, {**params, **(buffers or {})}, (x, untapped))

    def forward(
        self, params: Params, buffers: Params, x: Tensor, tap: Callable[..., Tensor]
    ) -> tuple[Tensor, Params]:
        """Training mode: batch norm goes by the batch. The logits, and the running statistics moved on by this batch.

        `functional_call` writes what a module assigns to its buffers back into the dict that it was given.
        """
        tensors = {**params, **buffers}
        logits = functional_call(self.module, tensors, (x, tap))
        return logits, {name: tensors[name] for name in buffers}

    def statistics(self, params: Params, batches: Tensor, buffers: Params) -> Params:
        """Running statistics anew for `params`: the mean over clean batches [b, n, c, h, w], all counted alike."""
        zero = {name: torch.zeros_like(b) for name, b in buffers.items()}
        parts = [self.forward(params, zero, x, untapped)[1] for x in batches.unbind()]
        return {name: sum(p[name] for p in parts) / (MOMENTUM * len(parts)) for name in buffers}


def _select(healthy: Tensor, new: Any, old: Any) -> Any:
    """`where(healthy, new, old)` leaf by leaf."""
    if isinstance(new, dict):
        return {k: _select(healthy, new[k], old[k]) for k in new}
    if isinstance(new, list):
        return [_select(healthy, n, o) for n, o in zip(new, old, strict=True)]
    return torch.where(healthy, new, old)


class Step:
    """One lane's step while it is being traced: what the lanes of all its stages have in common."""

    def __init__(
        self,
        program: Program,
        params: Params,
        states: list[Tree],
        fixed: Tree,
        t: Tensor,
        buffers: Params,
    ) -> None:
        self.program, self.params, self.states, self.buffers = program, params, states, buffers
        self.strengths = fixed["strengths"]
        progress = t.to(torch.float32) / program.steps
        self.lr = optim.rate(program.recipe, progress)
        key = draws.chain_tensor(fixed["key"], t[None])
        self.keys = [draws.chain_tensor(key, spell(part.name)) for part in program.parts]
        self.common = {
            "step": t,
            "steps": program.steps,
            "progress": progress,
            "lr": self.lr,
            "num_classes": program.num_classes,
            "num_examples": program.num_examples,
            "pixel": (program.pixel_scale / fixed["std"])[:, None, None],
            "initial": fixed["initial"],
        }

    def lane(
        self,
        i: int,
        stage: str,
        site: tuple[int, ...] = (),
        rows: Tensor | None = None,
        **fields: Any,
    ) -> LaneView:
        """Part i's lane at `stage`."""
        if stage != "init":
            fields["state"] = self.states[i]
        if "clean" in fields and self.program.parts[i].group != "control":
            del fields["clean"]
        stream = Stream(self.keys[i], stage, site, rows)
        return LaneView(stream, {**self.common, **fields, "strength": self.strengths[i]})

    def take_batch(self, batch: Tree) -> None:
        """The `batch` stages; what they return is a constant of the objective."""
        self.index, self.clean = batch["index"], batch["clean"]
        x, y = batch["x"], batch["y"]
        self.x = x
        for i, act in self.program.acting("batch"):
            forward = forward_of(self, i, "batch", self.params)
            x, y = act(
                x, y, self.lane(i, "batch", index=self.index, clean=self.clean, forward=forward)
            )
        self.x, self.y = x.detach(), y.detach()

    def objective(
        self, params: Params, x: Tensor, y: Tensor, index: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Params]]:
        """f of the module docstring, on the batch's `rows`: 0-d, (logits, buffers that the main forward moved on)."""
        q = params
        for i, perturb in self.program.acting("perturb"):
            q = perturb(
                q, self.lane(i, "perturb")
            )  # draws for weights: a matrix of as many rows is not the batch
        activations: list[Tensor] = []
        logits, buffers = self.program.forward(
            q, self.buffers, x, Taps(self, MAIN, index, rows, activations)
        )
        losses = cross_entropy(logits, y)
        seen = {"rows": rows, "index": index, "x": x, "activations": activations}
        for i, loss in self.program.acting("loss"):
            clean = self.clean if rows is None else self.clean[rows]
            forward = forward_of(self, i, "loss", q, rows)
            losses = loss(
                losses,
                logits,
                y,
                self.lane(i, "loss", params=q, clean=clean, forward=forward, **seen),
            )
        total = losses.mean()
        for i, penalty in self.program.acting("penalty"):
            forward = forward_of(self, i, "penalty", q, rows)
            total = total + penalty(params, self.lane(i, "penalty", y=y, forward=forward, **seen))
        return total, (logits, buffers)

    def gradient(
        self, params: Params, count: int, rows: Tensor | None = None
    ) -> tuple[Params, Tensor, Tensor, Params]:
        """grad f at `params` after the `grads` stages of the first `count` parts; f, logits and buffers."""
        x, y, index = self.x, self.y, self.index
        if rows is not None:
            x, y, index = x[rows], y[rows], index[rows]
        grads, (loss, (logits, buffers)) = grad_and_value(self.objective, has_aux=True)(
            params, x, y, index, rows
        )
        for i, act in self.program.acting("grads"):
            if i < count:
                seen = {"rows": rows, "index": index, "x": x, "y": y, "logits": logits}
                grads = act(
                    grads, params, self.lane(i, "grads", gradient=gradient_of(self, i), **seen)
                )
        return grads, loss, logits, buffers

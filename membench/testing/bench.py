"""One regularizer's tiny runs, and single steps whose stages can be called by hand; made when first asked for."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.contract import call
from membench.engine.step import MAIN
from membench.engine.step import Step
from membench.engine.step import Taps
from membench.engine.step import forward_of
from membench.engine.step import gradient_of
from membench.engine.step import untapped
from membench.engine.trainer import Trainer
from membench.nn import cross_entropy
from membench.testing.check import NotApplicable
from membench.testing.check import Subject
from membench.testing.side_effects import Audit
from membench.testing.side_effects import fingerprint
from membench.testing.toy import MLP
from membench.testing.toy import ToyRun
from membench.testing.toy import lane_data
from membench.testing.toy import lanes_of
from membench.testing.toy import one_lane
from membench.testing.watched_lane import WatchedLane

EPOCHS = 4  #: of three steps; the whole budget, so that what begins late begins
Setting = tuple[float, ...]


class Bench:
    """Everything that the checks of one regularizer share."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.entry = subject, subject.entry
        self.parts: tuple[Regularizer, ...] = subject.records
        if not self.entry.acts_on:
            raise NotApplicable("it acts at no stage")
        self.strengths: tuple[Setting, ...] = self.entry.strengths
        self.off: Setting = self.entry.off
        self.trespasses: list[str] = []
        self.drawn: Counter[str] = Counter()  #: (draws by stage) that the calls by hand asked for
        self.audit = Audit(subject.paths)
        self.kept_before = fingerprint(self.parts, subject.paths)
        self.called: dict[str, Any] = {}

    @property
    def strongest(self) -> Setting:
        return self.strengths[-1]

    @property
    def near(self) -> Setting:
        """A thousandth of the way from off to the weakest strength."""
        pairs = zip(self.off, self.strengths[0], strict=True)
        return tuple(
            1e4 * max(1.0, abs(s)) if math.isinf(off) else off + 1e-3 * (s - off)
            for off, s in pairs
        )

    @property
    def roles(self) -> list[str]:
        """The stages of a single regularizer.

        Raises:
            NotApplicable: it is a composition, whose parts have checks of their own.
        """
        if len(self.parts) > 1:
            raise NotApplicable("its parts are checked by themselves")
        return list(self.parts[0].acts_on)

    def role(self, *stages: str) -> list[str]:
        """Those of the stages where it acts.

        Raises:
            NotApplicable: it acts at none of them.
        """
        found = [stage for stage in self.roles if stage in stages]
        if not found:
            raise NotApplicable(f"it does not act at {', '.join(stages)}")
        return found

    def world(
        self,
        *settings: Setting,
        architecture: Architecture = MLP,
        parts: tuple[Regularizer, ...] | None = None,
        batch: int = 8,
    ) -> ToyRun:
        """Lanes that differ in the strength alone; three steps an epoch.

        Raises:
            NotApplicable: the regularizer's own `skip` says that it cannot act on this network.
        """
        self.ask_skip(architecture)
        data = lanes_of(lane_data(1, n=3 * batch), [0] * len(settings))
        recipe = Recipe(lr=0.1, batch=batch, epochs=EPOCHS)
        chosen, seeds = self.parts if parts is None else parts, (0,) * len(settings)
        return ToyRun(chosen, settings, architecture, recipe, 3 * EPOCHS, data=data, seeds=seeds)

    def ask_skip(self, architecture: Architecture) -> None:
        """Raises `NotApplicable` with the reason that a part gives for not acting on the network."""
        from membench.engine.network import inspect_network
        from membench.testing.toy import CLASSES
        from membench.testing.toy import SHAPE

        for part in self.parts:
            reason = part.skip(inspect_network(architecture, SHAPE, CLASSES)) if part.skip else None
            if reason is not None:
                raise NotApplicable(f"it skips the {architecture.name}: {reason}")

    @cached_property
    def grid(self) -> Trainer:
        """Trained lanes: off, a hair from off, then each strength."""
        return self.world(self.off, self.near, *self.strengths).trained(epochs=EPOCHS)

    @cached_property
    def alone(self) -> Trainer:
        """The strongest lane of `grid`, by itself."""
        return self.world(self.strongest).trained(epochs=EPOCHS)

    def step(self, setting: Setting, t: int = 2, key: int | None = None, **how: Any) -> Step:
        """One lane's step t by hand, its batch taken."""
        world = self.world(setting, **how)
        trainer = world.trainer()
        if key is not None:
            trainer.fixed["key"] = torch.full_like(trainer.fixed["key"], key)
        return one_lane(trainer, world.orders()[0], t)

    def give(self, step: Step, stage: str) -> tuple[tuple[Any, ...], WatchedLane]:
        """What the function at the stage gets in this step: its tensors and its lane."""
        args, fields = stage_inputs(step, stage)
        return args, WatchedLane(step.lane(0, stage, **fields), self.trespasses, self.drawn)

    def act(self, step: Step, stage: str) -> Any:
        """The function's result in this step, checked for shapes."""
        args, lane = self.give(step, stage)
        return call(step.program.parts[0], stage, *args, lane)

    def by_hand(
        self, stage: str, setting: Setting, tensors: tuple[Any, ...], fields: dict[str, Any]
    ) -> Any:
        """The function at the stage on these tensors, in a lane with these fields beside its own."""
        step = self.step(setting)
        lane = step.lane(0, stage, **{**stage_inputs(step, stage)[1]})
        vars(lane).update(fields)
        return call(self.parts[0], stage, *tensors, lane)

    def first_call(self, stage: str) -> BaseException | None:
        """What the first call at the stage raises, at the strongest strength; remembered, and watched."""
        if stage not in self.called:
            try:
                step = self.step(self.strongest)
                self.act(step, stage)
                with self.audit:
                    self.act(step, stage)
                self.called[stage] = None
            except NotApplicable:
                raise
            except (Exception, SystemExit) as error:
                self.called[stage] = error
        return self.called[stage]


@lru_cache(maxsize=16)
def plain_run(architecture: Architecture, lanes: int, epochs: int) -> Trainer:
    """Trained lanes without a regularizer, on the data of every `Bench.world`."""
    data = lanes_of(lane_data(1, n=24), [0] * lanes)
    recipe = Recipe(lr=0.1, batch=8, epochs=EPOCHS)
    world = ToyRun(
        (), ((0.0,),) * lanes, architecture, recipe, 3 * EPOCHS, data=data, seeds=(0,) * lanes
    )
    return world.trained(epochs=epochs)


def stage_inputs(step: Step, stage: str) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: PLR0911 - one a stage
    """The first part's tensors at the stage, and the lane's further fields, as the engine gives them."""
    p, forward, index = step.params, forward_of(step, 0, stage, step.params), {"index": step.index}
    batch = {**index, "x": step.x, "y": step.y}
    if stage == "batch":
        return (step.x, step.y), {**index, "clean": step.clean, "forward": forward}
    if stage == "hidden":
        h: list[Tensor] = []
        step.program.forward(p, step.buffers, step.x, lambda v, kind="hidden": h.append(v) or v)
        return (h[0].detach(),), {**index, "tap": 0, "kind": "hidden"}
    if stage in ("perturb", "init"):
        return (p,), {}
    if stage == "grads":
        logits, _ = step.program.forward(p, step.buffers, step.x, untapped)
        return (step.gradient(p, 0)[0], p), {
            **batch,
            "logits": logits,
            "gradient": gradient_of(step, 0),
        }
    activations: list[Tensor] = []
    logits, _ = step.program.forward(
        p, step.buffers, step.x, Taps(step, MAIN, step.index, None, activations)
    )
    if stage == "loss":
        fields = {
            **index,
            "x": step.x,
            "params": p,
            "clean": step.clean,
            "forward": forward,
            "activations": activations,
        }
        return (cross_entropy(logits, step.y).detach(), logits.detach(), step.y), fields
    if stage == "penalty":
        return (p,), {**batch, "forward": forward, "activations": activations}
    moved = tree_map(lambda w: w + 0.01 * (1 + w), p)  # what an optimizer's step may have done
    further = {
        "weights": {"before": p},
        "update": {**batch, "before": p, "logits": logits},
        "readout": {},
    }
    return (moved,), further[stage]


def strength_text(setting: Setting) -> str:
    """`0.5,0.3`."""
    return ",".join(f"{s:g}" for s in setting)

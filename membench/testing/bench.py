"""The tiny runs of one regularizer that its checks share, and steps to call single stages of.

Everything is made when it is first asked for. Runs train the networks of `toy`, three steps an
epoch.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cached_property
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.contract import call
from membench.engine.network import inspect_network
from membench.engine.step import MAIN
from membench.engine.step import Step
from membench.engine.step import Taps
from membench.engine.step import forward_of
from membench.engine.step import gradient_of
from membench.engine.step import untapped
from membench.engine.trainer import Trainer
from membench.engine.trainer import clone_tree
from membench.nn import cross_entropy
from membench.registry.entry import PluginEntry
from membench.testing.check import NotApplicable
from membench.testing.side_effects import Audit
from membench.testing.side_effects import fingerprint
from membench.testing.toy import CLASSES
from membench.testing.toy import MLP
from membench.testing.toy import NETWORKS
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.toy import lane_data
from membench.testing.toy import one_lane
from membench.testing.watched_lane import WatchedLane

EPOCHS = 4  #: the whole budget, so that what begins late in training begins
STEPS_PER_EPOCH = 3
BATCH = 8
Setting = tuple[float, ...]  #: one strength of each part


class Bench:
    """The runs and calls that the checks of one regularizer share.

    Args:
        entry: The registered regularizer.
        parts: Its live records: one, or a composition's parts.
        paths: The files that define it.
        architecture: The network of its runs, where a check names no other.

    Raises:
        NotApplicable: It acts at no stage.
    """

    def __init__(
        self,
        entry: PluginEntry,
        parts: tuple[Regularizer, ...],
        paths: tuple[str, ...],
        architecture: Architecture = MLP,
    ) -> None:
        if not entry.acts_on:
            raise NotApplicable("it acts at no stage")
        self.entry = entry
        self.parts = parts
        self.architecture = architecture
        self.strengths: tuple[Setting, ...] = entry.strengths
        self.off: Setting = entry.off
        self.violations: list[str] = []  #: what the calls by hand reached for behind the lane
        self.draw_counts: Counter[str] = Counter()  #: draws of the calls by hand, by method
        self.audit = Audit(paths)
        self.fingerprint_before = fingerprint(parts, paths)
        self._first_errors: dict[str, BaseException | None] = {}  #: by stage

    @property
    def strongest(self) -> Setting:
        """The last of the strengths."""
        return self.strengths[-1]

    @property
    def barely_on(self) -> Setting:
        """A thousandth of the way from off to the weakest strength; large if off is infinite."""
        setting = []
        for off, weakest in zip(self.off, self.strengths[0], strict=True):
            if math.isinf(off):
                setting.append(1e4 * max(1.0, abs(weakest)))
            else:
                setting.append(off + 1e-3 * (weakest - off))
        return tuple(setting)

    @property
    def stages(self) -> list[str]:
        """The stages where a single regularizer acts.

        Raises:
            NotApplicable: It is a composition, whose parts have checks of their own.
        """
        if len(self.parts) > 1:
            raise NotApplicable("its parts are checked by themselves")
        return list(self.parts[0].acts_on)

    def stages_among(self, *stages: str) -> list[str]:
        """Return those of the stages where it acts.

        Raises:
            NotApplicable: It acts at none of them, or is a composition.
        """
        acting = [stage for stage in self.stages if stage in stages]
        if not acting:
            raise NotApplicable(f"it does not act at {', '.join(stages)}")
        return acting

    def toy_run(
        self,
        *settings: Setting,
        architecture: Architecture | None = None,
        parts: tuple[Regularizer, ...] | None = None,
        batch: int = BATCH,
    ) -> ToyRun:
        """Describe lanes that differ in the strength alone: same seed, images and labels.

        Args:
            *settings: The strengths of each lane.
            architecture: The network, instead of the bench's own.
            parts: What to train with instead of the regularizer's own parts.
            batch: Examples in a batch, a third of the training images.

        Returns:
            The lanes, not yet trained.

        Raises:
            NotApplicable: The regularizer's own `skip` says that it cannot act on this network.
        """
        architecture = architecture or self.architecture
        self.check_not_skipped(architecture)
        return _equal_lanes(self.parts if parts is None else parts, settings, architecture, batch)

    def check_not_skipped(self, architecture: Architecture) -> None:
        """Ask each part whether it can act on the network.

        Raises:
            NotApplicable: A part cannot; with its reason.
        """
        reason = skip_reason(self.parts, architecture)
        if reason is not None:
            raise NotApplicable(f"it skips the {architecture.name}: {reason}")

    @cached_property
    def grid_run(self) -> Trainer:
        """Trained lanes: off, barely on, then each strength."""
        return self.toy_run(self.off, self.barely_on, *self.strengths).trained(epochs=EPOCHS)

    @cached_property
    def strongest_epochs(self) -> list[Trainer]:
        """The strongest lane of `grid_run`, trained alone: as it was after each epoch."""
        run = self.toy_run(self.strongest)
        trainer = run.trainer()
        after_epochs = []
        for order in run.orders(epochs=EPOCHS):
            trainer.train_epoch(order)
            after_epochs.append(_snapshot(trainer))
        return after_epochs

    @property
    def strongest_run(self) -> Trainer:
        """The strongest lane of `grid_run`, trained alone."""
        return self.strongest_epochs[-1]

    def step(
        self,
        setting: Setting,
        batch: int = BATCH,
        parts: tuple[Regularizer, ...] | None = None,
    ) -> Step:
        """Prepare the third step of one lane, its batch drawn and its `batch` stages taken.

        Args:
            setting: The lane's strengths.
            batch: Examples in the batch.
            parts: What to train with instead of the regularizer's own parts.

        Returns:
            The step, neither compiled nor stacked.
        """
        run = self.toy_run(setting, batch=batch, parts=parts)
        return one_lane(run.trainer(), run.orders()[0], t=2)

    def stage_arguments(self, step: Step, stage: str) -> tuple[tuple[Any, ...], WatchedLane]:
        """Return what the function at the stage gets in this step: its tensors and its lane."""
        tensors, fields = stage_inputs(step, stage)
        lane = WatchedLane(step.lane(0, stage, **fields), self.violations, self.draw_counts)
        return tensors, lane

    def call_stage(self, step: Step, stage: str) -> Any:
        """Return the result of the function at the stage in this step, its shapes checked."""
        tensors, lane = self.stage_arguments(step, stage)
        return call(step.program.parts[0], stage, *tensors, lane)

    def call_on_tensors(
        self, stage: str, setting: Setting, tensors: tuple[Any, ...], fields: dict[str, Any]
    ) -> Any:
        """Call the function at a stage on given tensors.

        Args:
            stage: Where it acts.
            setting: The lane's strengths.
            tensors: The function's arguments before the lane.
            fields: Fields of the lane to replace or to add.

        Returns:
            The function's result, its shapes checked.
        """
        step = self.step(setting)
        lane = step.lane(0, stage, **stage_inputs(step, stage)[1])
        vars(lane).update(fields)
        return call(self.parts[0], stage, *tensors, lane)

    def first_call_error(self, stage: str) -> BaseException | None:
        """Call the function at the stage twice at the strongest strength, then under audit.

        It is called once for all checks: the outcome is remembered.

        Returns:
            What the function raised, or None.

        Raises:
            NotApplicable: The regularizer skips the network.
        """
        if stage not in self._first_errors:
            try:
                step = self.step(self.strongest)
                self.call_stage(step, stage)
                with self.audit:
                    self.call_stage(step, stage)
                self._first_errors[stage] = None
            except NotApplicable:
                raise
            except (Exception, SystemExit) as error:
                self._first_errors[stage] = error
        return self._first_errors[stage]


def skip_reason(parts: Iterable[Regularizer], architecture: Architecture) -> Any:
    """Return the first answer of a part's `skip` about a network that is not None."""
    for part in parts:
        if part.skip is not None:
            reason = part.skip(inspect_network(architecture, SHAPE, CLASSES))
            if reason is not None:
                return reason
    return None


def reasons_to_skip(parts: Sequence[Regularizer]) -> dict[str, Any]:
    """Return the answers of `skip` about the networks of `toy` that it refuses, by their names."""
    reasons = {network.name: skip_reason(parts, network) for network in NETWORKS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _equal_lanes(
    parts: tuple[Regularizer, ...],
    settings: tuple[Setting, ...],
    architecture: Architecture,
    batch: int = BATCH,
) -> ToyRun:
    """Describe lanes that differ in the strength alone; arguments as of `Bench.toy_run`."""
    lanes = len(settings)
    return ToyRun(
        regularizers=parts,
        strengths=settings,
        architecture=architecture,
        recipe=Recipe(lr=0.1, batch=batch, epochs=EPOCHS),
        steps=STEPS_PER_EPOCH * EPOCHS,
        data=lane_data(1, n=STEPS_PER_EPOCH * batch).of_lanes([0] * lanes),
        seeds=(0,) * lanes,
    )


def _snapshot(trainer: Trainer) -> Trainer:
    """Copy a trainer as it is now: training goes on without changing the copy."""
    snapshot = copy.copy(trainer)
    snapshot.state = clone_tree(trainer.state)
    snapshot.step_index = trainer.step_index.clone()
    return snapshot


def plain_toy_run(
    architecture: Architecture, lanes: int, parts: tuple[Regularizer, ...] = ()
) -> ToyRun:
    """Describe lanes as `Bench.toy_run` does, without a regularizer or with others at off.

    Args:
        architecture: The network.
        lanes: Equal lanes to stack.
        parts: Regularizers whose off is 0.
    """
    off = (0.0,) * max(1, len(parts))
    return _equal_lanes(parts, (off,) * lanes, architecture)


@lru_cache(maxsize=16)
def plain_run(architecture: Architecture, lanes: int, epochs: int) -> Trainer:
    """Train lanes without a regularizer, with the seed and the data of every `Bench.toy_run`.

    Args:
        architecture: The network.
        lanes: Equal lanes to stack.
        epochs: Epochs to train.

    Returns:
        The trainer after the last epoch. It is shared: do not train it further.
    """
    return plain_toy_run(architecture, lanes).trained(epochs=epochs)


def stage_inputs(step: Step, stage: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the engine gives to the first part at a stage.

    Args:
        step: One lane's step, its batch drawn.
        stage: A name of `membench.api.STAGES`.

    Returns:
        The function's tensors, and the fields of its lane beside the common ones.
    """
    params = step.params
    index = {"index": step.index}
    batch = {**index, "x": step.x, "y": step.y}
    forward = forward_of(step, 0, stage, params)

    if stage == "batch":
        return (step.x, step.y), {**index, "clean": step.clean, "forward": forward}
    if stage in ("perturb", "init"):
        return (params,), {}
    if stage == "hidden":
        hidden = _hidden_layers(step)[0]
        return (hidden.detach(),), {**index, "tap": 0, "kind": "hidden"}
    if stage == "grads":
        logits, _ = step.program.forward(params, step.buffers, step.x, untapped)
        fields = {**batch, "logits": logits, "gradient": gradient_of(step, 0)}
        return (step.gradient(params, 0)[0], params), fields

    activations: list[Tensor] = []
    taps = Taps(step, MAIN, step.index, None, activations)
    logits, _ = step.program.forward(params, step.buffers, step.x, taps)
    if stage == "loss":
        fields = {
            **index,
            "x": step.x,
            "params": params,
            "clean": step.clean,
            "forward": forward,
            "activations": activations,
        }
        return (cross_entropy(logits, step.y).detach(), logits.detach(), step.y), fields
    if stage == "penalty":
        return (params,), {**batch, "forward": forward, "activations": activations}

    # What an optimizer's step may have made of the weights.
    stepped = tree_map(lambda w: w + 0.01 * (1 + w), params)
    fields_after_step: dict[str, dict[str, Any]] = {
        "weights": {"before": params},
        "update": {
            **batch,
            "before": params,
            "logits": logits,
            "grads": step.gradient(params, 1).grads,
            "gradient": gradient_of(step, 0),
            "forward": forward_of(step, 0, stage, stepped),
        },
        "readout": {},
    }
    return (stepped,), fields_after_step[stage]


def _hidden_layers(step: Step) -> list[Tensor]:
    """Return what the network hands to its taps."""
    layers: list[Tensor] = []

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        layers.append(h)
        return h

    step.program.forward(step.params, step.buffers, step.x, tap)
    return layers


def strength_text(setting: Setting) -> str:
    """Return the strengths of a setting as text, such as `0.5,0.3`."""
    return ",".join(f"{strength:g}" for strength in setting)

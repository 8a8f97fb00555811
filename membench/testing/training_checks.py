"""Checks that train a handful of lanes for a dozen steps, stacked as the engine stacks them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Regularizer
from membench.engine.trainer import Trainer
from membench.testing.bench import EPOCHS
from membench.testing.bench import STEPS_PER_EPOCH
from membench.testing.bench import Bench
from membench.testing.bench import plain_run
from membench.testing.bench import strength_text
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject
from membench.testing.toy import CNN
from membench.testing.toy import MLP
from membench.testing.toy import VIT
from membench.testing.toy import WIDE
from membench.testing.toy import bitwise_equal
from membench.testing.toy import lane_of
from membench.testing.toy import max_abs_diff

ROUNDING = 1e-5  #: what off may change of weights, in a dozen steps that round elsewhere
OFF, BARELY_ON = 0, 1  #: lanes of `Bench.grid_run`; those of the strengths follow


def source_of_stage(bench: Bench, stage: str = "") -> str:
    """Return the place of the function at a stage, or of the first function if none acts there."""
    for part in bench.parts:
        if stage and getattr(part, stage) is not None:
            return source_location(getattr(part, stage))
    first = bench.parts[0]
    return source_location(getattr(first, first.acts_on[0]))


def train_plain_networks() -> None:
    """Train the plain networks that the checks of any regularizer are held to: they are kept."""
    strengths = 5  # as in nearly every grid
    plain_run(MLP, BARELY_ON + 1 + strengths, EPOCHS)
    for network in (CNN, VIT):
        plain_run(network, 2, 1)


def evaluated_weights(trainer: Trainer) -> list[dict[str, Tensor]]:
    """Return the weights that are evaluated, after `readout`, of each lane."""
    readout = vmap(trainer.program.readout, in_dims=(0, 0, None))
    weights = readout(trainer.state, trainer.constants, trainer.step_index)
    return [lane_of(weights, lane) for lane in range(len(trainer.data.rows))]


# --- the grid of strengths ------------------------------------------------------------------------


def stacks(subject: Subject) -> None:
    """Check that a run stacks: off, barely on and all strengths train side by side."""
    _ = subject.bench.grid_run


def off_run(subject: Subject) -> str:
    """Check that training at off is training without it: weights, optimizer slots, evaluation."""
    bench = subject.bench
    lanes = len(bench.grid_run.data.rows)
    difference = _check_off(bench, bench.grid_run, plain_run(bench.architecture, lanes, EPOCHS))
    return f"up to rounding, {difference:.1e}" if difference else "to the last bit"


def _check_off(bench: Bench, trainer: Trainer, plain: Trainer) -> float:
    """Compare the first lane, which is at off, with that of a plain run.

    Returns:
        The largest difference of weights and slots, which is of the size of rounding.
    """
    largest = 0.0
    for name in ("params", "slots"):
        values = lane_of(trainer.state[name], OFF)
        expected = lane_of(plain.state[name], OFF)
        if bitwise_equal(values, expected):
            continue
        difference = max_abs_diff(values, expected)
        if not difference <= ROUNDING:  # NaN is not
            raise Fault(
                f"after training at off, {name} differ from the plain network's "
                f"by up to {difference:.2g}",
                source_of_stage(bench),
            )
        largest = max(largest, difference)
    loss = trainer.evaluate(trainer.data.rows, trainer.data.labels).loss[OFF]
    plain_loss = plain.evaluate(plain.data.rows, plain.data.labels).loss[OFF]
    difference = abs(loss.item() - plain_loss.item())
    if not difference <= (ROUNDING if largest else 0):
        raise Fault(
            f"at off, the evaluated loss differs from the plain network's by {difference:.2g}",
            source_of_stage(bench, "readout"),
        )
    return largest


def acts(subject: Subject) -> str:
    """Check that the strongest strength changes the weights, and is not the second strongest.

    The weights are those that are evaluated.
    """
    bench = subject.bench
    weights = evaluated_weights(bench.grid_run)
    strongest = strength_text(bench.strongest)
    if bitwise_equal(weights[-1], weights[OFF]):
        raise Fault(
            f"the strongest strength, {strongest}, trains what off trains", source_of_stage(bench)
        )
    second = strength_text(bench.strengths[-2])
    if bitwise_equal(weights[-1], weights[-2]) and _are_alike_on_a_wide_network(bench):
        raise Fault(f"strengths {second} and {strongest} train the same", source_of_stage(bench))
    return f"moves the weights by up to {max_abs_diff(weights[-1], weights[OFF]):.2g}"


def _are_alike_on_a_wide_network(bench: Bench) -> bool:
    """Tell whether the two strongest strengths train the same where there are 100 units too.

    A share of six units is the same number of units for strengths that are close.
    """
    run = bench.toy_run(*bench.strengths[-2:], architecture=WIDE)
    second, strongest = evaluated_weights(run.trained(epochs=1))
    return bitwise_equal(second, strongest)


def near_off(subject: Subject) -> None:
    """Check that a strength that is barely on does nearly nothing.

    Allowed are a tenth of the largest effect in the grid and a thousandth of a weight.
    """
    bench = subject.bench
    weights = evaluated_weights(bench.grid_run)
    effects = [max_abs_diff(lane, weights[OFF]) for lane in weights]
    largest = max((e for e in effects[BARELY_ON + 1 :] if not math.isnan(e)), default=0.0)
    if not effects[BARELY_ON] <= 0.1 * largest + 1e-3:  # NaN is not
        raise Fault(
            f"strength {strength_text(bench.barely_on)} moves the weights "
            f"by {effects[BARELY_ON]:.2g}, off ({strength_text(bench.off)}) by none",
            source_of_stage(bench),
        )


def finite(subject: Subject) -> None:
    """Check that losses, evaluated weights and logits are finite at every strength."""
    bench = subject.bench
    trainer = bench.grid_run
    settings = (bench.off, bench.barely_on, *bench.strengths)
    all_finite = trainer.evaluate(trainer.data.rows, trainer.data.labels)[2]
    for lane, setting in enumerate(settings):
        died = int(trainer.state["diverged_at"][lane])
        if died >= 0:
            at = f"at off ({strength_text(setting)}) and beyond"
            if lane != OFF:
                at = f"at strength {strength_text(setting)}"
            raise Fault(
                f"{at} the loss of step {died} is not finite",
                source_of_stage(bench),
            )
        if not all_finite[lane]:
            raise Fault(
                f"at strength {strength_text(setting)} weights or logits are not finite "
                f"after {STEPS_PER_EPOCH * EPOCHS} steps",
                source_of_stage(bench),
            )


# --- what a lane may depend on --------------------------------------------------------------------


def repeats(subject: Subject) -> None:
    """Check that training twice from the start gives the same weights to the last bit."""
    bench = subject.bench
    again = bench.toy_run(bench.strongest).trained(epochs=EPOCHS)
    if not bitwise_equal(bench.strongest_run.state, again.state):
        raise Fault("the same run gives other weights the second time", source_of_stage(bench))


def draws(subject: Subject) -> str:
    """Check that a regularizer that draws trains other weights from another key.

    At one strength at least it must.
    """
    bench = subject.bench
    for stage in bench.stages:
        bench.first_call_error(stage)
    if not bench.draw_counts:
        raise NotApplicable("it draws no random number")
    run = bench.toy_run(bench.off, bench.barely_on, *bench.strengths)
    other = replace(run, key=77).trained(epochs=EPOCHS)
    first = BARELY_ON + 1
    weights = evaluated_weights(bench.grid_run)[first:]
    other_weights = evaluated_weights(other)[first:]
    if all(bitwise_equal(a, b) for a, b in zip(weights, other_weights, strict=True)):
        raise Fault(
            "it draws random numbers, and another key trains the same weights",
            source_of_stage(bench),
        )
    return f"{sum(bench.draw_counts.values())} calls of {', '.join(bench.draw_counts)}"


def neighbours(subject: Subject) -> None:
    """Check that a lane alone is the same lane among others, up to rounding.

    Another number of lanes may take other kernels, hence the tolerance.
    """
    bench = subject.bench
    among_others = lane_of(bench.grid_run.state, len(bench.strengths) + BARELY_ON)
    difference = max_abs_diff(lane_of(bench.strongest_run.state, 0), among_others)
    if not difference <= 1e-4:  # NaN is not
        raise Fault(
            f"alone, the lane's weights differ by {difference:.2g} from those it has among others",
            source_of_stage(bench),
        )


def interrupted(subject: Subject) -> None:
    """Check that a run taken up half-way by a new trainer ends where an uninterrupted one does.

    In between, another run goes on in this process.
    """
    bench = subject.bench
    run = bench.toy_run(bench.strongest)
    orders = run.orders(epochs=EPOCHS)
    first = bench.strongest_epochs[EPOCHS // 2 - 1]
    bench.toy_run(bench.strengths[0]).trained(epochs=1)
    second = run.trainer()
    second.state = tree_map(torch.clone, first.state)
    second.step_index = first.step_index.clone()
    for order in orders[EPOCHS // 2 :]:
        second.train_epoch(order)
    if not bitwise_equal(second.state, bench.strongest_run.state):
        raise Fault(
            "stopped half-way and taken up again, the run ends elsewhere",
            source_of_stage(bench, "update"),
        )


# --- other networks, other regularizers -----------------------------------------------------------


def on_cnn(subject: Subject) -> None:
    """Check that it works on taps of [n, c, h, w], on a branch, and on matrices of other shapes."""
    _check_network(subject.bench, CNN)


def on_vit(subject: Subject) -> None:
    """Check that it works on taps of [n, tokens, features], on branches, on weights of one axis."""
    _check_network(subject.bench, VIT)


def _check_network(bench: Bench, network: Architecture) -> None:
    """Train off and the strongest strength: the first is the plain network, both stay finite."""
    trainer = bench.toy_run(bench.off, bench.strongest, architecture=network).trained(epochs=1)
    _check_off(bench, trainer, plain_run(network, 2, 1))
    if trainer.state["diverged_at"].tolist() != [-1, -1]:
        raise Fault(
            f"on the {network.name} the loss is not finite "
            f"at strength {strength_text(bench.strongest)}",
            source_of_stage(bench),
        )


def _drop(h: Tensor, lane: Any) -> Tensor:
    kept: Tensor = lane.uniform(h.shape) >= lane.strength
    return h * kept / (1 - lane.strength)


#: Srivastava et al. 2014, under a name that no plugin has: a name is a part of the draws' key.
DROPOUT = Regularizer("membench-partner", (0.1, 0.2, 0.3, 0.4, 0.5), hidden=_drop)


def composes(subject: Subject) -> None:
    """Check that it runs with dropout on either side, and that dropout at off changes nothing."""
    bench = subject.bench
    if len(bench.parts) > 1:
        raise NotApplicable("its parts are checked by themselves")
    alone = bench.strongest_epochs[0]
    compositions = {
        f"{bench.entry.name}+dropout": (
            (*bench.parts, DROPOUT),
            [(*bench.strongest, rate) for rate in (0.0, 0.5)],
        ),
        f"dropout+{bench.entry.name}": (
            (DROPOUT, *bench.parts),
            [(rate, *bench.strongest) for rate in (0.0, 0.5)],
        ),
    }
    for name, (parts, settings) in compositions.items():
        both = bench.toy_run(*settings, parts=parts).trained(epochs=1)
        if both.state["diverged_at"].tolist() != [-1, -1]:
            raise Fault(f"{name}: the loss is not finite", source_of_stage(bench))
        at_off = lane_of(both.state["params"], 0)
        difference = max_abs_diff(at_off, lane_of(alone.state["params"], 0))
        if not difference <= 1e-4:  # NaN is not
            raise Fault(
                f"{name} with dropout at off is not {bench.entry.name} alone",
                source_of_stage(bench),
            )

"""Checks that train: a handful of lanes, stacked as the engine stacks them, for a dozen steps."""

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
from membench.testing.bench import Bench
from membench.testing.bench import plain_run
from membench.testing.bench import strength_text
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import Subject
from membench.testing.check import source_location
from membench.testing.toy import CNN
from membench.testing.toy import VIT
from membench.testing.toy import bitwise_equal
from membench.testing.toy import lane_of
from membench.testing.toy import max_abs_diff


def stacks(subject: Subject) -> None:
    """Off, a hair from off and all strengths, side by side."""
    subject.bench.grid  # noqa: B018


def off_run(subject: Subject) -> None:
    """Weights, optimizer slots and evaluation."""
    bench = subject.bench
    _compare_off(
        bench,
        bench.grid,
        plain_run(bench.world(bench.off).architecture, len(bench.grid.data.rows), EPOCHS),
    )


def _compare_off(bench: Bench, mine: Trainer, bare: Trainer) -> None:
    for what in ("params", "slots"):
        if not bitwise_equal(lane_of(mine.var[what], 0), lane_of(bare.var[what], 0)):
            away = max_abs_diff(lane_of(mine.var[what], 0), lane_of(bare.var[what], 0))
            raise Fault(
                f"after training at off, {what} differ from the plain network's by up to {away:.2g}",
                source_of_stage(bench),
            )
    reads = [[v[0] for v in t.evaluate(t.data.rows, t.data.labels)] for t in (mine, bare)]
    if not all(torch.equal(a, b) for a, b in zip(*reads, strict=True)):
        raise Fault(
            "at off, evaluation differs from the plain network's", source_of_stage(bench, "readout")
        )


def source_of_stage(bench: Bench, stage: str = "") -> str:
    """Where to look: the stage's function, or the first there is."""
    chosen = [part for part in bench.parts if stage and getattr(part, stage) is not None]
    part = (chosen or list(bench.parts))[0]
    return source_location(getattr(part, stage if chosen else part.acts_on[0]))


def evaluated(trainer: Trainer) -> dict[str, Tensor]:
    """The weights that are evaluated, of all lanes."""
    return vmap(trainer.program.readout, in_dims=(0, 0, None))(
        trainer.var, trainer.fixed, trainer.t
    )


def acts(subject: Subject) -> str:
    """On the weights that are evaluated."""
    bench = subject.bench
    read = evaluated(bench.grid)
    lanes = [lane_of(read, i) for i in range(len(bench.grid.data.rows))]
    if bitwise_equal(lanes[-1], lanes[0]):
        raise Fault(
            f"the strongest strength, {strength_text(bench.strongest)}, trains what off trains",
            source_of_stage(bench),
        )
    if len(bench.strengths) > 1 and bitwise_equal(lanes[-1], lanes[-2]):
        raise Fault(
            f"strengths {strength_text(bench.strengths[-2])} and {strength_text(bench.strongest)} train the same",
            source_of_stage(bench),
        )
    return f"moves the weights by up to {max_abs_diff(lanes[-1], lanes[0]):.2g}"


def near_off(subject: Subject) -> None:
    """A tenth of what the grid does, and a thousandth of a weight, are allowed."""
    bench = subject.bench
    read = evaluated(bench.grid)
    off, near, *others = [lane_of(read, i) for i in range(len(bench.grid.data.rows))]
    reach = max(
        (v for v in (max_abs_diff(lane, off) for lane in others) if not math.isnan(v)), default=0.0
    )
    if not max_abs_diff(near, off) <= 0.1 * reach + 1e-3:
        jump = f"strength {strength_text(bench.near)} moves the weights by {max_abs_diff(near, off):.2g}"
        raise Fault(f"{jump}, off ({strength_text(bench.off)}) by none", source_of_stage(bench))


def finite(subject: Subject) -> None:
    """The loss of each step, the weights that are evaluated, and the logits."""
    bench = subject.bench
    trainer = bench.grid
    ends = trainer.evaluate(trainer.data.rows, trainer.data.labels)[2].tolist()
    settings = (bench.off, bench.near, *bench.strengths)
    for setting, died, sound in zip(settings, trainer.var["died"].tolist(), ends, strict=True):
        if died >= 0:
            raise Fault(
                f"at strength {strength_text(setting)} the loss of step {died} is not finite",
                source_of_stage(bench),
            )
        if not sound:
            raise Fault(
                f"at strength {strength_text(setting)} weights or logits are not finite after 12 steps",
                source_of_stage(bench),
            )


def repeats(subject: Subject) -> None:
    """Trained twice from the start."""
    bench = subject.bench
    first = bench.alone
    if not bitwise_equal(first.var, bench.world(bench.strongest).trained(epochs=EPOCHS).var):
        raise Fault("the same run gives other weights the second time", source_of_stage(bench))


def draws(subject: Subject) -> str:
    """Trained once more on draws from another key, with all else the same; at no strength may nothing differ."""
    bench = subject.bench
    for stage in bench.roles:
        bench.first_call(stage)
    if not bench.drawn:
        raise NotApplicable("it draws no random number")
    trainer, world = bench.grid, bench.world(bench.off, bench.near, *bench.strengths)
    other = replace(world, key=77).trained(epochs=EPOCHS)
    lanes = [
        (lane_of(evaluated(trainer), i), lane_of(evaluated(other), i))
        for i in range(2, len(trainer.data.rows))
    ]
    if all(bitwise_equal(mine, its) for mine, its in lanes):
        raise Fault(
            "it draws random numbers, and another key trains the same weights",
            source_of_stage(bench),
        )
    return f"{sum(bench.drawn.values())} calls of {', '.join(bench.drawn)}"


def neighbours(subject: Subject) -> None:
    """Up to rounding: another number of lanes may take other kernels."""
    bench = subject.bench
    away = max_abs_diff(
        lane_of(bench.alone.var, 0), lane_of(bench.grid.var, len(bench.strengths) + 1)
    )
    if not away <= 1e-4:
        raise Fault(
            f"alone, the lane's weights differ by {away:.2g} from those it has among others",
            source_of_stage(bench),
        )


def interrupted(subject: Subject) -> None:
    """Stopped half-way, while another run goes on in this process, and taken up again by a new trainer."""
    bench = subject.bench
    world = bench.world(bench.strongest)
    orders = world.orders(epochs=EPOCHS)
    first = world.trainer()
    for order in orders[: EPOCHS // 2]:
        first.train_epoch(order)
    bench.world(bench.strengths[0]).trained(epochs=1)
    second = world.trainer()
    second.var, second.t = tree_map(torch.clone, first.var), first.t.clone()
    for order in orders[EPOCHS // 2 :]:
        second.train_epoch(order)
    if not bitwise_equal(second.var, bench.alone.var):
        raise Fault(
            "stopped half-way and taken up again, the run ends elsewhere",
            source_of_stage(bench, "update"),
        )


def on_cnn(subject: Subject) -> None:
    """Taps of [n, c, h, w], a branch, and matrices of other shapes."""
    _on(subject.bench, CNN)


def on_vit(subject: Subject) -> None:
    """Taps of [n, tokens, features], branches, weights of one and two dimensions."""
    _on(subject.bench, VIT)


def _on(bench: Bench, network: Architecture) -> None:
    trainer = bench.world(bench.off, bench.strongest, architecture=network).trained(epochs=1)
    _compare_off(bench, trainer, plain_run(network, 2, 1))
    if trainer.var["died"].tolist() != [-1, -1]:
        raise Fault(
            f"on the {network.name} the loss is not finite at strength {strength_text(bench.strongest)}",
            source_of_stage(bench),
        )


def _drop(h: Tensor, lane: Any) -> Tensor:
    return h * (lane.uniform(h.shape) >= lane.strength) / (1 - lane.strength)


#: Srivastava et al. 2014, under a name that no plugin has, since a name is a part of the draws' key.
DROPOUT = Regularizer("membench-partner", (0.1, 0.2, 0.3, 0.4, 0.5), hidden=_drop)


def composes(subject: Subject) -> None:
    """On either side of it, at half a unit's rate, then at off, where all must be as if it were not there."""
    bench = subject.bench
    bench.roles  # noqa: B018
    alone = bench.world(bench.strongest).trained(epochs=1)
    for parts in ((*bench.parts, DROPOUT), (DROPOUT, *bench.parts)):
        at = parts.index(DROPOUT)
        settings = [(*bench.strongest[:at], rate, *bench.strongest[at:]) for rate in (0.0, 0.5)]
        both = bench.world(*settings, parts=parts).trained(epochs=1)
        order = "+".join(part.name for part in parts).replace(DROPOUT.name, "dropout")
        if both.var["died"].tolist() != [-1, -1]:
            raise Fault(f"{order}: the loss is not finite", source_of_stage(bench))
        if (
            not max_abs_diff(lane_of(both.var["params"], 0), lane_of(alone.var["params"], 0))
            <= 1e-4
        ):
            raise Fault(
                f"{order} with dropout at off is not {bench.entry.name} alone",
                source_of_stage(bench),
            )

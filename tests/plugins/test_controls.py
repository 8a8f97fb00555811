"""The controls: rows that a board compares regularizers with."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.engine import RECIPE
from support.engine import Plugins
from support.engine import bitwise_equal
from support.engine import blobs
from support.engine import pack
from support.engine import parts
from support.regularizers import close
from support.regularizers import copy_of
from support.regularizers import logits_of
from support.regularizers import loss_gradient
from support.regularizers import mean_loss
from support.regularizers import toy_run
from support.regularizers import trained_step
from support.regularizers import variables

from membench.api import Recipe
from membench.api import Split
from membench.engine.train import train_pack
from membench.records import Cell
from membench.records import Record

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


def test_placebo_acts_at_no_stage() -> None:
    (placebo,) = parts("placebo")
    assert placebo.acts_on == () and placebo.redraw and placebo.group == "control"


def test_controls_are_of_the_group_control() -> None:
    for name in ("early-stop", "oracle", "focal"):
        assert parts(name)[0].group == "control"


STEPS = 40  # of a toy run's budget


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("factor", [1 / 3, 1 / 30])
def test_low_lr_is_training_at_a_lower_rate_by_any_schedule(schedule: str, factor: float) -> None:
    recipe = replace(RECIPE, schedule=schedule)
    w = toy_run("low-lr", (factor * STEPS,), recipe=recipe)
    slow = replace(w, regularizers=(), recipe=replace(recipe, lr=recipe.lr * factor))
    actual, expected = (v.trained(epochs=6).state["params"] for v in (w, slow))
    assert all(torch.allclose(actual[k], expected[k], atol=1e-5) for k in actual)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_low_lr_is_off_from_the_plain_run_s_steps_on_to_the_last_bit(compiled: bool) -> None:
    above = toy_run("low-lr", (math.inf,), (1.001 * STEPS,), (1e30,))
    plain = replace(above, regularizers=()).trained(compiled=compiled).state["params"]
    params = above.trained(compiled=compiled).state["params"]
    assert bitwise_equal(params, plain)
    assert all(w.isfinite().all() for w in params.values())


def test_the_grid_of_low_lr_brackets_the_best_rates_of_the_suites() -> None:
    """On the boards of protocol 1: 17 steps of .05 on mlp, 13 on cnn, 32 on fashion."""
    strengths = parts("low-lr")[0].strengths
    for best in (17, 13, 32):
        assert strengths[0] > best > strengths[-1]


def records_of(name: str, *strengths: tuple[float, ...], epochs: int) -> list[Record]:
    """The records of one pack on a little data set with wrong labels, uncompiled."""
    cells = [Cell("blobs", "mlp", name, strength, "mixed@0.4", 0) for strength in strengths]
    job = pack(
        cells, Recipe(lr=0.1, batch=10, epochs=epochs), Split(test=18, train=30, validation=12)
    )
    return train_pack(job, Plugins(datasets={"blobs": blobs()}), "cpu")


def test_early_stop_ends_where_the_curve_of_none_was() -> None:
    """The control is read from a stored curve; that must be what stopping would have given."""
    budget, shares = 100, parts("early-stop")[0].strengths
    (none,), stopped = (
        records_of("none", (), epochs=budget),
        records_of("early-stop", *((s,) for s in shares), epochs=budget),
    )
    for share, run in zip(shares, stopped, strict=True):
        then = none.epochs.index(round(share * budget))
        read = (run.train[-1], run.loss[-1], run.val[-1], run.test[-1], run.wrong[-1])
        assert read == (
            none.train[then],
            none.loss[then],
            none.val[then],
            none.test[then],
            none.wrong[then],
        )
    assert len({run.loss[-1] for run in stopped}) == len(shares)


def test_the_grid_of_early_stop_brackets_the_best_epochs_of_the_suites() -> None:
    """On the boards of protocol 1: 4 of 40 on cnn, 6 of 50 on mlp, 5 of 160 on fashion."""
    strengths = parts("early-stop")[0].strengths
    for best in (4 / 40, 6 / 50, 5 / 160):
        assert strengths[0] > best > strengths[-1]


def test_the_oracle_s_loss_is_the_mean_over_the_clean_examples() -> None:
    step = trained_step("oracle", 1.0)
    clean = torch.nonzero(step.clean).flatten()
    assert 0 < len(clean) < len(step.x)
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == pytest.approx(mean_loss(step, step.params, clean).item(), rel=1e-5)
    assert close(grads, loss_gradient(step, rows=clean))
    half = trained_step("oracle", 0.5)
    weight = torch.where(half.clean, 1.0, 0.5)
    losses = F.cross_entropy(
        logits_of(half, half.params, half.x), half.y.argmax(1), reduction="none"
    )
    assert half.gradient(half.params, 1)[1].item() == pytest.approx(
        (weight @ losses / weight.sum()).item(), rel=1e-5
    )


def test_the_oracle_learns_nothing_from_a_batch_without_a_clean_example() -> None:
    step = copy_of(trained_step("oracle", 1.0))
    step.clean = torch.zeros(len(step.x), dtype=torch.bool)
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == 0.0 and not any(g.any() for g in grads.values())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_weighs_each_example_by_its_miss(gamma: float) -> None:
    step = trained_step("focal", gamma)
    p = variables(step.params)
    right = logits_of(step, p, step.x).softmax(1).gather(1, step.y.argmax(1)[:, None])[:, 0]
    expected = (-((1 - right) ** gamma) * right.log()).mean()
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert close(grads, dict(zip(p, torch.autograd.grad(expected, list(p.values())), strict=True)))


def test_focal_loss_is_finite_where_the_label_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    step, y = trained_step("focal", 0.5), torch.tensor([[1.0, 0.0, 0.0]])
    out = step.program.parts[0].loss(torch.zeros(1), logits, y, step.lane(0, "loss"))
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(logits.grad).all()

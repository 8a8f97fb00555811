"""The regularizers of the gradient, each against its paper's formula, with the plugin's draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats.mstats import winsorize
from support.engine import bitwise_equal
from support.engine import one_lane
from support.engine import parts
from support.regularizers import call_stage
from support.regularizers import close
from support.regularizers import loss_gradient
from support.regularizers import step_at
from support.regularizers import toy_run
from support.regularizers import trained_step
from torch import Tensor

from membench.api import Net
from membench.api import Params
from membench.engine.step import Step
from membench.nn import cross_entropy
from membench.nn import global_norm

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


def test_gradient_clipping_bounds_the_norm_of_the_whole_gradient() -> None:
    g = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}
    out = call_stage("gradient-clipping", "grads", 1.0, g, g)
    assert torch.allclose(out["a"], g["a"] / 5) and torch.allclose(out["b"], g["b"] / 5)
    assert bitwise_equal(call_stage("gradient-clipping", "grads", 7.0, g, g), g)
    zero = {k: v * 0 for k, v in g.items()}
    assert bitwise_equal(call_stage("gradient-clipping", "grads", 1.0, zero, zero), zero)


def test_sam_takes_the_gradient_at_the_radius_along_the_gradient() -> None:
    rho, step = 0.7, step_at("sam", 0.7)

    def loss(params: Params) -> Tensor:
        return cross_entropy(step.program.logits(params, step.x), step.y).mean()

    first = torch.func.grad(loss)(step.params)
    norm = math.sqrt(sum(g.square().sum().item() for g in first.values()))
    second = torch.func.grad(loss)({k: w + rho * first[k] / norm for k, w in step.params.items()})
    actual = step.gradient(step.params, 1)[0]
    assert all(torch.allclose(actual[k], second[k], atol=1e-6) for k in second)


def groups(step: Step, count: int, params: Params | None = None) -> list[Params]:
    """The mean gradients of as many equal groups of consecutive examples."""
    size = len(step.x) // count
    return [
        loss_gradient(step, params, torch.arange(i * size, (i + 1) * size)) for i in range(count)
    ]


@pytest.mark.parametrize(
    ("batch", "count", "scale"), [(8, 8, 4.0), (24, 10, 0.3)], ids=["some clipped", "all clipped"]
)
def test_dp_sgd_clips_each_group_and_adds_noise_to_the_mean(
    batch: int, count: int, scale: float
) -> None:
    """At four times the weights some examples fit, with gradients shorter than the bound."""
    s, step = 0.3, trained_step("dp-sgd", 0.3, batch=batch, t=0)
    at = {name: scale * w for name, w in step.params.items()}
    each = groups(step, count, at)
    norms = [math.sqrt(sum(g.pow(2).sum().item() for g in group.values())) for group in each]
    assert (sum(n < 0.3 for n in norms) > 0) == (scale > 1) and max(norms) > 0.3
    lane = step.lane(0, "grads")
    expected = {}
    for name, w in step.params.items():
        total = sum(g[name] * min(1.0, 0.3 / n) for g, n in zip(each, norms, strict=True))
        expected[name] = (total + s * 0.3 * lane.normal(w.shape)) / count
    assert close(step.gradient(at, 1)[0], expected)


def test_dp_sgd_s_weakest_strength_is_whole_and_half_of_it_a_mix() -> None:
    step = trained_step("dp-sgd", 0.005)
    lane, norms = step.lane(0, "grads"), []
    expected = {name: torch.zeros_like(w) for name, w in step.params.items()}
    for group in groups(step, 8):
        norms.append(math.sqrt(sum(g.pow(2).sum().item() for g in group.values())))
        expected = {
            name: total + group[name] * min(1.0, 0.3 / norms[-1]) / 8
            for name, total in expected.items()
        }
    private = {
        name: total + 0.005 * 0.3 / 8 * lane.normal(total.shape) for name, total in expected.items()
    }
    plain = loss_gradient(step)
    assert close(
        step.gradient(step.params, 1)[0], {k: 0.5 * plain[k] + 0.5 * private[k] for k in plain}
    )


def test_dp_sgd_and_winsorizing_say_where_they_cannot_act() -> None:
    small = Net((1, 8, 8), 10, (), {"w": (10, 64)}, has_batch_norm=False)
    large = replace(small, params={"w": (5000, 4000), "b": (5000,)})
    for name, count in (("dp-sgd", 10), ("winsorized-gradient", 5)):
        skip = parts(name)[0].skip
        assert skip(small) is None
        assert (
            skip(large)
            == f"{count} gradients of 20,005,000 weights at once; 5,000,000 are the most"
        )
    assert "batch norm" in parts("dp-sgd")[0].skip(replace(small, has_batch_norm=True))


@pytest.mark.parametrize("t", [0, 5])
def test_gradient_noise_fades_with_the_steps(t: int) -> None:
    eta, step = 0.25, trained_step("gradient-noise", 0.5, t=t)
    lane, plain, actual = (
        step.lane(0, "grads"),
        loss_gradient(step),
        step.gradient(step.params, 1)[0],
    )
    variance = eta / (1 + t) ** 0.55
    assert close(
        actual, {name: g + math.sqrt(variance) * lane.normal(g.shape) for name, g in plain.items()}
    )
    z = torch.cat([(actual[name] - plain[name]).flatten() for name in plain])
    assert z.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / len(z)))


@pytest.mark.parametrize("s", [0.6, 1.0])
def test_the_median_gradient_is_that_of_three_groups(s: float) -> None:
    step = trained_step("median-gradient", s)
    plain, thirds = (
        loss_gradient(step),
        groups(step, 3),
    )  # two of the eight examples are in no third
    expected = {
        k: (1 - s) * g + s * torch.stack([t[k] for t in thirds]).median(0).values
        for k, g in plain.items()
    }
    assert close(step.gradient(step.params, 1)[0], expected)


@pytest.mark.parametrize("c", [1, 2])
def test_winsorizing_is_scipy_s_for_whole_numbers(c: int) -> None:
    step = trained_step("winsorized-gradient", float(c))
    plain, singles = (
        loss_gradient(step),
        groups(step, 8)[:5],
    )  # three of the eight examples are in no fifth
    actual = step.gradient(step.params, 1)[0]
    for name, g in plain.items():
        each = np.stack([single[name].numpy() for single in singles])
        held = np.asarray(winsorize(each, limits=(c / 5, c / 5), axis=0))
        assert np.allclose(actual[name], g.numpy() + held.mean(0) - each.mean(0), atol=1e-5)


def test_winsorizing_between_whole_numbers_holds_to_bounds_between() -> None:
    step = trained_step("winsorized-gradient", 1.25)
    plain, singles = (
        loss_gradient(step),
        groups(step, 8)[:5],
    )  # three of the eight examples are in no fifth
    actual = step.gradient(step.params, 1)[0]
    for name, g in plain.items():
        each = np.sort(np.stack([single[name].numpy() for single in singles]), axis=0)
        low, high = (0.75 * each[a] + 0.25 * each[b] for a, b in ((1, 2), (3, 2)))
        assert np.allclose(
            actual[name], g.numpy() + each.clip(low, high).mean(0) - each.mean(0), atol=1e-5
        )


def test_asam_climbs_by_relative_steps() -> None:
    rho, step = 0.9, trained_step("asam", 0.9)
    g = loss_gradient(step)
    scale = {
        name: abs(w) + 0.01 if w.dim() > 1 else torch.ones_like(w)
        for name, w in step.params.items()
    }
    norm = math.sqrt(sum((scale[name] * g[name]).pow(2).sum().item() for name in g))
    up = {name: w + rho * scale[name] ** 2 * g[name] / norm for name, w in step.params.items()}
    assert close(step.gradient(step.params, 1)[0], loss_gradient(step, up))


def test_msam_is_the_paper_s_algorithm_in_plain_torch() -> None:
    """Two epochs of SGD, each gradient taken at w - rho v / |v|, v all gradients so far."""
    rho, momentum, run = 0.3, 0.9, toy_run("msam", (0.3,))
    trainer = run.trainer()
    weights = {name: w[0].clone() for name, w in trainer.state["params"].items()}
    v = {name: torch.zeros_like(w) for name, w in weights.items()}
    slots = dict(v)
    for order in run.orders(epochs=2):
        for t in range(order.shape[1]):
            batch = one_lane(trainer, order, t)
            norm = math.sqrt(sum(values.square().sum().item() for values in v.values())) or 1.0
            moved = {name: w - rho / norm * v[name] for name, w in weights.items()}
            g = loss_gradient(batch, moved)
            v = {name: 0.9 * v[name] + g[name] for name in v}
            slots = {name: momentum * slots[name] + g[name] for name in slots}
            weights = {name: w - run.recipe.lr * slots[name] for name, w in weights.items()}
    trained = run.trained(epochs=2)
    assert close({name: w[0] for name, w in trained.state["params"].items()}, weights)
    momenta = trained.state["states"][0]["momentum"]
    assert close({name: values[0] for name, values in momenta.items()}, v)
    still = toy_run("msam", (0.0,)).trained(epochs=2).state["params"]
    assert not close({name: w[0] for name, w in still.items()}, weights)


def test_msam_s_momentum_is_of_what_the_optimizer_got() -> None:
    """Behind gradient clipping at a bound that always acts, every gradient has that norm."""
    both = (*parts("gradient-clipping"), *parts("msam"))
    run = replace(toy_run("msam", (0.3,)), regularizers=both, strengths=((0.001, 0.3),))
    trainer = run.trainer()
    trainer.step(run.orders()[0][:, 0])
    first = trainer.state["states"][1]["momentum"]
    assert global_norm(first).item() == pytest.approx(0.001, rel=1e-4)

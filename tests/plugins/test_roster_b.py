"""The formulas of the gradient, weights and trajectory regularizers and of the controls, written again from the papers.

Every reference runs on a step of a trained little network, through the engine, with the draws that the plugin had.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats.mstats import winsorize
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import Plugins
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import blobs
from support.engine import lane_data
from support.engine import one_lane
from support.engine import pack
from support.engine import parts
from torch import Tensor
from torch.func import functional_call

from membench.api import Architecture
from membench.api import Net
from membench.api import Params
from membench.api import Recipe
from membench.api import Split
from membench.engine.schedule import control_epochs
from membench.engine.step import Step
from membench.engine.step import untapped
from membench.engine.train import train_pack
from membench.records import Cell
from membench.records import Record

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


@cache
def step_at(name: str, strength: float, architecture: Architecture = MLP, batch: int = 8, t: int = 5) -> Step:
    """A step after three epochs of training, so that weights, state and momentum are not those of the start."""
    w = ToyRun(parts(name), ((strength,),), architecture, Recipe(lr=0.1, batch=batch), data=lane_data(1, n=24))
    return one_lane(w.trained(epochs=3), w.orders()[0], t=t)


def variables(params: Params) -> Params:
    return {name: w.detach().clone().requires_grad_() for name, w in params.items()}


def logits_of(step: Step, params: Params, x: Tensor) -> Tensor:
    return functional_call(step.program.module, params, (x, untapped))


def mean_loss(step: Step, params: Params, rows: Tensor | None = None) -> Tensor:
    """Plain cross-entropy on some of the batch's rows."""
    rows = torch.arange(len(step.x)) if rows is None else rows
    return F.cross_entropy(logits_of(step, params, step.x[rows]), step.y[rows].argmax(1))


def slopes(step: Step, params: Params | None = None, rows: Tensor | None = None) -> Params:
    params = variables(step.params if params is None else params)
    return dict(zip(params, torch.autograd.grad(mean_loss(step, params, rows), list(params.values())), strict=True))


def close(mine: Params, theirs: Params, atol: float = 1e-5) -> bool:
    return all(torch.allclose(mine[name], theirs[name], atol=atol, rtol=1e-4) for name in theirs)


def matrices(params: Params) -> list[Tensor]:
    return [w.flatten(1) for w in params.values() if w.dim() > 1]


# --- penalties: what they add to the loss, and to its gradient ------------------------------------


def input_gradient(step: Step, p: Params, s: float) -> Tensor:
    total = 0.0
    for i, y in enumerate(step.y):
        x = step.x[i : i + 1].clone().requires_grad_()
        loss = F.cross_entropy(logits_of(step, p, x), y.argmax()[None])
        total += torch.autograd.grad(loss, x, create_graph=True)[0].pow(2).sum()
    return s / 2 * total / len(step.x)


def projected_jacobian(step: Step, p: Params, s: float) -> Tensor:
    draws = step.lane(0, "penalty").normal((len(step.x), CLASSES))
    total = 0.0
    for x, z in zip(step.x, draws, strict=True):
        whole = torch.autograd.functional.jacobian(lambda x: logits_of(step, p, x[None])[0], x, create_graph=True)
        total += ((z / z.norm()) @ whole.reshape(CLASSES, -1)).pow(2).sum()
    return s / 2 * CLASSES * total / len(step.x)


def gradient_norm(step: Step, p: Params, s: float) -> Tensor:
    own = torch.autograd.grad(mean_loss(step, p), list(p.values()), create_graph=True)
    return s * sum(g.pow(2).sum() for g in own)


def fisher(step: Step, p: Params, s: float) -> Tensor:
    u = step.lane(0, "penalty").uniform((len(step.x), CLASSES))
    logits = logits_of(step, p, step.x)
    drawn = (-torch.log(u) / logits.softmax(1)).argmin(1)  # of independent exponential clocks of rates p, the first
    own = torch.autograd.grad(F.cross_entropy(logits, drawn), list(p.values()), create_graph=True)
    return s * sum(g.pow(2).sum() for g in own)


def absolute(step: Step, p: Params, s: float) -> Tensor:
    return s * sum(torch.linalg.vector_norm(w, 1) for w in matrices(p))


def orthogonality(step: Step, p: Params, s: float) -> Tensor:
    return s * sum((torch.linalg.svdvals(w) ** 2 - 1).pow(2).sum() for w in matrices(p))


def from_init(step: Step, p: Params, s: float) -> Tensor:
    start = ToyRun(architecture=_architecture(step), data=lane_data(1, n=24)).trainer().var["params"]
    return s / 2 * sum((w - start[name][0]).pow(2).sum() for name, w in p.items())


def _architecture(step: Step) -> Architecture:
    return CNN if "stem.linear.weight" in step.params else MLP


def spectral(step: Step, p: Params, s: float) -> Tensor:
    """u from the state is a constant; v and sigma are those of the current weights."""
    total = 0.0
    for u, w in zip(step.states[0].values(), matrices(p), strict=True):
        m = w.detach().double().numpy()
        v = m.T @ u.double().numpy()
        sigma = np.linalg.norm(v)
        # value sigma^2 / 2, gradient sigma u v^T
        slope = torch.tensor(np.outer(u.double().numpy(), v)).float()
        total += torch.tensor(sigma**2 / 2).float() + (slope * (w - w.detach())).sum()
    return s * total


PENALTIES: dict[str, tuple[float, Callable[[Step, Params, float], Tensor]]] = {
    "input-gradient-penalty": (3.0, input_gradient),
    "jacobian-penalty": (0.7, projected_jacobian),
    "gradient-norm-penalty": (0.4, gradient_norm),
    "fisher-penalty": (0.4, fisher),
    "l1": (0.02, absolute),
    "orthogonality-penalty": (0.05, orthogonality),
    "distance-from-init": (0.3, from_init),
    "spectral-penalty": (0.2, spectral),
}


@pytest.mark.parametrize("architecture", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_adds_its_formula_to_the_loss_and_to_the_gradient(name: str, architecture: Architecture) -> None:
    s, formula = PENALTIES[name]
    step = step_at(name, s, architecture)
    grads, loss, *_ = step.gradient(step.params, 1)
    p = variables(step.params)
    added = formula(step, p, s)
    assert loss.item() == pytest.approx((mean_loss(step, p) + added).item(), rel=1e-5)
    assert added.item() > 1e-4
    theirs = torch.autograd.grad(mean_loss(step, p) + added, list(p.values()))
    assert close(grads, dict(zip(p, theirs, strict=True)))
    plain = slopes(step)
    assert not close(grads, plain)


def test_the_projection_estimates_the_jacobian_s_norm_without_bias() -> None:
    z = step_at("jacobian-penalty", 0.7).lane(0, "penalty").normal((20_000, CLASSES))
    v = z / z.norm(dim=1, keepdim=True)
    assert torch.allclose(CLASSES * v.T @ v / len(v), torch.eye(CLASSES), atol=0.03)


def test_power_iteration_goes_on_to_the_largest_singular_value() -> None:
    step, s = step_at("spectral-penalty", 1.0), 1.0
    part = step.program.parts[0]
    for _ in range(200):
        step = _with_state(step, part.update(step.params, step.lane(0, "update", before=step.params)))
    value = part.penalty(step.params, step.lane(0, "penalty"))
    theirs = sum(torch.linalg.matrix_norm(w, 2) ** 2 for w in matrices(step.params))
    assert value.item() == pytest.approx(s / 2 * theirs.item(), rel=1e-4)


def _with_state(step: Step, state: dict) -> Step:
    step = _copy(step)
    step.states = [state]
    return step


def _copy(step: Step) -> Step:
    twin = object.__new__(Step)
    twin.__dict__.update(step.__dict__)
    return twin


# --- gradients ------------------------------------------------------------------------------------


def groups(step: Step, count: int, params: Params | None = None) -> list[Params]:
    """The mean gradients of as many equal groups of consecutive examples."""
    size = len(step.x) // count
    return [slopes(step, params, torch.arange(i * size, (i + 1) * size)) for i in range(count)]


@pytest.mark.parametrize(("batch", "count", "scale"), [(8, 8, 4.0), (24, 10, 0.3)], ids=["some clipped", "all clipped"])
def test_dp_sgd_clips_each_group_and_adds_noise_to_the_mean(batch: int, count: int, scale: float) -> None:
    """At four times the weights some examples are fitted for sure, and their gradients are shorter than the bound."""
    s, step = 0.3, step_at("dp-sgd", 0.3, batch=batch, t=0)
    at = {name: scale * w for name, w in step.params.items()}
    each = groups(step, count, at)
    norms = [math.sqrt(sum(g.pow(2).sum().item() for g in group.values())) for group in each]
    assert (sum(n < 0.3 for n in norms) > 0) == (scale > 1) and max(norms) > 0.3
    lane = step.lane(0, "grads")
    theirs = {}
    for name, w in step.params.items():
        total = sum(g[name] * min(1.0, 0.3 / n) for g, n in zip(each, norms, strict=True))
        theirs[name] = (total + s * 0.3 * lane.normal(w.shape)) / count
    assert close(step.gradient(at, 1)[0], theirs)


def test_dp_sgd_s_weakest_strength_is_whole_and_half_of_it_a_mix() -> None:
    step = step_at("dp-sgd", 0.005)
    lane, norms = step.lane(0, "grads"), []
    theirs = {name: torch.zeros_like(w) for name, w in step.params.items()}
    for group in groups(step, 8):
        norms.append(math.sqrt(sum(g.pow(2).sum().item() for g in group.values())))
        theirs = {name: total + group[name] * min(1.0, 0.3 / norms[-1]) / 8 for name, total in theirs.items()}
    private = {name: total + 0.005 * 0.3 / 8 * lane.normal(total.shape) for name, total in theirs.items()}
    plain = slopes(step)
    assert close(step.gradient(step.params, 1)[0], {k: 0.5 * plain[k] + 0.5 * private[k] for k in plain})


def test_dp_sgd_and_winsorizing_say_where_they_cannot_act() -> None:
    small = Net((1, 8, 8), 10, (), {"w": (10, 64)}, has_batch_norm=False)
    large = replace(small, params={"w": (5000, 4000), "b": (5000,)})
    for name, count in (("dp-sgd", 10), ("winsorized-gradient", 5)):
        skip = parts(name)[0].skip
        assert skip(small) is None
        assert skip(large) == f"{count} gradients of 20,005,000 weights at once; 5,000,000 are the most"
    assert "batch norm" in parts("dp-sgd")[0].skip(replace(small, has_batch_norm=True))


@pytest.mark.parametrize("t", [0, 5])
def test_gradient_noise_fades_with_the_steps(t: int) -> None:
    eta, step = 0.25, step_at("gradient-noise", 0.5, t=t)
    lane, plain, mine = step.lane(0, "grads"), slopes(step), step.gradient(step.params, 1)[0]
    variance = eta / (1 + t) ** 0.55
    assert close(mine, {name: g + math.sqrt(variance) * lane.normal(g.shape) for name, g in plain.items()})
    z = torch.cat([(mine[name] - plain[name]).flatten() for name in plain])
    assert z.var().item() == pytest.approx(variance, rel=4 * math.sqrt(2 / len(z)))


@pytest.mark.parametrize("s", [0.6, 1.0])
def test_the_median_gradient_is_that_of_three_groups(s: float) -> None:
    step = step_at("median-gradient", s)
    plain, thirds = slopes(step), groups(step, 3)  # two of the eight examples are in no third
    theirs = {k: (1 - s) * g + s * torch.stack([t[k] for t in thirds]).median(0).values for k, g in plain.items()}
    assert close(step.gradient(step.params, 1)[0], theirs)


@pytest.mark.parametrize("c", [1, 2])
def test_winsorizing_is_scipy_s_for_whole_numbers(c: int) -> None:
    step = step_at("winsorized-gradient", float(c))
    plain, singles = slopes(step), groups(step, 8)[:5]  # three of the eight examples are in no fifth
    mine = step.gradient(step.params, 1)[0]
    for name, g in plain.items():
        each = np.stack([single[name].numpy() for single in singles])
        held = np.asarray(winsorize(each, limits=(c / 5, c / 5), axis=0))
        assert np.allclose(mine[name], g.numpy() + held.mean(0) - each.mean(0), atol=1e-5)


def test_winsorizing_between_whole_numbers_holds_to_bounds_between() -> None:
    step = step_at("winsorized-gradient", 1.25)
    plain, singles = slopes(step), groups(step, 8)[:5]  # three of the eight examples are in no fifth
    mine = step.gradient(step.params, 1)[0]
    for name, g in plain.items():
        each = np.sort(np.stack([single[name].numpy() for single in singles]), axis=0)
        low, high = (0.75 * each[a] + 0.25 * each[b] for a, b in ((1, 2), (3, 2)))
        assert np.allclose(mine[name], g.numpy() + each.clip(low, high).mean(0) - each.mean(0), atol=1e-5)


def test_asam_climbs_by_relative_steps() -> None:
    rho, step = 0.9, step_at("asam", 0.9)
    g = slopes(step)
    scale = {name: abs(w) + 0.01 if w.dim() > 1 else torch.ones_like(w) for name, w in step.params.items()}
    norm = math.sqrt(sum((scale[name] * g[name]).pow(2).sum().item() for name in g))
    up = {name: w + rho * scale[name] ** 2 * g[name] / norm for name, w in step.params.items()}
    assert close(step.gradient(step.params, 1)[0], slopes(step, up))


# --- weights and trajectory -----------------------------------------------------------------------


def test_decoupled_decay_is_adamw_s_on_the_weight_matrices() -> None:
    s, recipe = 0.7, Recipe(optimizer="adamw", lr=0.02, batch=8)
    w = ToyRun(parts("decoupled-decay"), ((s,),), recipe=recipe, data=lane_data(1, n=24))
    trainer, order = w.trainer(), w.orders()[0]
    params = variables({name: v[0] for name, v in trainer.var["params"].items()})
    by_size = [[v for v in params.values() if (v.dim() > 1) == large] for large in (False, True)]
    adamw = torch.optim.AdamW(
        [{"params": by_size[0], "weight_decay": 0}, {"params": by_size[1], "weight_decay": s}], lr=0.02
    )
    for t in range(3):
        step = one_lane(trainer, order, t)
        adamw.zero_grad()
        mean_loss(step, params).backward()
        adamw.step()
    trainer.train_epoch(order)
    assert close({name: v[0] for name, v in trainer.var["params"].items()}, params)


def epochs_of(name: str, *strengths: float, epochs: int = 4) -> list[tuple[Params, Params]]:
    """(weights, weights that are evaluated) of each lane's strength after each epoch; 3 of 40 steps an epoch."""
    w = ToyRun(parts(name), tuple((s,) for s in strengths), data=lane_data(1, n=24))
    w = replace(w, seeds=(0,) * len(strengths), data=_same(len(strengths)))
    trainer, seen = w.trainer(), []
    for order in w.orders(epochs=epochs):
        trainer.train_epoch(order)
        read = torch.func.vmap(trainer.program.readout, in_dims=(0, 0, None))(trainer.var, trainer.fixed, trainer.t)
        seen.append(({k: v.clone() for k, v in trainer.var["params"].items()}, read))
    return seen


def _same(lanes: int) -> object:
    data = lane_data(1, n=24)
    return replace(data, **{f: getattr(data, f)[[0] * lanes] for f in ("rows", "labels", "clean", "mean", "std")})


def test_swa_evaluates_the_mean_of_the_last_epochs_weights() -> None:
    shares = {0.9: (2, 3, 4), 1.0: (1, 2, 3, 4), 0.8: (3, 4), 0.5: ()}  # steps 3, 6, 9, 12 of 40 end the epochs
    seen = epochs_of("swa", *shares)
    for lane, averaged in enumerate(shares.values()):
        for epoch, (weights, read) in enumerate(seen, 1):
            taken = [seen[e - 1][0] for e in averaged if e <= epoch] or [weights]
            for name in read:
                mean = torch.stack([w[name][lane] for w in taken]).mean(0)
                assert torch.allclose(read[name][lane], mean, atol=1e-6)
    assert all(torch.equal(v[0], v[1]) for v in seen[-1][0].values()), "training is untouched"


def test_shrink_and_perturb_replaces_a_share_after_each_tenth_but_the_last() -> None:
    s, w = 0.3, ToyRun(parts("shrink-and-perturb"), ((0.3,),), data=lane_data(1, n=24))
    trainer, order = w.trainer(), w.orders()[0]
    given = {name: v[0] + 1 for name, v in trainer.var["params"].items()}
    acted = []
    for t in range(40):
        step = one_lane(trainer, order, t)
        before = step.params
        out = step.program.parts[0].weights(given, step.lane(0, "weights", before=before))
        if bitwise_equal(out, given):
            continue
        acted.append(t + 1)
        lane = step.lane(0, "weights")
        for name, v in given.items():
            start = step.common["initial"][name].double()
            fresh = (start - start.mean()).pow(2).mean().sqrt().float() * lane.normal(v.shape)
            assert torch.allclose(out[name], 0.7 * v + s * fresh, atol=1e-5)
    assert acted == [4, 8, 12, 16, 20, 24, 28, 32, 36]


# --- controls -------------------------------------------------------------------------------------


def trained(name: str, *strengths: tuple[float, ...], epochs: int) -> list[Record]:
    """The records of one pack on a little data set with wrong labels, uncompiled."""
    cells = [Cell("blobs", "mlp", name, strength, "mixed@0.4", 0) for strength in strengths]
    job = pack(cells, Recipe(lr=0.1, batch=10, epochs=epochs), Split(test=18, train=30, validation=12))
    return train_pack(job, Plugins(datasets={"blobs": blobs()}), "cpu")


def test_early_stop_ends_where_the_curve_of_none_was() -> None:
    """The control costs nothing because it is read from a stored curve; that must be what stopping would have given."""
    budget, shares = 20, parts("early-stop")[0].strengths
    (none,), stopped = trained("none", (), epochs=budget), trained("early-stop", *((s,) for s in shares), epochs=budget)
    for share, run in zip(shares, stopped, strict=True):
        then = none.epochs.index(round(share * budget))
        read = (run.train[-1], run.loss[-1], run.val[-1], run.test[-1], run.wrong[-1])
        assert read == (none.train[then], none.loss[then], none.val[then], none.test[then], none.wrong[then])
    assert len({run.loss[-1] for run in stopped}) == len(shares)


def test_the_shares_of_early_stop_are_epochs_that_the_control_reads() -> None:
    for budget in (30, 40, 50):
        ends = [share * budget for share in parts("early-stop")[0].strengths]
        assert [round(e) for e in ends] == pytest.approx(ends)
        assert {round(e) for e in ends} <= set(control_epochs(budget))


def test_the_oracle_s_loss_is_the_mean_over_the_clean_examples() -> None:
    step = step_at("oracle", 1.0)
    clean = torch.nonzero(step.clean).flatten()
    assert 0 < len(clean) < len(step.x)
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == pytest.approx(mean_loss(step, step.params, clean).item(), rel=1e-5)
    assert close(grads, slopes(step, rows=clean))
    half = step_at("oracle", 0.5)
    weight = torch.where(half.clean, 1.0, 0.5)
    losses = F.cross_entropy(logits_of(half, half.params, half.x), half.y.argmax(1), reduction="none")
    assert half.gradient(half.params, 1)[1].item() == pytest.approx((weight @ losses / weight.sum()).item(), rel=1e-5)


def test_the_oracle_learns_nothing_from_a_batch_without_a_clean_example() -> None:
    step = _copy(step_at("oracle", 1.0))
    step.clean = torch.zeros(len(step.x), dtype=torch.bool)
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == 0.0 and not any(g.any() for g in grads.values())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_weighs_each_example_by_its_miss(gamma: float) -> None:
    step = step_at("focal", gamma)
    p = variables(step.params)
    right = logits_of(step, p, step.x).softmax(1).gather(1, step.y.argmax(1)[:, None])[:, 0]
    theirs = (-((1 - right) ** gamma) * right.log()).mean()
    grads, loss, *_ = step.gradient(step.params, 1)
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert close(grads, dict(zip(p, torch.autograd.grad(theirs, list(p.values())), strict=True)))


def test_focal_loss_is_finite_where_the_label_is_certain() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    step, y = step_at("focal", 0.5), torch.tensor([[1.0, 0.0, 0.0]])
    out = step.program.parts[0].loss(torch.zeros(1), logits, y, step.lane(0, "loss"))
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(logits.grad).all()


def test_the_controls_know_their_place() -> None:
    for name in ("early-stop", "oracle", "focal"):
        assert parts(name)[0].group == "control"

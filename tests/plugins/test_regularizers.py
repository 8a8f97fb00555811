"""Every registered regularizer keeps the contract, and what each one does is its formula, written out by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.engine import ARCHITECTURES
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import RECIPE
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_data
from support.engine import lane_of
from support.engine import lanes_of
from support.engine import leaves
from support.engine import one_lane
from support.engine import parts
from support.engine import registry
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_map

from membench.api import STAGES
from membench.api import Architecture
from membench.engine.contract import call
from membench.engine.lane import LaneView
from membench.engine.network import inspect_network
from membench.engine.step import Step
from membench.engine.step import forward_of
from membench.engine.step import gradient_of
from membench.engine.step import untapped
from membench.nn import cross_entropy
from membench.registry.entry import PluginEntry

ENTRIES = {name: e for name, e in registry().regularizers.items() if name != "none"}
SINGLE = {name: e for name, e in ENTRIES.items() if not e.parts}
ACTING = {name: e for name, e in ENTRIES.items() if e.acts_on}
ROLES = [(name, stage) for name, e in SINGLE.items() for stage in e.acts_on]
DIFFERENTIATED = ("batch", "perturb", "hidden", "loss", "penalty")

every = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
acting = pytest.mark.parametrize("entry", ACTING.values(), ids=ACTING)
role = pytest.mark.parametrize(("name", "stage"), ROLES, ids="-".join)


def world(name: str, *settings: tuple[float, ...], architecture: Architecture = MLP, **fields: Any) -> ToyRun:
    """Lanes that differ in the strength alone: the same seed, images and labels."""
    lanes = len(settings)
    data = lanes_of(lane_data(1, n=24), [0] * lanes)
    return ToyRun(parts(name), settings, architecture, data=data, seeds=(0,) * lanes, **fields)


def home(entry: PluginEntry) -> Architecture:
    """The first of the tests' networks that it does not skip."""
    asks = [part.skip for part in parts(entry.name) if part.skip]
    fits = lambda a: all(ask(inspect_network(a, SHAPE, CLASSES)) is None for ask in asks)  # noqa: E731
    return next(filter(fits, ARCHITECTURES.values()))


def step_at(name: str, *strength: float, architecture: Architecture = MLP) -> Step:
    w = world(name, strength, architecture=architecture)
    return one_lane(w.trainer(), w.orders()[0], t=2)


# --- the contract, of every one -------------------------------------------------------------------


@every
def test_it_says_in_a_sentence_what_it_does_and_whose_idea_it_is(entry: PluginEntry) -> None:
    assert 20 < len(entry.summary) < 160
    assert entry.group == "control" or re.search(r"\b(19|20)\d\d\b", entry.source), "a citation has a year"


@every
def test_its_grid_is_finite_without_doubles_and_never_off(entry: PluginEntry) -> None:
    assert len(entry.strengths) == 5 or entry.group == "control"
    assert len(set(entry.strengths)) == len(entry.strengths)
    assert entry.off not in entry.strengths
    for column in zip(*entry.strengths, strict=True):
        assert all(map(math.isfinite, column))
        assert list(column) in (sorted(column), sorted(column, reverse=True))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
@acting
def test_off_is_the_plain_network_to_the_last_bit(entry: PluginEntry, architecture: Architecture) -> None:
    off = world(entry.name, entry.off, architecture=architecture)
    mine, plain = off.trained(), replace(off, regularizers=()).trained()
    assert bitwise_equal(mine.var["params"], plain.var["params"])
    assert bitwise_equal(mine.var["slots"], plain.var["slots"])
    reads = [t.evaluate(t.data.rows, t.data.labels) for t in (mine, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*reads, strict=True))


@acting
def test_every_strength_keeps_the_weights_finite_and_the_strongest_changes_the_step(entry: PluginEntry) -> None:
    w = world(entry.name, entry.off, *entry.strengths, architecture=home(entry))
    trained = w.trained(epochs=4)
    assert trained.var["died"].tolist() == [-1] * len(w.strengths)
    read = torch.func.vmap(trained.program.readout, in_dims=(0, 0, None))(trained.var, trained.fixed, trained.t)
    lanes = [lane_of(read, i) for i in range(len(w.strengths))]
    assert all(v.isfinite().all() for lane in lanes for v in lane.values())
    off, second, strongest = lanes[0], lanes[-2], lanes[-1]
    assert not bitwise_equal(strongest, off) and not bitwise_equal(strongest, second)


@acting
def test_the_step_changes_continuously_with_the_strength(entry: PluginEntry) -> None:
    """A strength a hair off `off` is nearly off: what is reported as "weak" is."""
    near = tuple(1e6 if math.isinf(off) else off + 1e-6 for off in entry.off)
    trained = world(entry.name, entry.off, near, architecture=home(entry)).trained(epochs=1)
    off, weak = lane_of(trained.var["params"], 0), lane_of(trained.var["params"], 1)
    assert all(torch.allclose(off[k], weak[k], atol=1e-3) for k in off)


def inputs(step: Step, stage: str) -> tuple[tuple[Any, ...], LaneView]:
    """What the first part's function at the stage gets in a step: its tensors, and its lane."""
    p, forward = step.params, forward_of(step, 0, stage, step.params)
    batch = {"index": step.index, "x": step.x, "y": step.y}
    logits, activations = functional_call(step.program.module, p, (step.x, untapped)), [torch.eye(8)[:, :6]]
    grads = step.gradient(p, 0)[0]
    moved = {k: w + 0.01 * (1 + w) for k, w in p.items()}
    index = {"index": step.index}
    args, fields = {
        "batch": ((step.x, step.y), {**index, "clean": step.clean, "forward": forward}),
        "perturb": ((p,), {}),
        "hidden": ((torch.linspace(-1, 3, 48).reshape(8, 6),), {**index, "tap": 0, "kind": "hidden"}),
        "loss": (
            (cross_entropy(logits, step.y).detach(), logits.detach(), step.y),
            {**index, "x": step.x, "params": p, "activations": activations, "forward": forward, "clean": step.clean},
        ),
        "penalty": ((p,), {**batch, "activations": activations, "forward": forward}),
        "grads": ((grads, p), {**batch, "logits": logits, "gradient": gradient_of(step, 0)}),
        "weights": ((moved,), {"before": p}),
        "init": ((p,), {}),
        "update": ((moved,), {**batch, "before": p, "logits": logits}),
        "readout": ((moved,), {}),
    }[stage]
    return args, step.lane(0, stage, **fields)


def total(tree: Any) -> Tensor:
    """A sum in which every number has a weight of its own."""
    return sum((v * torch.cos(1 + torch.arange(v.numel())).reshape(v.shape)).sum() for v in leaves(tree).values())


@role
def test_each_function_at_off_is_the_identity_in_value_and_gradient(name: str, stage: str) -> None:
    step = step_at(name, *ENTRIES[name].off)
    args, lane = inputs(step, stage)
    if stage in ("init", "update"):
        return  # nothing to be identical to; the readout of what they keep is
    if stage == "readout":
        lane.state = call(step.program.parts[0], "update", args[0], inputs(step, "update")[1])
    if stage in DIFFERENTIATED:
        args = tree_map(lambda v: v.clone().requires_grad_(), args)
    out = call(step.program.parts[0], stage, *args, lane)
    expected = {"batch": args[:2], "penalty": torch.zeros(())}.get(stage, args[0])
    assert bitwise_equal(list(leaves([out]).values()), list(leaves([expected]).values()))
    if stage in DIFFERENTIATED:
        given = list(leaves(list(args)).values())
        through, identity = (
            torch.autograd.grad(total([result]) + 0 * sum(v.sum() for v in given), given) for result in (out, expected)
        )
        assert all(torch.equal(g, e) for g, e in zip(through, identity, strict=True))


@role
def test_each_function_leaves_its_inputs_alone_and_keeps_shapes_and_types(name: str, stage: str) -> None:
    step = step_at(name, *ENTRIES[name].strengths[-1])
    args, lane = inputs(step, stage)
    state = lane.state if stage != "init" else {}
    seen = {"args": list(args), "state": state, "initial": lane.initial, "params": step.params}
    before = tree_map(torch.clone, seen)
    versions = [v._version for v in leaves(seen).values()]
    call(step.program.parts[0], stage, *args, lane)  # refuses other shapes and types
    assert bitwise_equal(seen, before)
    assert [v._version for v in leaves(seen).values()] == versions


@role
def test_each_function_gives_the_same_again(name: str, stage: str) -> None:
    """No state outside `lane.state`: nothing is kept in a closure or a global."""
    step = step_at(name, *ENTRIES[name].strengths[2])
    results = []
    for _ in range(2):
        args, lane = inputs(step, stage)
        results.append(call(step.program.parts[0], stage, *args, lane))
    assert bitwise_equal(list(leaves([results[0]]).values()), list(leaves([results[1]]).values()))


def test_every_stage_has_a_regularizer_that_uses_it() -> None:
    assert {stage for e in SINGLE.values() for stage in e.acts_on} == set(STAGES)


# --- the formulas ---------------------------------------------------------------------------------


def act(name: str, stage: str, strength: float, *tensors: Tensor, **fields: Any) -> Any:
    """The registered function on the test's own tensors."""
    step = step_at(name, strength)
    return getattr(step.program.parts[0], stage)(*tensors, step.lane(0, stage, **fields))


def draw_of(name: str, stage: str, strength: float) -> LaneView:
    """A lane that draws what the function drew."""
    return step_at(name, strength).lane(0, stage)


@pytest.mark.parametrize(("name", "stage"), [("dropout", "hidden"), ("input-dropout", "batch")])
@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(name: str, stage: str, rate: float) -> None:
    h = torch.linspace(1, 2, 100 * 200).reshape(100, 200)
    out = act(name, stage, rate, h) if stage == "hidden" else act(name, stage, rate, h, h)[0]
    kept = out != 0
    assert torch.allclose(out[kept], h[kept] / (1 - rate))
    assert abs(kept.float().mean() - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / h.numel())
    assert abs(out.mean() / h.mean() - 1) < 0.03
    for axis in (0, 1):  # every unit and every example for itself
        n, shares = h.shape[1 - axis], kept.float().mean(1 - axis)
        assert abs(shares.var() / (rate * (1 - rate) / n) - 1) < 4 * math.sqrt(2 / len(shares))


@pytest.mark.parametrize(("name", "stage"), [("hidden-noise", "hidden"), ("input-noise", "batch")])
def test_noise_is_standard_gaussian_times_the_strength(name: str, stage: str) -> None:
    h = torch.linspace(-1, 1, 20000).reshape(100, 200)
    out = act(name, stage, 3.0, h) if stage == "hidden" else act(name, stage, 3.0, h, h)[0]
    z = ((out - h) / 3).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)


def test_data_regularizers_that_leave_labels_alone_do() -> None:
    for name in ("input-noise", "input-dropout", "adversarial"):
        assert torch.equal(step_at(name, 0.7).y, step_at("none").y)


def test_weight_noise_moves_every_weight_by_its_own_draw() -> None:
    params = {"a": torch.zeros(100, 50), "b": torch.ones(5000)}
    out = act("weight-noise", "perturb", 0.2, params)
    z = torch.cat([((out[k] - params[k]) / 0.2).flatten() for k in params])
    assert abs(z.mean()) < 4 / math.sqrt(len(z)) and abs(z.var() - 1) < 4 * math.sqrt(2 / len(z))
    assert not torch.equal(z[:5000], z[5000:])


def test_mixup_blends_inputs_and_labels_with_the_same_weight_and_partner() -> None:
    s, plain, mixed = 0.6, step_at("none"), step_at("mixup", 0.6)
    lane = draw_of("mixup", "batch", s)
    u, other = lane.uniform((8, 1)), lane.permutation(8)
    for i in range(8):
        own = 1 - s * u[i, 0]
        assert own >= 1 - s
        assert torch.allclose(mixed.x[i], own * plain.x[i] + (1 - own) * plain.x[other[i]], atol=1e-6)
        assert torch.allclose(mixed.y[i], own * plain.y[i] + (1 - own) * plain.y[other[i]], atol=1e-6)
    assert torch.allclose(mixed.y.sum(1), torch.ones(8))


@pytest.mark.parametrize("s", [0.1, 0.98])
def test_label_smoothing_is_torch_s(s: float) -> None:
    logits, labels = torch.linspace(-3, 4, 30).reshape(6, 5).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0])
    y = F.one_hot(labels, 5).float()
    mine = act("label-smoothing", "loss", s, cross_entropy(logits, y), logits, y)
    theirs = F.cross_entropy(logits, labels, label_smoothing=s, reduction="none")
    assert torch.allclose(mine, theirs, atol=1e-6)
    grads = [torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (mine, theirs)]
    assert torch.allclose(*grads, atol=1e-6)


def test_weight_decay_s_gradient_is_the_strength_times_the_weight_matrices() -> None:
    s, step = 0.3, step_at("weight-decay", 0.3)
    penalty = lambda params: step.program.parts[0].penalty(params, step.lane(0, "penalty"))  # noqa: E731
    params = tree_map(lambda v: v.double().requires_grad_(), step.params)
    grads = torch.autograd.grad(penalty(params), list(params.values()), allow_unused=True)
    for name, g in zip(params, grads, strict=True):
        w = step.params[name]
        if w.dim() < 2:
            assert g is None or not g.any()
            continue
        assert torch.allclose(g.float(), s * w, atol=1e-6)
        up, down = ({**params, name: params[name] + sign * 1e-5 * torch.ones_like(w)} for sign in (1, -1))
        assert ((penalty(up) - penalty(down)) / 2e-5).item() == pytest.approx(g.sum().item(), abs=1e-6)


def test_max_norm_scales_long_rows_back_and_leaves_short_ones_alone() -> None:
    w = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    kernel = torch.full((2, 1, 2, 2), 0.5)  # norms 1
    out = act("max-norm", "weights", 0.8, {"w": w, "b": torch.ones(3) * 9, "k": kernel})
    assert torch.allclose(out["w"][0], torch.tensor([0.48, 0.64]))
    assert torch.equal(out["w"][1:], w[1:]) and torch.equal(out["b"], torch.ones(3) * 9)
    assert torch.allclose(out["k"], kernel * 0.8)


def test_max_norm_holds_after_training() -> None:
    params = world("max-norm", (0.3,), architecture=CNN).trained(epochs=4).var["params"]
    norms = torch.cat([w[0].norm(dim=1) for name, w in params.items() if w.dim() > 2])
    assert norms.max() <= 0.3 * (1 + 1e-6) and (norms > 0.299).any()


def test_gradient_clipping_bounds_the_norm_of_the_whole_gradient() -> None:
    g = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}
    out = act("gradient-clipping", "grads", 1.0, g, g)
    assert torch.allclose(out["a"], g["a"] / 5) and torch.allclose(out["b"], g["b"] / 5)
    assert bitwise_equal(act("gradient-clipping", "grads", 7.0, g, g), g)
    zero = {k: v * 0 for k, v in g.items()}
    assert bitwise_equal(act("gradient-clipping", "grads", 1.0, zero, zero), zero)


def test_sam_takes_the_gradient_at_the_radius_along_the_gradient() -> None:
    rho, step = 0.7, step_at("sam", 0.7)
    f = lambda params: cross_entropy(step.program.logits(params, step.x), step.y).mean()  # noqa: E731
    first = torch.func.grad(f)(step.params)
    norm = math.sqrt(sum(g.square().sum().item() for g in first.values()))
    second = torch.func.grad(f)({k: w + rho * first[k] / norm for k, w in step.params.items()})
    mine = step.gradient(step.params, 1)[0]
    assert all(torch.allclose(mine[k], second[k], atol=1e-6) for k in second)


def test_ema_evaluates_the_exponential_average_of_all_weights_so_far() -> None:
    s, w = 0.9, world("ema", (0.9,))
    trainer, plain = w.trainer(), replace(w, regularizers=()).trainer()
    average = {k: v.clone() for k, v in plain.var["params"].items()}
    for order in w.orders(epochs=2):
        for one in order.split(1, dim=1):
            trainer.train_epoch(one)
            plain.train_epoch(one)
            average = {k: s * a + (1 - s) * plain.var["params"][k] for k, a in average.items()}
    assert bitwise_equal(trainer.var["params"], plain.var["params"])
    read = trainer.program.readout(*(tree_map(lambda v: v[0], t) for t in (trainer.var, trainer.fixed)), trainer.t)
    assert all(torch.allclose(read[k], average[k][0], atol=1e-6) for k in read)


def test_an_adversarial_step_is_32_grey_levels_up_the_loss() -> None:
    plain, step = step_at("none"), step_at("adversarial", 1.0)
    levels = (step.x - plain.x) / step.lane(0, "batch").pixel
    assert set(levels.abs().round(decimals=2).unique().tolist()) <= {0.0, 32.0}
    x = plain.x.clone().requires_grad_()
    loss = cross_entropy(functional_call(step.program.module, step.params, (x, untapped)), step.y).sum()
    (g,) = torch.autograd.grad(loss, x)
    assert torch.allclose(levels, 32 * g.sign(), atol=1e-2)
    # float32 pixels are 0-1, so that a grey level is 1/255 there: the same images give the same step
    w = world("adversarial", (1.0,))
    data = lanes_of(lane_data(1, float_pool=True), [0])
    other = ToyRun(parts("adversarial"), ((1.0,),), data=data, seeds=(0,))
    a, b = (one_lane(v.trainer(), v.orders()[0], t=2) for v in (w, other))
    assert torch.allclose(a.x, b.x, atol=1e-4)


def test_the_attack_strikes_whole_examples_at_the_rate() -> None:
    plain, step, lane = step_at("none"), step_at("adversarial", 0.5), draw_of("adversarial", "batch", 0.5)
    moved = (step.x != plain.x).flatten(1).any(1)
    hit = (lane.uniform((8, 1, 1, 1)) < 0.5).flatten()
    assert torch.equal(moved, hit) and 0 < hit.sum() < 8


def test_the_attack_sees_the_network_without_dropout() -> None:
    alone, both = step_at("adversarial", 1.0), step_at("dropout+adversarial", 0.8, 1.0)
    assert torch.equal(alone.x, both.x)


@pytest.mark.parametrize("factor", [1 / 3, 1 / 30])
def test_low_lr_is_training_at_that_learning_rate(factor: float) -> None:
    w = world("low-lr", (factor,))
    slow = replace(w, regularizers=(), recipe=replace(RECIPE, lr=RECIPE.lr * factor))
    mine, theirs = (v.trained(epochs=6).var["params"] for v in (w, slow))
    assert all(torch.allclose(mine[k], theirs[k], atol=1e-5) for k in mine)


def test_placebo_acts_at_no_stage() -> None:
    (placebo,) = parts("placebo")
    assert placebo.acts_on == () and placebo.redraw and placebo.group == "control"

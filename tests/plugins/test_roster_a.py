"""The regularizers of data, model, loss and targets: each against its formula, written anew from the paper."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import one_lane
from support.engine import parts
from test_regularizers import act
from test_regularizers import draw_of
from test_regularizers import step_at
from test_regularizers import world
from torch import Tensor

from membench.api import Architecture
from membench.engine.network import inspect_network
from membench.engine.step import Step
from membench.engine.step import forward_of
from membench.engine.trainer import standardise
from membench.nn import cross_entropy

LOGITS = torch.linspace(-3, 4, 60).sin().reshape(12, 5) * 4
LABELS = torch.arange(12) % 5


def seen_by(step: Step, x: Tensor) -> Tensor:
    """Logits of the network without taps, at the step's weights."""
    return step.program.logits(step.params, x)


def skips(name: str, architecture: Architecture) -> str | None:
    """Why it cannot act on a network."""
    return parts(name)[0].skip(inspect_network(architecture, SHAPE, CLASSES))


# --- data -----------------------------------------------------------------------------------------


def sign_of_gradient(step: Step, x: Tensor, labels: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(seen_by(step, x), labels, reduction="sum"), x)[0].sign()


def test_pgd_3_walks_three_steps_up_the_loss_inside_the_box() -> None:
    plain, step = step_at("none"), step_at("pgd-3", 1.0)
    grey = step.lane(0, "batch").pixel
    labels, eps = plain.y.argmax(1), 32 * grey
    x = plain.x + eps * (2 * draw_of("pgd-3", "batch", 1.0).uniform(plain.x.shape) - 1)
    for _ in range(3):
        x = x + 2.5 / 3 * eps * sign_of_gradient(step, x, labels)
        x = torch.minimum(torch.maximum(x, plain.x - eps), plain.x + eps)
    assert torch.allclose(step.x, x, atol=1e-4) and torch.equal(step.y, plain.y)
    moved = ((step.x - plain.x) / grey).abs()
    assert moved.max() <= 32.001 and (moved > 31.99).float().mean() > 0.5
    loss = lambda z: F.cross_entropy(seen_by(step, z), labels)  # noqa: E731
    assert loss(step.x) > loss(step_at("adversarial", 1.0).x) > loss(plain.x)


def lass(step: Step, x: Tensor, noise: list[Tensor], r: Tensor) -> Tensor | None:
    """Algorithm 1 of the paper for one image [1, c, h, w], with the direction of its code: None = not critical."""
    predicted, moved = seen_by(step, x).argmax(1), x
    for eta in noise:
        moved = moved + r / 0.3 * (0.25 * sign_of_gradient(step, moved, predicted) + 0.2 * eta)
        moved = torch.where((moved - x).abs() > r, x + r * (moved - x).sign(), moved)
        if seen_by(step, moved).argmax(1) != predicted:
            return moved
    return None


def test_lass_replaces_the_critical_examples_by_what_the_paper_s_algorithm_finds() -> None:
    plain, step = step_at("none"), step_at("lass", 1.0)
    lane = draw_of("lass", "batch", 1.0)
    noise = [lane.normal(plain.x.shape) for _ in range(2)]
    found = [lass(step, plain.x[i, None], [n[i, None] for n in noise], 64 * lane.pixel) for i in range(8)]
    assert 0 < sum(f is None for f in found) < 8
    for i, sample in enumerate(found):
        assert torch.allclose(step.x[i], plain.x[i] if sample is None else sample[0], atol=1e-4)
    assert torch.equal(step.y, plain.y)


def test_lass_strikes_critical_examples_at_the_rate() -> None:
    plain, all_of_them, some = step_at("none"), step_at("lass", 1.0), step_at("lass", 0.5)
    lane = draw_of("lass", "batch", 0.5)
    for _ in range(2):
        lane.normal(plain.x.shape)
    hit = (lane.uniform((8,)) < 0.5)[:, None, None, None]
    assert torch.equal(some.x, torch.where(hit, all_of_them.x, plain.x)) and not torch.equal(some.x, all_of_them.x)


def square(centre: Tensor, side: float, size: int) -> list[tuple[int, int]]:
    """The pixels (row, column) whose middle lies in a square around the centre, in shares of the size."""
    near = lambda i, c: abs(i + 0.5 - c.item() * size) < side / 2  # noqa: E731
    return [(i, j) for i in range(size) for j in range(size) if near(i, centre[0]) and near(j, centre[1])]


@pytest.mark.parametrize("side", [3, 6.5, 8])
def test_cutout_sets_a_square_to_the_mean_and_leaves_the_rest(side: float) -> None:
    x = torch.rand(40, 2, 8, 8) + 1
    out, y = act("cutout", "batch", side / 8, x, x[:, 0, 0])
    centres, areas = draw_of("cutout", "batch", side / 8).uniform((40, 2)), []
    for i in range(40):
        expected = x[i].clone()
        for row, column in square(centres[i], side, 8):
            expected[:, row, column] = 0
        assert torch.equal(out[i], expected)
        areas.append((out[i, 0] == 0).sum().item())
    assert torch.equal(y, x[:, 0, 0])
    assert min(areas) < max(areas) <= math.ceil(side) ** 2  # cut by the border
    assert side != 3 or max(areas) == 9


def test_cutout_of_twice_the_image_leaves_nothing() -> None:
    x = torch.ones(50, 1, 8, 8)
    assert not act("cutout", "batch", 2.0, x, x)[0].any()


def test_cutmix_pastes_boxes_and_mixes_the_labels_by_their_area() -> None:
    n, s = 60, 0.7
    x, y = torch.rand(n, 2, 8, 8), F.one_hot(torch.arange(n)).float()
    mixed, labels = act("cutmix", "batch", s, x, y)
    lane = draw_of("cutmix", "batch", s)
    hit, cut, centre, other = lane.uniform((n, 1)) < s, lane.uniform((n, 1)), lane.uniform((n, 2)), lane.permutation(n)
    for i in range(n):
        box = square(centre[i], math.sqrt(cut[i]) * 8, 8) if hit[i] else []
        expected = x[i].clone()
        for row, column in box:
            expected[:, row, column] = x[other[i], :, row, column]
        assert torch.equal(mixed[i], expected)
        own = 1 - len(box) / 64
        assert torch.allclose(labels[i], own * y[i] + (1 - own) * y[other[i]])
    assert abs(hit.float().mean() - s) < 4 * math.sqrt(s * (1 - s) / n)


def test_random_shift_is_a_random_crop_of_the_padded_image() -> None:
    n, s = 400, 2
    x = torch.rand(n, 2, 8, 8)
    out, y = act("random-shift", "batch", float(s), x, x[:, 0, 0])
    padded = F.pad(x, (s, s, s, s), mode="replicate")
    crops = {(i, j): padded[:, :, i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
    counts = [(out == crop).flatten(1).all(1).sum().item() for crop in crops.values()]
    assert sum(counts) == n and torch.equal(y, x[:, 0, 0])
    assert sum((c - n / 25) ** 2 for c in counts) / (n / 25) < 24 + 4 * math.sqrt(48)  # chi-square: all as likely


def test_random_shift_moves_more_rarely_below_a_pixel() -> None:
    x = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1000, 1, 8, 8)
    move = x[:, 0, 4, 0] - act("random-shift", "batch", 0.1, x, x)[0][:, 0, 4, 0]
    assert set(move.tolist()) == {-1, 0, 1}
    assert abs(move.abs().mean() - 0.2 / 1.2) < 4 * math.sqrt(0.14 / 1000)


# --- model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "within"), [((100, 20, 3, 4), (2, 3)), ((100, 5, 20), (1,)), ((100, 20), ())], ids=str
)
def test_spatial_dropout_drops_whole_channels(shape: tuple[int, ...], within: tuple[int, ...]) -> None:
    h, s = torch.rand(shape) + 1, 0.4
    out = act("spatial-dropout", "hidden", s, h)
    kept = (out != 0).float()
    share = kept.mean(within) if within else kept
    assert set(share.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(out, h * kept / (1 - s))
    assert abs(share.mean() - (1 - s)) < 4 * math.sqrt(s * (1 - s) / share.numel())
    assert share.mean(0).max() < 1 and share.mean(1).var() > 0  # every example and channel for itself


def test_stochastic_depth_leaves_out_whole_branches_and_nothing_else() -> None:
    w, s, h = world("stochastic-depth", (0.3,), architecture=CNN), 0.3, torch.rand(4, 5) + 1
    trainer, order, kept = w.trainer(), w.orders()[0], []
    for t in range(60):
        step = one_lane(trainer, order, t)
        hidden = step.program.parts[0].hidden
        assert torch.equal(hidden(h, step.lane(0, "hidden", tap=0, kind="hidden")), h)
        out = hidden(h, step.lane(0, "hidden", tap=1, kind="branch"))
        kept.append(bool(out.any()))
        assert torch.allclose(out, h / (1 - s)) or not kept[-1]
    assert abs(sum(kept) / 60 - (1 - s)) < 4 * math.sqrt(s * (1 - s) / 60)


def test_stochastic_depth_skips_networks_without_a_branch() -> None:
    assert skips("stochastic-depth", MLP) == "the network has no residual branch"
    assert skips("stochastic-depth", CNN) is None


def tiny_mlp(p: dict[str, Tensor], x: Tensor, blend: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The tests' network, with `blend(place, h)` at its input and after both activations."""
    h = blend(0, x.flatten(1))
    h = blend(1, F.relu(h @ p["first.weight"].T + p["first.bias"]))
    h = blend(2, F.relu(h @ p["second.weight"].T + p["second.bias"]))
    return h @ p["head.weight"].T + p["head.bias"]


def test_manifold_mixup_blends_one_place_a_step_and_the_labels_alike() -> None:
    w, s = world("manifold-mixup", (0.6,)), 0.6
    trainer, plain, order, places = w.trainer(), ToyRun((), ((),), data=w.data).trainer(), w.orders()[0], []
    for t in range(12):
        mixed, clean = one_lane(trainer, order, t), one_lane(plain, order, t)
        lane = mixed.lane(0, "batch")
        place = int(3 * lane.uniform((), "place"))
        own, other = 1 - s * lane.uniform((8, 1), "share"), lane.permutation(8, "other")
        blend = lambda at, h: own * h + (1 - own) * h[other] if at == place else h  # noqa: B023, E731
        expected = tiny_mlp(mixed.params, clean.x, blend)
        logits = mixed.objective(mixed.params, mixed.x, mixed.y, mixed.index, None)[1][0]
        assert torch.allclose(logits, expected, atol=1e-5)
        assert not torch.allclose(logits, tiny_mlp(mixed.params, clean.x, lambda at, h: h), atol=1e-3)
        assert torch.allclose(mixed.y, own * clean.y + (1 - own) * clean.y[other])
        places.append(place)
    assert set(places) == {0, 1, 2}


def test_manifold_mixup_skips_networks_whose_first_layers_are_branches() -> None:
    assert skips("manifold-mixup", CNN) == "the first 2 taps are not hidden layers"
    assert skips("manifold-mixup", MLP) is None


def test_activation_penalty_is_the_mean_square_of_each_layer() -> None:
    activations = [torch.rand(4, 6), torch.rand(4, 3, 2, 2)]
    expected = 0.5 * ((activations[0] ** 2).sum() / 24 + (activations[1] ** 2).sum() / 48)
    assert torch.allclose(act("activation-penalty", "penalty", 0.5, {}, activations=activations), expected)


def test_dropconnect_drops_entries_of_the_weight_matrices_at_its_rate() -> None:
    w, s = {"a": torch.rand(100, 50) + 1, "b": torch.rand(50), "c": torch.rand(50, 100) + 1}, 0.7
    out = act("dropconnect", "perturb", s, w)
    assert torch.equal(out["b"], w["b"])
    for name in "ac":
        kept = out[name] != 0
        assert torch.allclose(out[name], w[name] * kept / (1 - s))
        assert abs(kept.float().mean() - (1 - s)) < 4 * math.sqrt(s * (1 - s) / 5000)
    assert not torch.equal((out["a"] != 0).flatten(), (out["c"] != 0).flatten())


# --- losses ---------------------------------------------------------------------------------------


def pereyra(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    return F.cross_entropy(logits, labels, reduction="none") - s * entropy


def zhang(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    return (1 - logits.softmax(1)[torch.arange(len(labels)), labels] ** s) / s


def wang(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    log_y = torch.full_like(logits, -4.0).scatter(1, labels[:, None], 0.0)
    return (1 - s) * F.cross_entropy(logits, labels, reduction="none") - s * (logits.softmax(1) * log_y).sum(1)


def reed(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    target = (1 - s) * F.one_hot(labels, logits.shape[1]) + s * F.one_hot(logits.argmax(1), logits.shape[1])
    return F.cross_entropy(logits, target, reduction="none")


PAPERS = {"confidence-penalty": pereyra, "gce": zhang, "sce": wang, "bootstrapping": reed}


def loss_of(name: str, s: float, logits: Tensor, **fields: Any) -> Tensor:
    """[12]: the registered loss of the test's logits, hard labels."""
    y = F.one_hot(LABELS, 5).float()
    return act(name, "loss", s, cross_entropy(logits, y), logits, y, **fields)


@pytest.mark.parametrize("s", [0.02, 0.4, 1.0])
@pytest.mark.parametrize("name", PAPERS)
def test_the_loss_is_the_paper_s_in_value_and_gradient(name: str, s: float) -> None:
    mine, theirs = (LOGITS.clone().requires_grad_() for _ in range(2))
    a, b = loss_of(name, s, mine), PAPERS[name](theirs, LABELS, s)
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(1, 2, 12)
    grads = [torch.autograd.grad((v * weights).sum(), z)[0] for v, z in ((a, mine), (b, theirs))]
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("level", "sign"), [(0.5, 1), (5.0, -1)])
def test_flooding_ascends_where_the_mean_loss_is_below_the_level(level: float, sign: int) -> None:
    logits = LOGITS.clone().requires_grad_()
    plain = F.cross_entropy(logits, LABELS)
    assert 0.5 < plain < 5
    mine = loss_of("flooding", level, logits).mean()
    assert torch.allclose(mine, (plain - level).abs() + level)
    grads = [torch.autograd.grad(v, logits, retain_graph=True)[0] for v in (mine, sign * plain)]
    assert torch.allclose(*grads, atol=1e-7)


LATE = {"progress": torch.tensor(0.5)}  #: the share has risen to the strength


def test_small_loss_keeps_the_smallest_losses() -> None:
    losses = torch.tensor([5.0, 1.0, 4.0, 0.5, 3.0, 2.0, 9.0, 8.0, 7.0, 6.0])
    out = act("small-loss", "loss", 0.3, losses, losses, losses, **LATE)
    assert torch.equal(out == 0, losses > 6)  # three of ten
    assert torch.allclose(out.mean(), losses[losses <= 6].mean())
    assert torch.allclose(out[losses <= 6], losses[losses <= 6] * 10 / 7)


def test_small_loss_counts_the_example_at_the_border_for_the_fraction() -> None:
    losses = torch.tensor([4.0, 1.0, 3.0, 2.0])
    out = act("small-loss", "loss", 0.375, losses, losses, losses, **LATE)
    assert torch.allclose(out.mean(), torch.tensor(4.5 / 2.5))
    equal = torch.ones(4)  # ties are cut all the same
    assert act("small-loss", "loss", 0.5, equal, equal, equal, **LATE).tolist() == [2, 2, 0, 0]


def test_small_loss_s_share_rises_over_the_first_tenth_of_the_steps() -> None:
    losses = torch.arange(10.0)
    cut = lambda at: (act("small-loss", "loss", 0.4, losses, losses, losses, progress=torch.tensor(at)) == 0).sum() - 1  # noqa: E731
    assert [cut(at).item() for at in (0.0, 0.05, 0.1, 0.9)] == [0, 2, 4, 4]


# --- targets --------------------------------------------------------------------------------------


def batch_of(w: ToyRun, order: Tensor) -> tuple[Tensor, Tensor]:
    """(x, index) of the first lane's only batch in an order [1, 1, n]."""
    index, data = order[0, 0], w.data
    return standardise(data.pool[data.rows[:, index]], data.mean, data.std)[0], index


def test_elr_s_state_is_the_temporal_ensemble_of_each_example_s_outputs() -> None:
    w = world("elr", (2.0,))
    trainer, targets = w.trainer(), torch.zeros(24, CLASSES)
    for order in w.orders(epochs=3):
        for one in order.split(1, dim=1):
            x, index = batch_of(w, one)
            params = {k: v[0].clone() for k, v in trainer.var["params"].items()}
            for i, p in zip(index, trainer.program.logits(params, x).softmax(1), strict=True):
                targets[i] = 0.7 * targets[i] + 0.3 * p
            trainer.train_epoch(one)
    assert torch.allclose(trainer.var["states"][0]["targets"][0], targets, atol=1e-5)
    assert torch.allclose(targets.sum(1), torch.tensor(1 - 0.7**3))  # three times seen, from nothing


def test_elr_s_loss_rewards_agreement_with_the_target() -> None:
    step, s = step_at("elr", 2.0), 2.0
    lane, logits = step.lane(0, "loss", index=step.index), LOGITS[:8, :CLASSES].clone().requires_grad_()
    before = torch.rand(24, CLASSES)
    lane.state = {"targets": before / before.sum(1, keepdim=True)}
    ce = F.cross_entropy(logits, step.y.argmax(1), reduction="none")
    mine = step.program.parts[0].loss(ce, logits, step.y, lane)
    p = logits.softmax(1)
    t = 0.7 * lane.state["targets"][step.index] + 0.3 * p.detach()
    theirs = ce + s * torch.log(1 - (p * t).sum(1))
    assert torch.allclose(mine, theirs, atol=1e-5)
    grads = [torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (mine, theirs)]
    assert torch.allclose(*grads, atol=1e-5)


def test_elr_stays_finite_for_a_network_that_is_sure() -> None:
    step = step_at("elr", 2.0)
    lane, logits = step.lane(0, "loss", index=step.index), 100 * F.one_hot(torch.zeros(8).long(), CLASSES).float()
    lane.state = {"targets": F.one_hot(torch.zeros(24).long(), CLASSES).float()}
    out = step.program.parts[0].loss(torch.zeros(8), logits, step.y, lane)
    assert torch.allclose(out, torch.tensor(2 * math.log(1e-4)), rtol=1e-3)


def test_self_distillation_s_teacher_is_the_average_of_the_student_s_weights() -> None:
    w = world("self-distillation", (0.5,))
    trainer = w.trainer()
    teacher = {k: v.clone() for k, v in trainer.var["params"].items()}
    for one in w.orders()[0].split(1, dim=1):
        trainer.train_epoch(one)
        teacher = {k: 0.99 * a + 0.01 * trainer.var["params"][k] for k, a in teacher.items()}
    state = trainer.var["states"][0]["teacher"]
    assert all(torch.allclose(state[k], teacher[k], atol=1e-6) for k in teacher)
    assert not bitwise_equal(state, trainer.var["params"])


def test_self_distillation_s_loss_mixes_in_the_teacher_s_answer() -> None:
    step, s = step_at("self-distillation", 0.4), 0.4
    teacher = {k: w + 0.1 for k, w in step.params.items()}
    lane = step.lane(0, "loss", x=step.x, forward=forward_of(step, 0, "loss", step.params))
    lane.state = {"teacher": teacher}
    logits = seen_by(step, step.x)
    target = (1 - s) * step.y + s * step.program.logits(teacher, step.x).softmax(1)
    mine = step.program.parts[0].loss(cross_entropy(logits, step.y), logits, step.y, lane)
    assert torch.allclose(mine, F.cross_entropy(logits, target, reduction="none"), atol=1e-6)


def test_r_drop_adds_how_far_two_passes_with_dropout_differ() -> None:
    step = step_at("r-drop", 0.5)
    passes = [forward_of(step, 0, "loss", step.params) for _ in range(2)]
    second = passes[0](step.x, train=True)  # the draws of the function's own pass
    first, y = seen_by(step, step.x), step.y
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)
    kl = lambda a, b: F.kl_div(b, a, log_target=True, reduction="none").sum(1)  # noqa: E731
    nll = F.cross_entropy(first, y, reduction="none") + F.cross_entropy(second, y, reduction="none")
    theirs = nll + 0.6 * (kl(log_p, log_q) + kl(log_q, log_p)) / 2
    lane = step.lane(0, "loss", x=step.x, forward=passes[1])
    mine = step.program.parts[0].loss(cross_entropy(first, y), first, y, lane)
    assert torch.allclose(mine, theirs / 2, atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-2)


def test_r_drop_s_passes_drop_different_units() -> None:
    h = torch.ones(50, 40)
    masks = [act("r-drop", "hidden", 0.4, h, tap=0, kind="hidden") for _ in range(2)]
    assert torch.equal(*masks) and set(masks[0].unique().tolist()) == {0, (1 / torch.tensor(0.6)).item()}
    step = step_at("r-drop", 0.4)
    again = forward_of(step, 0, "loss", step.params)
    main = step.objective(step.params, step.x, step.y, step.index, None)[1][0]
    assert not torch.allclose(main, again(step.x, train=True), atol=1e-3)

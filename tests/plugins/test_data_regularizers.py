"""The regularizers of inputs and labels, each against its paper's formula."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from support.engine import ToyRun
from support.engine import lane_data
from support.engine import one_lane
from support.engine import parts
from support.regularizers import call_stage
from support.regularizers import lane_at
from support.regularizers import plain_logits
from support.regularizers import step_at
from support.regularizers import toy_run
from torch import Tensor
from torch.func import functional_call

from membench.engine.step import Step
from membench.engine.step import untapped
from membench.nn import cross_entropy

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


@pytest.mark.parametrize(("name", "stage"), [("hidden-noise", "hidden"), ("input-noise", "batch")])
def test_noise_is_standard_gaussian_times_the_strength(name: str, stage: str) -> None:
    h = torch.linspace(-1, 1, 20000).reshape(100, 200)
    out = (
        call_stage(name, stage, 3.0, h)
        if stage == "hidden"
        else call_stage(name, stage, 3.0, h, h)[0]
    )
    z = ((out - h) / 3).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)


def test_data_regularizers_that_leave_labels_alone_do() -> None:
    for name in ("input-noise", "input-dropout", "adversarial"):
        assert torch.equal(step_at(name, 0.7).y, step_at("none").y)


def test_mixup_blends_inputs_and_labels_with_the_same_weight_and_partner() -> None:
    s, plain, mixed = 0.6, step_at("none"), step_at("mixup", 0.6)
    lane = lane_at("mixup", "batch", s)
    u, other = lane.uniform((8, 1)), lane.permutation(8)
    for i in range(8):
        own = 1 - s * u[i, 0]
        assert own >= 1 - s
        assert torch.allclose(
            mixed.x[i], own * plain.x[i] + (1 - own) * plain.x[other[i]], atol=1e-6
        )
        assert torch.allclose(
            mixed.y[i], own * plain.y[i] + (1 - own) * plain.y[other[i]], atol=1e-6
        )
    assert torch.allclose(mixed.y.sum(1), torch.ones(8))


# --- attacks --------------------------------------------------------------------------------------


def test_an_adversarial_step_goes_32_grey_levels_up_the_loss() -> None:
    plain, step = step_at("none"), step_at("adversarial", 1.0)
    levels = (step.x - plain.x) / step.lane(0, "batch").pixel
    assert set(levels.abs().round(decimals=2).unique().tolist()) <= {0.0, 32.0}
    x = plain.x.clone().requires_grad_()
    loss = cross_entropy(
        functional_call(step.program.module, step.params, (x, untapped)), step.y
    ).sum()
    (g,) = torch.autograd.grad(loss, x)
    assert torch.allclose(levels, 32 * g.sign(), atol=1e-2)
    # float32 pixels are 0-1, so a grey level is 1/255: the same images give the same step
    w = toy_run("adversarial", (1.0,))
    data = lane_data(1, float_pool=True).of_lanes([0])
    other = ToyRun(parts("adversarial"), ((1.0,),), data=data, seeds=(0,))
    a, b = (one_lane(v.trainer(), v.orders()[0], t=2) for v in (w, other))
    assert torch.allclose(a.x, b.x, atol=1e-4)


def test_the_attack_strikes_whole_examples_at_the_rate() -> None:
    plain, step, lane = (
        step_at("none"),
        step_at("adversarial", 0.5),
        lane_at("adversarial", "batch", 0.5),
    )
    moved = (step.x != plain.x).flatten(1).any(1)
    hit = (lane.uniform((8, 1, 1, 1)) < 0.5).flatten()
    assert torch.equal(moved, hit) and 0 < hit.sum() < 8


def test_the_attack_sees_the_network_without_dropout() -> None:
    alone, both = step_at("adversarial", 1.0), step_at("dropout+adversarial", 0.8, 1.0)
    assert torch.equal(alone.x, both.x)


def sign_of_gradient(step: Step, x: Tensor, labels: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(plain_logits(step, x), labels, reduction="sum"), x)[
        0
    ].sign()


def test_pgd_3_walks_three_steps_up_the_loss_inside_the_box() -> None:
    plain, step = step_at("none"), step_at("pgd-3", 1.0)
    grey = step.lane(0, "batch").pixel
    labels, eps = plain.y.argmax(1), 32 * grey
    x = plain.x + eps * (2 * lane_at("pgd-3", "batch", 1.0).uniform(plain.x.shape) - 1)
    for _ in range(3):
        x = x + 2.5 / 3 * eps * sign_of_gradient(step, x, labels)
        x = torch.minimum(torch.maximum(x, plain.x - eps), plain.x + eps)
    assert torch.allclose(step.x, x, atol=1e-4) and torch.equal(step.y, plain.y)
    moved = ((step.x - plain.x) / grey).abs()
    assert moved.max() <= 32.001 and (moved > 31.99).float().mean() > 0.5

    def loss(x: Tensor) -> Tensor:
        return F.cross_entropy(plain_logits(step, x), labels)

    assert loss(step.x) > loss(step_at("adversarial", 1.0).x) > loss(plain.x)


def lass(step: Step, x: Tensor, noise: list[Tensor], r: Tensor) -> Tensor | None:
    """Run algorithm 1 of the paper on one image [1, c, h, w], with the direction of its code.

    Returns the critical sample, or None if there is none.
    """
    predicted, moved = plain_logits(step, x).argmax(1), x
    for eta in noise:
        moved = moved + r / 0.3 * (0.25 * sign_of_gradient(step, moved, predicted) + 0.2 * eta)
        moved = torch.where((moved - x).abs() > r, x + r * (moved - x).sign(), moved)
        if plain_logits(step, moved).argmax(1) != predicted:
            return moved
    return None


def test_lass_replaces_the_critical_examples_by_what_the_paper_s_algorithm_finds() -> None:
    plain, step = step_at("none"), step_at("lass", 1.0)
    lane = lane_at("lass", "batch", 1.0)
    noise = [lane.normal(plain.x.shape) for _ in range(2)]
    found = [
        lass(step, plain.x[i, None], [n[i, None] for n in noise], 64 * lane.pixel) for i in range(8)
    ]
    assert 0 < sum(f is None for f in found) < 8
    for i, sample in enumerate(found):
        assert torch.allclose(step.x[i], plain.x[i] if sample is None else sample[0], atol=1e-4)
    assert torch.equal(step.y, plain.y)


def test_lass_strikes_critical_examples_at_the_rate() -> None:
    plain, all_of_them, some = step_at("none"), step_at("lass", 1.0), step_at("lass", 0.5)
    lane = lane_at("lass", "batch", 0.5)
    for _ in range(2):
        lane.normal(plain.x.shape)
    hit = (lane.uniform((8,)) < 0.5)[:, None, None, None]
    assert torch.equal(some.x, torch.where(hit, all_of_them.x, plain.x)) and not torch.equal(
        some.x, all_of_them.x
    )


# --- parts of images ------------------------------------------------------------------------------


def square(centre: Tensor, side: float, size: int) -> list[tuple[int, int]]:
    """Pixels (row, column) whose middle lies in a square; its centre is in shares of the size."""

    def near(i: int, c: Tensor) -> bool:
        return abs(i + 0.5 - c.item() * size) < side / 2

    return [
        (i, j)
        for i in range(size)
        for j in range(size)
        if near(i, centre[0]) and near(j, centre[1])
    ]


@pytest.mark.parametrize("side", [3, 6.5, 8])
def test_cutout_sets_a_square_to_the_mean_and_leaves_the_rest(side: float) -> None:
    x = torch.rand(40, 2, 8, 8) + 1
    out, y = call_stage("cutout", "batch", side / 8, x, x[:, 0, 0])
    centres, areas = lane_at("cutout", "batch", side / 8).uniform((40, 2)), []
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
    assert not call_stage("cutout", "batch", 2.0, x, x)[0].any()


def test_cutmix_pastes_boxes_and_mixes_the_labels_by_their_area() -> None:
    n, s = 60, 0.7
    x, y = torch.rand(n, 2, 8, 8), F.one_hot(torch.arange(n)).float()
    mixed, labels = call_stage("cutmix", "batch", s, x, y)
    lane = lane_at("cutmix", "batch", s)
    hit, cut, centre, other = (
        lane.uniform((n, 1)) < s,
        lane.uniform((n, 1)),
        lane.uniform((n, 2)),
        lane.permutation(n),
    )
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
    out, y = call_stage("random-shift", "batch", float(s), x, x[:, 0, 0])
    padded = F.pad(x, (s, s, s, s), mode="replicate")
    crops = {(i, j): padded[:, :, i : i + 8, j : j + 8] for i in range(5) for j in range(5)}
    counts = [(out == crop).flatten(1).all(1).sum().item() for crop in crops.values()]
    assert sum(counts) == n and torch.equal(y, x[:, 0, 0])
    assert sum((c - n / 25) ** 2 for c in counts) / (n / 25) < 24 + 4 * math.sqrt(
        48
    )  # chi-square: all as likely


def test_random_shift_moves_more_rarely_below_a_pixel() -> None:
    x = torch.arange(8.0).reshape(1, 1, 8, 1).expand(1000, 1, 8, 8)
    move = x[:, 0, 4, 0] - call_stage("random-shift", "batch", 0.1, x, x)[0][:, 0, 4, 0]
    assert set(move.tolist()) == {-1, 0, 1}
    assert abs(move.abs().mean() - 0.2 / 1.2) < 4 * math.sqrt(0.14 / 1000)

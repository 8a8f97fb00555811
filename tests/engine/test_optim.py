"""Optimizers and schedules: torch's numbers, values worked out by hand, a user's own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from support.engine import Plugins
from support.engine import ToyRun
from support.engine import blobs
from support.engine import lane_of
from support.engine import pack
from support.engine import shipped_optimizer
from torch import Tensor

from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Split
from membench.engine import optim
from membench.engine.train import train_pack
from membench.errors import MembenchError
from membench.records import Cell

pytestmark = pytest.mark.usefixtures("worker_like")

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, weight_decay=0.0),
}


# --- the shipped optimizers -----------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_are_torchs_to_the_twelfth_digit(name: str) -> None:
    recipe, optimizer = Recipe(name, lr=0.01), shipped_optimizer(name)
    start = {
        "w": torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4),
        "b": torch.ones(2, dtype=torch.float64),
    }
    mine, slots = dict(start), optim.init(optimizer, start, recipe)
    theirs = {k: v.clone().requires_grad_() for k, v in start.items()}
    reference = OPTIMIZERS[name](theirs.values(), lr=0.01)
    for t in range(60):
        grads = {k: torch.cos(7 * v + t) * 10 ** (-t / 20) for k, v in start.items()}
        for k, v in theirs.items():
            v.grad = grads[k].clone()
        reference.step()
        lr, step = torch.tensor(0.01, dtype=torch.float64), torch.tensor(t, dtype=torch.int32)
        mine, slots = optim.update(optimizer, mine, grads, slots, lr, step, recipe)
    for k, v in theirs.items():
        assert torch.allclose(mine[k], v, rtol=1e-12, atol=1e-12)


def lion(w: Tensor, grads: list[Tensor], lr: float) -> Tensor:
    """Chen et al. 2023, algorithm 2, one weight at a time."""
    mean = torch.zeros_like(w)
    for g in grads:
        w = w - lr * (0.9 * mean + 0.1 * g).sign()
        mean = 0.99 * mean + 0.01 * g
    return w


def lookahead(w: Tensor, grads: list[Tensor], lr: float) -> Tensor:
    """Zhang et al. 2019, algorithm 1, around torch's SGD."""
    fast = w.clone().requires_grad_()
    slow = w.clone()
    inner = torch.optim.SGD([fast], lr=lr, momentum=0.9)
    for t, g in enumerate(grads, start=1):
        fast.grad = g.clone()
        inner.step()
        if t % 5 == 0:
            slow += 0.5 * (fast.detach() - slow)
            fast.data.copy_(slow)
    return fast.detach()


def muon(w: Tensor, grads: list[Tensor], lr: float) -> Tensor:
    """Jordan et al. 2024; of a vector, torch's Adam."""
    if w.dim() == 1:
        theirs = w.clone().requires_grad_()
        adam = torch.optim.Adam([theirs], lr=lr)
        for g in grads:
            theirs.grad = g.clone()
            adam.step()
        return theirs.detach()
    momentum = torch.zeros_like(w)
    for g in grads:
        momentum = 0.9 * momentum + g
        x = g + 0.9 * momentum
        is_tall = x.shape[0] > x.shape[1]
        if is_tall:
            x = x.T
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        if is_tall:
            x = x.T
        w = w - lr * max(1, w.shape[0] / w.shape[1]) ** 0.5 * x
    return w


@pytest.mark.parametrize("plain", [lion, lookahead, muon], ids=lambda f: f.__name__)
def test_an_optimizer_is_what_its_paper_writes_down(plain: Callable[..., Tensor]) -> None:
    recipe, optimizer = Recipe(plain.__name__, lr=0.01), shipped_optimizer(plain.__name__)
    start = {
        "wide": torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4),
        "tall": torch.linspace(-1, 2, 10, dtype=torch.float64).reshape(5, 2),
        "b": torch.ones(2, dtype=torch.float64),
    }
    steps = [{k: torch.cos(7 * v + t) for k, v in start.items()} for t in range(13)]
    mine, slots = dict(start), optim.init(optimizer, start, recipe)
    for t, grads in enumerate(steps):
        lr, step = torch.tensor(0.01, dtype=torch.float64), torch.tensor(t, dtype=torch.int32)
        mine, slots = optim.update(optimizer, mine, grads, slots, lr, step, recipe)
    for name, w in start.items():
        theirs = plain(w, [grads[name] for grads in steps], 0.01)
        assert torch.allclose(mine[name], theirs, rtol=1e-10, atol=1e-10), name


def test_muon_s_step_has_singular_values_near_one() -> None:
    optimizer, recipe = shipped_optimizer("muon"), Recipe("muon", momentum=0.0)
    start = {"w": torch.zeros(6, 4)}
    grads = {"w": torch.randn(6, 4, generator=torch.Generator().manual_seed(0))}
    lr, t = torch.tensor(1.0), torch.tensor(0, dtype=torch.int32)
    slots = optim.init(optimizer, start, recipe)
    step, _ = optim.update(optimizer, start, grads, slots, lr, t, recipe)
    values = torch.linalg.svdvals(step["w"]) / (6 / 4) ** 0.5
    assert values.min() > 0.5 and values.max() < 1.5


# --- schedules ------------------------------------------------------------------------------------


def rates(recipe: Recipe, steps: int) -> list[float]:
    """Return the learning rate of each step."""
    return optim.rate(recipe, torch.arange(steps, dtype=torch.float32), steps).tolist()


def test_the_constant_schedule_keeps_the_rate() -> None:
    assert rates(Recipe(lr=0.25), 3) == [0.25, 0.25, 0.25]


def test_the_cosine_schedule_is_torchs() -> None:
    reference = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=20)
    for rate in rates(Recipe(lr=0.3, schedule="cosine"), 20):
        assert rate == pytest.approx(schedule.get_last_lr()[0], rel=1e-5)
        reference.step()
        schedule.step()


def test_warmup_cosine_rises_for_a_tenth_of_the_steps_and_falls_to_zero() -> None:
    warm = rates(Recipe(lr=0.3, schedule="warmup-cosine"), 20)
    assert warm[:3] == pytest.approx([0.15, 0.3, 0.3])  # two steps of warm-up
    assert warm[8] == pytest.approx(0.15 * 1.5)  # a third of the fall: 1 + cos(60 degrees)
    assert warm[11] == pytest.approx(0.15)  # half-way
    assert warm[19] == pytest.approx(0.15 * (1 - 0.984807753), rel=1e-4)  # 1 + cos(170 degrees)


def test_the_warm_up_takes_at_least_a_step() -> None:
    recipe = Recipe(lr=0.4, schedule="warmup-cosine")
    assert rates(recipe, 1) == pytest.approx([0.4])
    assert rates(recipe, 5) == pytest.approx([0.4, 0.4, 0.2 * 1.70710678, 0.2, 0.2 * 0.29289322])


def test_lanes_are_trained_by_the_schedule() -> None:
    recipe = Recipe(lr=0.1, momentum=0.0, batch=8, schedule="warmup-cosine")
    run = ToyRun(recipe=recipe, steps=40)
    trainer = run.trainer()
    before = {name: w.clone() for name, w in lane_of(trainer.state["params"], 0).items()}
    trainer.step(run.orders()[0][:, 0])
    warm = lane_of(trainer.state["params"], 0)
    plain = ToyRun(recipe=Recipe(lr=0.025, momentum=0.0, batch=8), steps=40).trainer()
    plain.step(run.orders()[0][:, 0])
    for name, w in lane_of(plain.state["params"], 0).items():
        assert torch.allclose(warm[name], w, atol=1e-7)  # the first of four steps of warm-up
        assert not torch.equal(before[name], w)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(MembenchError, match="unknown schedule 'step'; known: constant, cosine, "):
        optim.rate(Recipe(schedule="step"), torch.zeros(()), 10)


# --- a user's own ---------------------------------------------------------------------------------


def lion_init(params: dict[str, Tensor], recipe: Recipe) -> dict[str, Any]:
    zeros = {name: torch.zeros_like(w) for name, w in params.items()}
    return {"momentum": zeros, "steps": {"taken": torch.zeros((), dtype=torch.int32)}}


def lion_update(
    params: dict[str, Tensor],
    grads: dict[str, Tensor],
    slots: dict[str, Any],
    lr: Tensor,
    t: Tensor,
    recipe: Recipe,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Chen et al. 2023, arXiv:2302.06675, without decay."""
    m, beta = slots["momentum"], recipe.momentum
    new = {k: w - lr * torch.sign(beta * m[k] + (1 - beta) * grads[k]) for k, w in params.items()}
    kept = {k: 0.99 * m[k] + 0.01 * grads[k] for k in params}
    return new, {"momentum": kept, "steps": {"taken": t + 1}}


LION = Optimizer("lion", init=lion_init, update=lion_update)


def test_an_optimizer_with_nested_slots_trains_each_lane_as_alone() -> None:
    recipe = Recipe("lion", lr=0.003, batch=8)
    run = ToyRun(strengths=((), (), ()), recipe=recipe, optimizer=LION)
    stacked = run.trained(epochs=2)
    assert stacked.state["slots"]["steps"]["taken"].tolist() == [6, 6, 6]
    start = run.trainer().state["params"]
    for lane in range(3):
        alone = run.trained([lane], epochs=2)
        mine = lane_of(stacked.state["params"], lane)
        for name, w in lane_of(alone.state["params"], 0).items():
            assert torch.allclose(mine[name], w, atol=1e-6), name
    # each of six steps moves each weight by the rate, or not at all
    moved = (stacked.state["params"]["head.weight"] - start["head.weight"]) / 0.003
    assert torch.allclose(moved, moved.round(), atol=1e-2)
    assert 1 <= moved.abs().max() <= 6.01


def test_a_pack_is_trained_with_the_optimizer_that_its_recipe_names() -> None:
    signs = Optimizer(
        "signs",
        init=lambda params, recipe: {},
        update=lambda params, grads, slots, lr, t, recipe: (
            {k: w - lr * torch.sign(grads[k]) for k, w in params.items()},
            slots,
        ),
    )
    cells = [Cell("blobs", "mlp", "none", (), "real", seed) for seed in (0, 1)]
    plugins = Plugins(datasets={"blobs": blobs()}, optimizers={"signs": signs})
    split = Split(test=20, train=20, validation=20)
    losses = {}
    for name in ("signs", "sgd"):
        recipe = Recipe(name, lr=0.01, batch=10, epochs=6)
        records = train_pack(pack(cells, recipe, split), plugins, "cpu")
        assert [record.status for record in records] == ["ok", "ok"]
        losses[name] = [record.loss[-1] for record in records]
    assert max(losses["signs"]) < min(losses["sgd"])


BROKEN: dict[str, tuple[Callable[..., Any], Callable[..., Any], str]] = {
    "slots that are no tensors": (
        lambda params, recipe: {"steps": 0},
        lion_update,
        "init must return steps: a tensor, not a int",
    ),
    "no slots": (
        lambda params, recipe: None,
        lion_update,
        "init must return a dict of tensors, not nothing",
    ),
    "one result": (
        lion_init,
        lambda params, *others: params,
        r"update must return \(weights, slots\)",
    ),
    "another shape": (
        lion_init,
        lambda params, grads, slots, *others: ({k: w[None] for k, w in params.items()}, slots),
        r"update must return weights: first.weight: \[6, 64\] float32, not \[1, 6, 64\] float32",
    ),
    "another type": (
        lion_init,
        lambda params, grads, slots, *others: (
            {k: w.double() for k, w in params.items()},
            slots,
        ),
        r"weights: first.weight: \[6, 64\] float32, not \[6, 64\] float64",
    ),
    "slots that are gone": (
        lion_init,
        lambda params, grads, slots, *others: (params, {}),
        "update must return slots: a dict of momentum, steps",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_an_optimizer_that_breaks_the_contract_is_named_with_what_it_should_return(
    fault: str,
) -> None:
    init, update, message = BROKEN[fault]
    run = ToyRun(recipe=Recipe(batch=8), optimizer=Optimizer("mine", init, update))
    with pytest.raises(MembenchError, match=f"optimizer 'mine': .*{message}"):
        run.trained(epochs=1)

"""The regularizers of the loss and its targets, each against its paper's formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import MLP
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.regularizers import call_stage
from support.regularizers import plain_logits
from support.regularizers import step_at
from support.regularizers import toy_run
from torch import Tensor

from membench.engine.lane_tensors import standardise
from membench.engine.step import forward_of
from membench.engine.step import untapped
from membench.nn import cross_entropy

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


LOGITS = torch.linspace(-3, 4, 60).sin().reshape(12, 5) * 4


LABELS = torch.arange(12) % 5


@pytest.mark.parametrize("s", [0.1, 0.98])
def test_label_smoothing_is_torch_s(s: float) -> None:
    logits, labels = (
        torch.linspace(-3, 4, 30).reshape(6, 5).requires_grad_(),
        torch.tensor([0, 1, 2, 3, 4, 0]),
    )
    y = F.one_hot(labels, 5).float()
    actual = call_stage("label-smoothing", "loss", s, cross_entropy(logits, y), logits, y)
    expected = F.cross_entropy(logits, labels, label_smoothing=s, reduction="none")
    assert torch.allclose(actual, expected, atol=1e-6)
    grads = [torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (actual, expected)]
    assert torch.allclose(*grads, atol=1e-6)


def pereyra(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    return F.cross_entropy(logits, labels, reduction="none") - s * entropy


def zhang(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    return (1 - logits.softmax(1)[torch.arange(len(labels)), labels] ** s) / s


def wang(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    log_y = torch.full_like(logits, -4.0).scatter(1, labels[:, None], 0.0)
    return (1 - s) * F.cross_entropy(logits, labels, reduction="none") - s * (
        logits.softmax(1) * log_y
    ).sum(1)


def reed(logits: Tensor, labels: Tensor, s: float) -> Tensor:
    target = (1 - s) * F.one_hot(labels, logits.shape[1]) + s * F.one_hot(
        logits.argmax(1), logits.shape[1]
    )
    return F.cross_entropy(logits, target, reduction="none")


PAPERS = {"confidence-penalty": pereyra, "gce": zhang, "sce": wang, "bootstrapping": reed}


def loss_of(name: str, s: float, logits: Tensor, **fields: Any) -> Tensor:
    """[12]: the registered loss of the test's logits, hard labels."""
    y = F.one_hot(LABELS, 5).float()
    return call_stage(name, "loss", s, cross_entropy(logits, y), logits, y, **fields)


@pytest.mark.parametrize("s", [0.02, 0.4, 1.0])
@pytest.mark.parametrize("name", PAPERS)
def test_the_loss_is_the_paper_s_in_value_and_gradient(name: str, s: float) -> None:
    actual, expected = (LOGITS.clone().requires_grad_() for _ in range(2))
    a, b = loss_of(name, s, actual), PAPERS[name](expected, LABELS, s)
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(1, 2, 12)
    grads = [
        torch.autograd.grad((v * weights).sum(), z)[0] for v, z in ((a, actual), (b, expected))
    ]
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("level", "sign"), [(0.5, 1), (5.0, -1)])
def test_flooding_ascends_where_the_mean_loss_is_below_the_level(level: float, sign: int) -> None:
    logits = LOGITS.clone().requires_grad_()
    plain = F.cross_entropy(logits, LABELS)
    assert 0.5 < plain < 5
    actual = loss_of("flooding", level, logits).mean()
    assert torch.allclose(actual, (plain - level).abs() + level)
    grads = [torch.autograd.grad(v, logits, retain_graph=True)[0] for v in (actual, sign * plain)]
    assert torch.allclose(*grads, atol=1e-7)


LATE = {"progress": torch.tensor(0.5)}  #: the share has risen to the strength


def test_small_loss_keeps_the_smallest_losses() -> None:
    losses = torch.tensor([5.0, 1.0, 4.0, 0.5, 3.0, 2.0, 9.0, 8.0, 7.0, 6.0])
    out = call_stage("small-loss", "loss", 0.3, losses, losses, losses, **LATE)
    assert torch.equal(out == 0, losses > 6)  # three of ten
    assert torch.allclose(out.mean(), losses[losses <= 6].mean())
    assert torch.allclose(out[losses <= 6], losses[losses <= 6] * 10 / 7)


def test_small_loss_counts_the_example_at_the_border_for_the_fraction() -> None:
    losses = torch.tensor([4.0, 1.0, 3.0, 2.0])
    out = call_stage("small-loss", "loss", 0.375, losses, losses, losses, **LATE)
    assert torch.allclose(out.mean(), torch.tensor(4.5 / 2.5))
    equal = torch.ones(4)  # ties are cut all the same
    assert call_stage("small-loss", "loss", 0.5, equal, equal, equal, **LATE).tolist() == [
        2,
        2,
        0,
        0,
    ]


def test_small_loss_s_share_rises_over_the_first_tenth_of_the_steps() -> None:
    losses = torch.arange(10.0)

    def cut(at: float) -> Tensor:
        out = call_stage(
            "small-loss", "loss", 0.4, losses, losses, losses, progress=torch.tensor(at)
        )
        return (out == 0).sum() - 1  # the first loss is 0 anyhow

    assert [cut(at).item() for at in (0.0, 0.05, 0.1, 0.9)] == [0, 2, 4, 4]


def small_loss_mean(losses: Tensor, by: Tensor, share: float) -> Tensor:
    """The mean of the losses of those examples that are small in another network's losses `by`."""
    kept, total = (1 - share) * len(losses), torch.zeros(())
    for rank, i in enumerate(by.detach().argsort().tolist()):
        total = total + losses[i] * min(max(kept - rank, 0.0), 1.0)
    return total / kept


def test_co_teaching_is_two_networks_that_choose_for_each_other() -> None:
    """Two epochs in plain torch: modules, torch.optim.SGD, and the paper's exchange."""
    share, run = 0.25, toy_run("co-teaching", (0.25,))
    trainer = run.trainer()
    networks = [MLP.build(SHAPE, CLASSES) for _ in range(2)]
    starts = (trainer.state["params"], trainer.state["states"][0]["second"])
    for network, start in zip(networks, starts, strict=True):
        network.load_state_dict({name: w[0] for name, w in start.items()})
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.1, momentum=0.9) for n in networks]
    t = 0
    for order in run.orders(epochs=2):
        for index in order[0]:
            x, _ = batch_of(run, index[None, None])
            y = run.data.labels[0, index]
            both = [F.cross_entropy(n(x, untapped), y, reduction="none") for n in networks]
            out = share * min(t / run.steps / 0.1, 1)
            for i, optimizer in enumerate(optimizers):
                optimizer.zero_grad()
                loss = small_loss_mean(both[i], both[1 - i], out)
                loss.backward(inputs=list(networks[i].parameters()))
            for optimizer in optimizers:
                optimizer.step()
            t += 1
    state = run.trained(epochs=2).state
    ends = (state["params"], state["states"][0]["second"])
    for network, end in zip(networks, ends, strict=True):
        for name, w in network.named_parameters():
            assert torch.allclose(end[name][0], w, atol=1e-5), name


def test_co_teaching_s_second_network_starts_elsewhere_with_the_same_spread() -> None:
    trainer = toy_run("co-teaching", (0.25,)).trainer()
    for name, first in trainer.state["params"].items():
        second = trainer.state["states"][0]["second"][name]
        assert not torch.allclose(first, second)
        if first[0].numel() > 100:
            assert second.std().item() == pytest.approx(first.std().item(), rel=0.15)


# --- targets --------------------------------------------------------------------------------------


def batch_of(w: ToyRun, order: Tensor) -> tuple[Tensor, Tensor]:
    """(x, index) of the first lane's only batch in an order [1, 1, n]."""
    index, data = order[0, 0], w.data
    return standardise(data.images[data.rows[:, index]], data.mean, data.std)[0], index


def test_elr_s_state_is_the_temporal_ensemble_of_each_example_s_outputs() -> None:
    w = toy_run("elr", (2.0,))
    trainer, targets = w.trainer(), torch.zeros(24, CLASSES)
    for order in w.orders(epochs=3):
        for one in order.split(1, dim=1):
            x, index = batch_of(w, one)
            params = {k: v[0].clone() for k, v in trainer.state["params"].items()}
            for i, p in zip(index, trainer.program.logits(params, x).softmax(1), strict=True):
                targets[i] = 0.7 * targets[i] + 0.3 * p
            trainer.train_epoch(one)
    assert torch.allclose(trainer.state["states"][0]["targets"][0], targets, atol=1e-5)
    assert torch.allclose(
        targets.sum(1), torch.tensor(1 - 0.7**3)
    )  # three times seen, from nothing


def test_elr_s_loss_rewards_agreement_with_the_target() -> None:
    step, s = step_at("elr", 2.0), 2.0
    lane, logits = (
        step.lane(0, "loss", index=step.index),
        LOGITS[:8, :CLASSES].clone().requires_grad_(),
    )
    before = torch.rand(24, CLASSES)
    lane.state = {"targets": before / before.sum(1, keepdim=True)}
    ce = F.cross_entropy(logits, step.y.argmax(1), reduction="none")
    actual = step.program.parts[0].loss(ce, logits, step.y, lane)
    p = logits.softmax(1)
    t = 0.7 * lane.state["targets"][step.index] + 0.3 * p.detach()
    expected = ce + s * torch.log(1 - (p * t).sum(1))
    assert torch.allclose(actual, expected, atol=1e-5)
    grads = [torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (actual, expected)]
    assert torch.allclose(*grads, atol=1e-5)


def test_elr_stays_finite_for_a_network_that_is_sure() -> None:
    step = step_at("elr", 2.0)
    lane, logits = (
        step.lane(0, "loss", index=step.index),
        100 * F.one_hot(torch.zeros(8).long(), CLASSES).float(),
    )
    lane.state = {"targets": F.one_hot(torch.zeros(24).long(), CLASSES).float()}
    out = step.program.parts[0].loss(torch.zeros(8), logits, step.y, lane)
    assert torch.allclose(out, torch.tensor(2 * math.log(1e-4)), rtol=1e-3)


def test_self_distillation_s_teacher_is_the_average_of_the_student_s_weights() -> None:
    w = toy_run("self-distillation", (0.5,))
    trainer = w.trainer()
    teacher = {k: v.clone() for k, v in trainer.state["params"].items()}
    for one in w.orders()[0].split(1, dim=1):
        trainer.train_epoch(one)
        teacher = {k: 0.99 * a + 0.01 * trainer.state["params"][k] for k, a in teacher.items()}
    state = trainer.state["states"][0]["teacher"]
    assert all(torch.allclose(state[k], teacher[k], atol=1e-6) for k in teacher)
    assert not bitwise_equal(state, trainer.state["params"])


def test_self_distillation_s_loss_mixes_in_the_teacher_s_answer() -> None:
    step, s = step_at("self-distillation", 0.4), 0.4
    teacher = {k: w + 0.1 for k, w in step.params.items()}
    lane = step.lane(0, "loss", x=step.x, forward=forward_of(step, 0, "loss", step.params))
    lane.state = {"teacher": teacher}
    logits = plain_logits(step, step.x)
    target = (1 - s) * step.y + s * step.program.logits(teacher, step.x).softmax(1)
    actual = step.program.parts[0].loss(cross_entropy(logits, step.y), logits, step.y, lane)
    assert torch.allclose(actual, F.cross_entropy(logits, target, reduction="none"), atol=1e-6)


def test_r_drop_adds_how_far_two_passes_with_dropout_differ() -> None:
    step = step_at("r-drop", 0.5)
    passes = [forward_of(step, 0, "loss", step.params) for _ in range(2)]
    second = passes[0](step.x, train=True)  # the draws of the function's own pass
    first, y = plain_logits(step, step.x), step.y
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return F.kl_div(b, a, log_target=True, reduction="none").sum(1)

    nll = F.cross_entropy(first, y, reduction="none") + F.cross_entropy(second, y, reduction="none")
    expected = nll + 0.6 * (kl(log_p, log_q) + kl(log_q, log_p)) / 2
    lane = step.lane(0, "loss", x=step.x, forward=passes[1])
    actual = step.program.parts[0].loss(cross_entropy(first, y), first, y, lane)
    assert torch.allclose(actual, expected / 2, atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-2)


def test_r_drop_s_passes_drop_different_units() -> None:
    h = torch.ones(50, 40)
    masks = [call_stage("r-drop", "hidden", 0.4, h, tap=0, kind="hidden") for _ in range(2)]
    assert torch.equal(*masks) and set(masks[0].unique().tolist()) == {
        0,
        (1 / torch.tensor(0.6)).item(),
    }
    step = step_at("r-drop", 0.4)
    again = forward_of(step, 0, "loss", step.params)
    main = step.objective(step.params, step.x, step.y, step.index, None)[1][0]
    assert not torch.allclose(main, again(step.x, train=True), atol=1e-3)

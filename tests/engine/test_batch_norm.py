"""Batch norm: a lane's running statistics are torch's, change once a step, and are its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_of
from support.engine import one_lane
from support.engine import parts
from torch import Tensor
from torch import nn

from membench.api import Regularizer
from membench.engine import network
from membench.engine.counter import StepCounter
from membench.engine.evaluate import running_statistics
from membench.engine.step import Program
from membench.engine.step import untapped
from membench.nn import BatchNorm
from membench.nn import Conv
from membench.nn import SelfAttention
from membench.nn import max_pool
from membench.testing.toy import NORM

pytestmark = pytest.mark.usefixtures("worker_like")

EPOCHS = 4  # of 3 steps


class Plain(nn.Module):
    """The network of `NORM` out of torch's own layers."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.body, self.body_norm, self.head = (
            nn.Linear(64, 6),
            nn.BatchNorm1d(6),
            nn.Linear(6, CLASSES),
        )
        own = {name.replace("stem.linear", "stem"): w for name, w in weights.items()}
        own["stem.weight"] = own["stem.weight"].reshape(4, 3, 3, 1).permute(0, 3, 1, 2)
        self.load_state_dict(own, strict=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stem_norm(self.stem(x))).permute(0, 2, 3, 1).flatten(1)
        return self.head(F.relu(self.body_norm(self.body(h))))


def inputs(toy_run: ToyRun, lane: int) -> Tensor:
    d = toy_run.data
    return (d.images[d.rows[lane]].float() - d.mean[lane]) / d.std[lane]


def plain_loop(toy_run: ToyRun, lane: int) -> Plain:
    """The lane in plain torch."""
    module = Plain(network.initial_weights(NORM, SHAPE, CLASSES, 100 + toy_run.seeds[lane]))
    optimizer, x = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9), inputs(toy_run, lane)
    for order in toy_run.orders(epochs=EPOCHS):
        for index in order[lane]:
            loss = F.cross_entropy(module(x[index]), toy_run.data.labels[lane, index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module


def buffers(trainer: Any, lane: int) -> dict[str, Tensor]:
    return {name: b[lane] for name, b in trainer.state["buffers"].items()}


def test_one_lane_is_torch_s_own_batch_norm_loop() -> None:
    """Running means and variances, weights, and the logits in eval mode."""
    toy_run = ToyRun((), ((), ()), NORM)
    trainer = toy_run.trained(epochs=EPOCHS)
    for lane in (0, 1):
        theirs, mine = plain_loop(toy_run, lane), buffers(trainer, lane)
        assert list(mine) == [
            f"{n}_norm.running_{what}" for n in ("stem", "body") for what in ("mean", "var")
        ]
        for name, b in theirs.named_buffers():
            if not name.endswith("num_batches_tracked"):
                assert torch.allclose(mine[name], b, atol=1e-4, rtol=1e-3), name
        params = {name: w[lane] for name, w in trainer.state["params"].items()}
        x = inputs(toy_run, lane)
        logits = trainer.program.logits(params, x, mine)
        assert torch.allclose(logits, theirs.eval()(x), atol=2e-3)
        assert not torch.allclose(
            logits, trainer.program.forward(params, mine, x, untapped)[0], atol=0.05
        )


@pytest.mark.parametrize("eval_lanes", [1, 2])
def test_evaluation_uses_each_lane_s_own_running_statistics(eval_lanes: int) -> None:
    toy_run = ToyRun((), ((), ()), NORM)
    trainer = toy_run.trained(epochs=EPOCHS)
    trainer.eval_lanes = eval_lanes
    before = {name: b.clone() for name, b in trainer.state["buffers"].items()}
    _, loss, finite = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert finite.all() and bitwise_equal(before, trainer.state["buffers"])
    for lane in (0, 1):
        theirs = F.cross_entropy(
            plain_loop(toy_run, lane).eval()(inputs(toy_run, lane)), toy_run.data.labels[lane]
        )
        assert loss[lane].item() == pytest.approx(theirs.item(), rel=2e-3)


@pytest.mark.parametrize("name", ["none", "dropout", "sam"])
def test_one_lane_alone_is_the_same_lane_among_others(name: str) -> None:
    toy_run = ToyRun(parts(name), ((0.3,), (0.5,), (0.8,)), NORM)
    together, alone = toy_run.trained(epochs=EPOCHS), toy_run.trained([1], epochs=EPOCHS)
    for tree in ("params", "buffers"):
        for path, w in lane_of(alone.state[tree], 0).items():
            assert torch.allclose(w, lane_of(together.state[tree], 1)[path], atol=1e-5), path
    assert not bitwise_equal(
        lane_of(together.state["buffers"], 0), lane_of(together.state["buffers"], 1)
    )


def ask(losses: Tensor, logits: Tensor, y: Tensor, lane: Any) -> Tensor:
    """Passes whose result counts for nothing."""
    return losses + 0 * (lane.forward(5 * lane.x, train=True) + lane.forward(lane.x + 3)).sum(dim=1)


def again(grads: dict, params: dict, lane: Any) -> dict:
    lane.gradient({name: w + 1 for name, w in params.items()})
    return grads


@pytest.mark.parametrize("stages", [{"loss": ask}, {"grads": again}], ids="-".join)
def test_only_the_main_forward_changes_the_running_statistics(stages: dict) -> None:
    mine = ToyRun((Regularizer("mine", (1.0,), **stages),), ((1.0,),), NORM).trained()
    plain = ToyRun((), ((),), NORM).trained()
    for name, b in buffers(plain, 0).items():
        assert torch.allclose(buffers(mine, 0)[name], b, atol=1e-6), name


def test_training_mode_uses_batch_statistics_and_eval_mode_running_ones() -> None:
    seen: dict[str, Tensor] = {}

    def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Any) -> Tensor:
        seen["train"] = lane.forward(lane.x, train=True).detach()
        seen["eval"] = lane.forward(lane.x).detach()
        seen["main"] = logits.detach()
        return losses

    toy_run = ToyRun((Regularizer("mine", (1.0,), loss=loss),), ((1.0,),), NORM)
    trainer = toy_run.trained(epochs=1)
    step = one_lane(trainer, toy_run.orders()[0], t=3)
    step.gradient(step.params, 1)
    assert torch.equal(seen["train"], seen["main"])
    assert torch.allclose(
        seen["eval"], trainer.program.logits(step.params, step.x, buffers(trainer, 0)), atol=1e-6
    )
    assert not torch.allclose(seen["eval"], seen["main"], atol=1e-2)


def test_statistics_of_a_lane_that_diverged_stay_as_they_were_and_the_others_go_on() -> None:
    bomb = Regularizer(
        "mine", (1.0,), loss=lambda v, z, y, lane: v / (1 - lane.strength * (lane.step == 4))
    )
    toy_run = ToyRun((bomb,), ((0.0,), (1.0,)), NORM)
    trained, before = toy_run.trained(epochs=EPOCHS), toy_run.trainer()
    first, second = toy_run.orders(epochs=2)
    before.train_epoch(first)
    before.train_epoch(second[:, :1])
    assert trained.state["diverged_at"].tolist() == [-1, 4]
    assert bitwise_equal(buffers(trained, 1), buffers(before, 1))
    assert not bitwise_equal(buffers(trained, 0), buffers(before, 0))


def test_readout_weights_get_their_own_statistics_as_from_torch_s_update_bn() -> None:
    def half(params: dict, lane: Any) -> dict:
        return {name: w * (1 - lane.strength / 2) for name, w in params.items()}

    toy_run = ToyRun((Regularizer("mine", (1.0,), readout=half),), ((0.5,), (1.0,)), NORM)
    trainer = toy_run.trained(epochs=EPOCHS)
    kept = {name: b.clone() for name, b in trainer.state["buffers"].items()}
    _, loss, _ = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert bitwise_equal(kept, trainer.state["buffers"])
    for lane, share in enumerate((0.75, 0.5)):
        module = Plain({name: share * w[lane] for name, w in trainer.state["params"].items()})
        torch.optim.swa_utils.update_bn(inputs(toy_run, lane).split(toy_run.recipe.batch), module)
        theirs = F.cross_entropy(module.eval()(inputs(toy_run, lane)), toy_run.data.labels[lane])
        assert loss[lane].item() == pytest.approx(theirs.item(), rel=1e-4)


@pytest.mark.parametrize("eval_lanes", [2, 3])
def test_statistics_of_readout_weights_are_computed_for_many_lanes_at_once(
    eval_lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forward pass a batch for all lanes of a chunk; the values are those of lane by lane."""
    toy_run = ToyRun(parts("ema"), ((0.5,), (0.9,), (0.8,)), NORM)
    trainer = toy_run.trained(epochs=EPOCHS)
    one_by_one = trainer.readout().buffers
    passes = []
    plain = Program.batch_statistics

    def counted(*args: Any) -> Any:
        passes.append(1)
        return plain(*args)

    monkeypatch.setattr(Program, "batch_statistics", counted)
    trainer.eval_lanes = eval_lanes
    together = trainer.readout().buffers
    batches = trainer.data.rows.shape[1] // toy_run.recipe.batch
    assert len(passes) == batches * (2 if eval_lanes == 2 else 1)
    for name, buffer in one_by_one.items():
        assert torch.allclose(buffer, together[name], atol=1e-6, rtol=1e-5), name


def test_statistics_of_readout_weights_take_no_more_memory_for_more_images() -> None:
    """They are taken a batch at a time."""
    peaks = []
    for repeats in (1, 10):
        trainer = ToyRun(parts("ema"), ((0.5,), (0.9,)), NORM).trainer()
        trainer.data = replace(
            trainer.data.to("meta"), rows=trainer.data.rows.repeat(1, repeats).to("meta")
        )
        params, buffers = (
            {name: w.to("meta") for name, w in trainer.state[tree].items()}
            for tree in ("params", "buffers")
        )
        with StepCounter() as counter:
            running_statistics(trainer.program, params, buffers, trainer.data, lanes_per_pass=2)
        peaks.append(counter.peak_bytes)
    assert peaks[0] == peaks[1] > 0


def test_an_interrupted_run_carries_its_statistics_on() -> None:
    toy_run = ToyRun((), ((),), NORM)
    first, second = toy_run.orders(epochs=2)
    trainer = toy_run.trainer()
    trainer.train_epoch(first)
    other = toy_run.trainer()
    other.state, other.step_index = trainer.state, trainer.step_index
    other.train_epoch(second)
    assert bitwise_equal(other.state, toy_run.trained(epochs=2).state)


@pytest.mark.slow
def test_the_compiled_step_carries_the_statistics() -> None:
    toy_run = ToyRun(parts("dropout"), ((0.3,), (0.5,)), NORM)
    eager, compiled = toy_run.trained(), toy_run.trained(compiled=True)
    for tree in ("params", "buffers"):
        for name, w in eager.state[tree].items():
            assert torch.allclose(w, compiled.state[tree][name], atol=1e-4), name


def test_only_a_network_with_batch_norm_has_buffers() -> None:
    assert network.inspect_network(NORM, SHAPE, CLASSES).has_batch_norm
    assert ToyRun((), ((),)).trainer().state["buffers"] == {}
    assert "batch norm" in parts("dp-sgd")[0].skip(network.inspect_network(NORM, SHAPE, CLASSES))


@pytest.mark.parametrize("axis", [1, -1])
def test_a_batch_of_one_has_no_variance_and_stays_finite(axis: int) -> None:
    norm = BatchNorm(3, axis)
    assert (
        torch.equal(norm(torch.ones(1, 3)), torch.zeros(1, 3)) and norm.running_var.isfinite().all()
    )


# --- the other layers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride", "pad"), [(3, 1, 1), (3, 2, 1), (5, 1, 0), (1, 2, 0)])
def test_a_convolution_is_torch_s(size: int, stride: int, pad: int) -> None:
    conv, x = (
        Conv(3, 5, size, stride=stride, pad=pad),
        torch.linspace(-1, 1, 2 * 3 * 7 * 6).sin().reshape(2, 3, 7, 6),
    )
    weight = conv.linear.weight.reshape(5, size, size, 3).permute(0, 3, 1, 2)
    theirs = F.conv2d(x, weight, conv.linear.bias, stride, pad)
    assert torch.allclose(conv(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), theirs, atol=1e-6)


def test_self_attention_is_torch_s() -> None:
    mine, theirs = SelfAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    names = {"qkv": "in_proj_", "out": "out_proj."}
    theirs.load_state_dict(
        {names[k.split(".")[0]] + k.split(".")[1]: v for k, v in mine.state_dict().items()}
    )
    x = torch.linspace(-2, 2, 3 * 5 * 8).sin().reshape(3, 5, 8)
    assert torch.allclose(mine(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6)


def test_max_pooling_is_torch_s() -> None:
    x = torch.linspace(-1, 1, 2 * 7 * 8 * 3).sin().reshape(2, 7, 8, 3)
    assert torch.equal(max_pool(x, 3).permute(0, 3, 1, 2), F.max_pool2d(x.permute(0, 3, 1, 2), 3))

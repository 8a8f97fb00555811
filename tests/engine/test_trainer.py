"""The step: a lane is a plain torch loop, independent of the others; stages do their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
from support.engine import one_lane
from support.engine import parts
from support.engine import registry
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch._inductor import config as inductor_config
from torch._inductor.exc import CppCompileError
from torch._inductor.exc import InductorError
from torch.func import functional_call
from torch.func import vmap

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine import compiled
from membench.engine import evaluate
from membench.engine import network
from membench.engine.costs import count_stacked_step
from membench.engine.environment import environment
from membench.engine.environment import precision
from membench.engine.environment import resolve_device
from membench.engine.environment import worker_environment
from membench.engine.environment import worker_environments
from membench.engine.lane_tensors import standardise
from membench.engine.step import untapped
from membench.errors import MembenchError
from membench.nn import PatchConv
from membench.nn import cross_entropy
from membench.nn import one_hot
from membench.testing.gpu_checks import SyncGuard

pytestmark = pytest.mark.usefixtures("worker_like")

EPOCHS = 8  # of 3 steps
SETTINGS = ((0.3,), (0.5,), (0.8,))


def regularizer(**stages: Any) -> Regularizer:
    return Regularizer("mine", (1.0,), **stages)


# --- the oracle -----------------------------------------------------------------------------------


def plain_loop(toy_run: ToyRun, lane: int, make: Callable, epochs: int) -> dict[str, Tensor]:
    """The same lane in plain torch: module, optimizer and loss are torch's own."""
    module = toy_run.architecture.build(SHAPE, CLASSES)
    module.load_state_dict(
        network.initial_weights(toy_run.architecture, SHAPE, CLASSES, 100 + toy_run.seeds[lane])
    )
    optimizer, d = make(module.parameters()), toy_run.data
    x = (d.images[d.rows[lane]].float() - d.mean[lane]) / d.std[lane]
    for order in toy_run.orders(epochs=epochs):
        for index in order[lane]:
            loss = F.cross_entropy(module(x[index], untapped), d.labels[lane, index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return dict(module.named_parameters())


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.0),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_lane_is_the_plain_torch_loop(architecture: str, optimizer: str) -> None:
    recipe = Recipe(optimizer, lr=0.1 if optimizer == "sgd" else 0.01, batch=8)
    toy_run = ToyRun((), ((), ()), ARCHITECTURES[architecture], recipe)
    stacked = toy_run.trained(epochs=EPOCHS)
    start = lane_of(toy_run.trainer().state["params"], 1)
    for lane in (0, 1):
        mine = lane_of(stacked.state["params"], lane)
        for name, w in plain_loop(toy_run, lane, OPTIMIZERS[optimizer], EPOCHS).items():
            assert torch.allclose(mine[f"/{name}"], w, atol=2e-5, rtol=1e-4), name
    assert any((mine[name] - start[name]).abs().max() > 0.05 for name in start)  # it did train


# --- lanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dropout", "mixup", "sam", "input-noise", "weight-noise"])
def test_one_mlp_lane_alone_is_the_same_lane_among_others_to_the_last_bit(name: str) -> None:
    toy_run = ToyRun(parts(name), SETTINGS, registry().architecture("mlp"))
    together = toy_run.trained(epochs=4)
    for lanes in ([1], [2, 1], [1, 0, 2]):
        some = toy_run.trained(lanes, epochs=4)
        at = lanes.index(1)
        assert bitwise_equal(lane_of(some.state, at), lane_of(together.state, 1))


def test_one_cnn_lane_alone_is_nearly_the_same_lane_among_others() -> None:
    """Its patches are one batched matmul, blocked by the number of lanes: 1e-5 after 12 steps."""
    toy_run = ToyRun(parts("dropout"), SETTINGS, registry().architecture("cnn"))
    together, alone = toy_run.trained(epochs=4), toy_run.trained([1], epochs=4)
    for name, w in lane_of(alone.state["params"], 0).items():
        assert torch.allclose(w, lane_of(together.state["params"], 1)[name], atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout", "sam"])
def test_a_compiled_mlp_lane_alone_is_the_same_lane_among_others_to_the_last_bit(name: str) -> None:
    """At the suites' sizes.

    With 3 classes and batches of 8, one lane alone gets other kernels, and differs by 3e-8.
    """
    toy_run = ToyRun(
        parts(name), SETTINGS, registry().architecture("mlp"), Recipe(lr=0.1, batch=100), classes=10
    )
    together = toy_run.trained(epochs=4, compiled=True)
    for lanes in ([1], [2, 1]):
        some = toy_run.trained(lanes, epochs=4, compiled=True)
        assert bitwise_equal(lane_of(some.state, lanes.index(1)), lane_of(together.state, 1))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
@pytest.mark.parametrize("name", ["none", "dropout", "sam", "input-noise"])
def test_the_compiled_step_is_the_eager_one(name: str, architecture: str) -> None:
    """Sums in another order: 1e-4 of the weights after six steps."""
    toy_run = ToyRun(parts(name), SETTINGS[:2], registry().architecture(architecture))
    eager, compiled = toy_run.trained(), toy_run.trained(compiled=True)
    assert compiled.step_index.item() == eager.step_index.item() == 6
    for k, w in eager.state["params"].items():
        assert torch.allclose(w, compiled.state["params"][k], atol=1e-4), k


BOMB = regularizer(
    loss=lambda losses, logits, y, lane: losses / (1 - lane.strength * (lane.step == 4))
)


def test_a_lane_that_is_not_finite_is_frozen_and_marked_and_its_neighbours_do_not_notice() -> None:
    toy_run = ToyRun((BOMB,), ((0.0,), (1.0,), (0.5,)))
    trained = toy_run.trained(epochs=4)
    assert trained.state["diverged_at"].tolist() == [-1, 4, -1]
    orders = toy_run.orders(epochs=2)
    before = toy_run.trainer()
    before.train_epoch(orders[0])
    before.train_epoch(orders[1][:, :1])
    for tree in ("params", "slots"):
        assert bitwise_equal(lane_of(trained.state[tree], 1), lane_of(before.state[tree], 1))
    peace = ToyRun((BOMB,), ((0.0,), (0.0,), (0.5,))).trained(epochs=4)
    for lane in (0, 2):
        assert bitwise_equal(lane_of(trained.state, lane), lane_of(peace.state, lane))


def test_nan_weights_of_one_lane_do_not_reach_the_others() -> None:
    blow = regularizer(
        weights=lambda params, lane: {k: w / (1 - lane.strength) for k, w in params.items()}
    )
    toy_run = ToyRun((blow,), ((0.0,), (1.0,), (0.0,)))
    trained, alone = toy_run.trained(), toy_run.trained([2])
    # step 1 has the loss at the weights that step 0 left
    assert trained.state["diverged_at"].tolist() == [-1, 1, -1]
    assert bitwise_equal(lane_of(trained.state, 2), lane_of(alone.state, 0))
    finite = trained.evaluate(trained.data.rows, trained.data.labels)[2]
    assert finite.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "name", ["none", "dropout", "gradient-clipping", "sam", "max-norm", "mixup", "weight-decay"]
)
def test_a_lane_s_new_weights_do_not_depend_on_the_others(name: str) -> None:
    trainer = ToyRun(parts(name), SETTINGS, CNN).trainer()
    order, d = ToyRun(parts(name), SETTINGS, CNN).orders()[0], trainer.data
    index = order[:, 0]
    x = standardise(d.images[d.rows.gather(1, index)], d.mean, d.std)
    y = one_hot(d.labels.gather(1, index), CLASSES)
    batch = {"x": x, "y": y, "index": index, "clean": d.clean.gather(1, index)}
    params = {k: v.clone().requires_grad_() for k, v in trainer.state["params"].items()}
    step = vmap(trainer.program.step, in_dims=(0, 0, 0, None))
    new = step({**trainer.state, "params": params}, trainer.constants, batch, trainer.step_index)[
        "params"
    ]
    grads = torch.autograd.grad(sum(w[1].sum() for w in new.values()), list(params.values()))
    for g in grads:
        assert g[0].abs().sum() == 0 and g[2].abs().sum() == 0
    assert sum(g[1].abs().sum() for g in grads) > 0


# --- what a step costs, and how lanes are cut into calls ------------------------------------------


NAMES = tuple(registry().regularizers)
MB = 1 << 20


@pytest.mark.parametrize("name", NAMES)
def test_the_step_never_waits_for_the_device_where_there_are_branches(name: str) -> None:
    """Of the networks in test_guards.py none has one."""
    strengths = registry().regularizers[name].strengths[:2] or ((),)
    toy_run = ToyRun(parts(name), strengths, ARCHITECTURES["cnn"])
    trainer, order = toy_run.trainer(), toy_run.orders()[0]
    with SyncGuard():
        trainer.train_epoch(order)


@pytest.mark.parametrize("name", NAMES)
def test_the_step_runs_on_the_meta_device_and_costs_at_least_the_plain_one(name: str) -> None:
    strengths = registry().regularizers[name].strengths[:2] or ((),)
    plain = count_stacked_step(ToyRun((), strengths).trainer()).flops
    assert count_stacked_step(ToyRun(parts(name), strengths).trainer()).flops >= plain > 0


def test_the_step_s_flops_are_counted_as_on_paper() -> None:
    sizes = (64 * 6, 6 * 5, 5 * 3)  # forward and weight gradients; no gradient for the input
    two_lanes = ToyRun((), ((), ())).trainer()
    assert count_stacked_step(two_lanes).flops == 2 * 2 * 8 * (3 * sum(sizes) - sizes[0])


def test_sam_costs_two_steps_and_label_smoothing_one() -> None:
    plain = count_stacked_step(ToyRun((), SETTINGS).trainer()).flops
    assert count_stacked_step(ToyRun(parts("sam"), SETTINGS).trainer()).flops == 2 * plain
    assert count_stacked_step(ToyRun(parts("label-smoothing"), SETTINGS).trainer()).flops == plain


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_one_graph(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths = registry().regularizers[name].strengths[:2] or ((),)
    toy_run = ToyRun(parts(name), strengths, registry().architecture(architecture))
    eager, traced, order = toy_run.trainer(), toy_run.trainer(), toy_run.orders()[0]
    monkeypatch.setattr(compiled, "lower", lambda graph, inputs, options: aot_eager(graph, inputs))
    assert traced.compile(order) == ""
    eager.train_epoch(order)
    traced.train_epoch(order)
    for k, w in eager.state["params"].items():
        assert torch.allclose(w, traced.state["params"][k], atol=1e-5), k


@pytest.mark.parametrize(
    ("cause", "mended"),
    [
        (KeyError("buf49"), {"cpp.max_horizontal_fusion_size": 1}),
        (CppCompileError(["g++"], ""), {}),
    ],
)
def test_inductor_is_asked_again_where_its_failure_can_be_avoided(
    cause: Exception, mended: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def inductor(graph: object, inputs: list, options: dict) -> str:
        asked.append((options, inductor_config.cpp.vec_isa_ok))
        if len(asked) == 1:
            raise InductorError(cause, None)
        return "program"

    monkeypatch.setattr(compiled, "_inductor", inductor)
    with inductor_config.patch({"cpp.vec_isa_ok": True}):
        assert compiled.lower(torch.fx.GraphModule({}, torch.fx.Graph()), [], {"a": 1}) == "program"
    trusted = None if isinstance(cause, CppCompileError) else True
    assert asked == [({"a": 1}, True), ({"a": 1, **mended}, trusted)]


def test_another_failure_of_inductor_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def inductor(graph: object, inputs: list, options: dict) -> str:
        raise InductorError(TypeError("no such thing"), None)

    monkeypatch.setattr(compiled, "_inductor", inductor)
    with pytest.raises(InductorError, match="no such thing"):
        compiled.lower(torch.fx.GraphModule({}, torch.fx.Graph()), [], {})


def test_lanes_stepped_in_groups_end_with_the_weights_of_all_stepped_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "lower", lambda graph, inputs, options: graph)
    monkeypatch.setattr(compiled, "L2_BYTES", 0)
    toy_run = ToyRun(parts("ema"), ((0.2,), (0.5,)) * 3)
    ended = []
    for best, groups in ((2, [2] * 3), (9, [6])):
        monkeypatch.setattr(compiled, "GROUP_SIZE", best)
        trainer, orders = toy_run.trainer(), toy_run.orders(epochs=2)
        assert trainer.compile(orders[0]) == ""
        assert [group.lanes.stop - group.lanes.start for group in trainer.groups] == groups
        for order in orders:
            trainer.train_epoch(order)
        ended.append(trainer)
    assert all(
        bitwise_equal(ended[0].state, other.state)
        and other.step_index == ended[0].step_index == 2 * orders[0].shape[1]
        for other in ended
    )
    assert bitwise_equal(ended[0].readout()[0], ended[-1].readout()[0])


@pytest.mark.parametrize(
    ("lanes", "weight", "groups"),
    [
        *(
            (15, MB, [5] * 3),
            (15, MB // 15, [15]),
            (15, MB // 6, [5] * 3),
            (30, MB // 15, [15] * 2),
        ),
        *((1, MB, [1]), (7, MB, [7]), (14, MB, [7] * 2), (16, MB, [4] * 4)),
    ],
)
def test_a_group_has_about_five_lanes_and_more_of_a_small_network(
    lanes: int, weight: int, groups: list[int]
) -> None:
    cut = compiled.lane_groups(lanes, weight)
    assert [group.stop - group.start for group in cut] == groups
    assert [row for group in cut for row in range(lanes)[group]] == list(range(lanes))


def test_inductor_is_asked_again_with_fewer_fusions_after_a_key_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """KeyError: 'buf49', torch 2.14.1 on median-gradient."""
    asked = []

    def stumbles(graph: Callable, inputs: Any, config_patches: dict[str, Any]) -> Callable:
        asked.append(config_patches)
        if len(asked) == 1:
            raise InductorError(KeyError("buf49"), None)
        return graph

    monkeypatch.setattr(compiled, "compile_fx", stumbles)
    toy_run = ToyRun((), ((),), recipe=replace(RECIPE, momentum=0.51))  # compiled by no other test
    assert toy_run.trainer().compile(toy_run.orders()[0]) == ""
    assert asked[1] == {**asked[0], "cpp.max_horizontal_fusion_size": 1} != asked[0]


def test_inductor_is_not_asked_again_after_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(graph: Callable, inputs: Any, config_patches: dict[str, Any]) -> Callable:
        assert "cpp.max_horizontal_fusion_size" not in config_patches
        raise InductorError(RuntimeError("No working C++ compiler found"), None)

    monkeypatch.setattr(compiled, "compile_fx", fails)
    toy_run = ToyRun((), ((),), recipe=replace(RECIPE, momentum=0.52))
    assert "No working C++ compiler found" in toy_run.trainer().compile(toy_run.orders()[0])


def test_a_program_that_cannot_be_compiled_runs_eagerly_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def translated(graph: Callable, inputs: Any, options: Any) -> Callable:
        def step(*inputs: Any) -> None:
            graph(*inputs)  # it fails half-way: the lanes must not have moved
            raise RuntimeError("no C++ compiler\nsecond line")

        return step

    monkeypatch.setattr(compiled, "lower", translated)
    toy_run = ToyRun((), ((),), steps=41)
    trainer, order = toy_run.trainer(), toy_run.orders()[0]
    assert trainer.compile(order) == "ran uncompiled: RuntimeError: no C++ compiler"
    assert trainer.step_index == 0
    trainer.train_epoch(order)
    assert bitwise_equal(trainer.state, toy_run.trained(epochs=1).state)


# --- the stages, against their formulas -----------------------------------------------------------


def step_of(
    *regularizers: Regularizer, strengths: tuple[float, ...] = (), architecture: Architecture = MLP
) -> Any:
    toy_run = ToyRun(regularizers, (strengths or (0.5,) * len(regularizers),), architecture)
    return one_lane(toy_run.trainer(), toy_run.orders()[0], t=1)


def plain_gradient(
    step: Any, params: dict | None = None, loss: Callable = lambda v: v.mean()
) -> dict[str, Tensor]:
    """By torch.autograd, of the plain network on the step's batch."""
    leaves = {k: v.clone().requires_grad_() for k, v in (params or step.params).items()}
    losses = cross_entropy(functional_call(step.program.module, leaves, (step.x, untapped)), step.y)
    return dict(zip(leaves, torch.autograd.grad(loss(losses), list(leaves.values())), strict=True))


def close(a: dict[str, Tensor], b: dict[str, Tensor], atol: float = 1e-6) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=atol) for k in a)


def norm(grads: dict[str, Tensor]) -> Tensor:
    return torch.sqrt(sum(g.square().sum() for g in grads.values()))


def test_without_stages_the_gradient_is_that_of_the_mean_cross_entropy() -> None:
    step = step_of()
    grads, loss, logits, _ = step.gradient(step.params, 0)
    assert close(grads, plain_gradient(step))
    assert loss.item() == pytest.approx(F.cross_entropy(logits, step.y.argmax(1)).item(), rel=1e-6)


def test_batch_stages_fold_from_left_to_right() -> None:
    add = Regularizer("add", (1.0,), batch=lambda x, y, lane: (x + 1, y))
    double = Regularizer("double", (1.0,), batch=lambda x, y, lane: (x * 2, y * 0.5))
    plain, step = step_of(), step_of(add, double)
    assert torch.allclose(step.x, (plain.x + 1) * 2)
    assert torch.equal(step.y, plain.y * 0.5)


def test_no_gradient_flows_through_the_batch_stage() -> None:
    """An attack built from the weights is a constant of the objective."""
    attack = regularizer(batch=lambda x, y, lane: (x + lane.forward(x).sum() * 0.1, y))
    step = step_of(attack)
    assert close(step.gradient(step.params, 1)[0], plain_gradient(step))


def test_perturb_moves_the_weights_of_the_forward_pass_only() -> None:
    step = step_of(
        regularizer(
            perturb=lambda params, lane: {k: (1 + lane.strength) * w for k, w in params.items()}
        )
    )
    moved = plain_gradient(step, {k: 1.5 * w for k, w in step.params.items()})
    assert close(step.gradient(step.params, 1)[0], {k: 1.5 * g for k, g in moved.items()})


def test_loss_stages_fold_and_see_the_weights_under_differentiation() -> None:
    square = Regularizer("square", (1.0,), loss=lambda losses, logits, y, lane: losses.square())
    shift = Regularizer(
        "shift",
        (1.0,),
        loss=lambda losses, logits, y, lane: losses + lane.params["head.bias"].sum(),
    )
    step = step_of(square, shift)
    grads, loss, logits, _ = step.gradient(step.params, 2)
    plain = cross_entropy(logits, step.y)
    assert loss.item() == pytest.approx(
        (plain**2).mean().item() + step.params["head.bias"].sum().item(), rel=1e-5
    )
    expected = plain_gradient(step, loss=lambda v: v.square().mean())
    assert close(grads, {**expected, "head.bias": expected["head.bias"] + 1})


def test_penalties_add_up_beside_the_mean_loss_at_the_unperturbed_weights() -> None:
    def shrink(w: int) -> Regularizer:
        def penalty(params: dict, lane: Any) -> Tensor:
            return w * lane.strength * sum(p.square().sum() for p in params.values())

        return Regularizer(f"l2-{w}", (1.0,), penalty=penalty)

    double = Regularizer(
        "twice", (1.0,), perturb=lambda params, lane: {k: 2 * w for k, w in params.items()}
    )
    step = step_of(shrink(1), double, shrink(3))
    data = plain_gradient(step, {k: 2 * w for k, w in step.params.items()})
    expected = {k: 2 * g + 2 * (0.5 + 1.5) * step.params[k] for k, g in data.items()}
    assert close(step.gradient(step.params, 3)[0], expected, atol=1e-5)


def test_a_penalty_can_differentiate_the_network() -> None:
    """Mean squared input gradient, by double differentiation, against torch.autograd."""

    def penalty(params: dict, lane: Any) -> Tensor:
        def loss(x: Tensor) -> Tensor:
            return cross_entropy(lane.forward(x), lane.y).sum()

        return torch.func.grad(loss)(lane.x).square().sum()

    step = step_of(regularizer(penalty=penalty))
    leaves = {k: v.clone().requires_grad_() for k, v in step.params.items()}
    x = step.x.clone().requires_grad_()
    losses = cross_entropy(functional_call(step.program.module, leaves, (x, untapped)), step.y)
    (dx,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    total = losses.mean() + dx.square().sum()
    expected = dict(
        zip(
            leaves,
            torch.autograd.grad(total, list(leaves.values()), allow_unused=True),
            strict=True,
        )
    )
    assert close(step.gradient(step.params, 1)[0], expected, atol=1e-5)


def test_hidden_acts_at_every_tap_from_left_to_right() -> None:
    add = Regularizer("add", (1.0,), hidden=lambda h, lane: h + 1 + lane.tap)
    double = Regularizer("double", (1.0,), hidden=lambda h, lane: h * 2)
    step = step_of(add, double)
    seen = iter([1, 2])

    def tap(h: Tensor, kind: str = "hidden") -> Tensor:
        return (h + next(seen)) * 2

    expected = functional_call(step.program.module, step.params, (step.x, tap))
    assert torch.allclose(step.gradient(step.params, 2)[2], expected)


def test_weights_stages_come_after_the_optimizer_and_know_the_weights_before() -> None:
    def back(params: dict, lane: Any) -> dict:
        return {k: lane.before[k] + (w - lane.before[k]) / 2 for k, w in params.items()}

    half = Regularizer("half", (1.0,), weights=back)
    shift = Regularizer("shift", (1.0,), weights=lambda p, lane: {k: w + 1 for k, w in p.items()})
    start, plain = (ToyRun((), ((),)).trained(epochs=e).state["params"] for e in (0, 1))
    one = ToyRun((), ((),), steps=40)
    trainer, order = one.trainer(), one.orders()[0][:, :1]
    trainer.train_epoch(order)
    mine = ToyRun((half, shift), ((1.0, 1.0),)).trainer()
    mine.train_epoch(order)
    for k, w in trainer.state["params"].items():
        assert torch.allclose(mine.state["params"][k], (start[k] + w) / 2 + 1, atol=1e-6)
    assert not bitwise_equal(start, plain)


def test_update_sees_the_new_weights_and_readout_is_for_evaluation_only() -> None:
    log = regularizer(
        init=lambda params, lane: {"last": params, "steps": lane.step * 0},
        update=lambda params, lane: {
            "last": {k: w - lane.before[k] for k, w in params.items()},
            "steps": lane.step + 1,
        },
        readout=lambda params, lane: {k: w * 0 for k, w in lane.state["last"].items()},
    )
    toy_run, plain = ToyRun((log,), ((1.0,),)), ToyRun((), ((),))
    trainer, other = toy_run.trainer(), plain.trainer()
    for order in toy_run.orders()[0].split(1, dim=1):
        before = {k: w.clone() for k, w in other.state["params"].items()}
        trainer.train_epoch(order)
        other.train_epoch(order)
        assert bitwise_equal(trainer.state["params"], other.state["params"])
        moved = {k: w - before[k] for k, w in other.state["params"].items()}
        assert bitwise_equal(trainer.state["states"][0]["last"], moved)
    assert trainer.state["states"][0]["steps"].tolist() == [3]
    _, loss, _ = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert loss.item() == pytest.approx(math.log(CLASSES), rel=1e-5)  # all weights zero


def test_a_state_by_example_is_written_at_the_batch_s_examples() -> None:
    """ELR's targets: [num_examples, c], read and written at lane.index."""
    targets = regularizer(
        init=lambda params, lane: {
            "t": params["head.bias"].new_zeros(lane.num_examples, lane.num_classes)
        },
        update=lambda params, lane: {"t": lane.state["t"].index_copy(0, lane.index, lane.y)},
    )
    toy_run = ToyRun((targets,), ((1.0,), (1.0,)))
    trainer = toy_run.trainer()
    trainer.train_epoch(toy_run.orders()[0][:, :1])
    state, seen = trainer.state["states"][0]["t"], toy_run.orders()[0][:, 0]
    for lane in (0, 1):
        assert torch.equal(
            state[lane, seen[lane]], one_hot(toy_run.data.labels[lane, seen[lane]], CLASSES)
        )
        assert state[lane].sum() == len(seen[lane])


CLIP, SAM = parts("gradient-clipping")[0], parts("sam")[0]


def clipped(grads: dict[str, Tensor], bound: float) -> dict[str, Tensor]:
    return {k: g * min(1.0, bound / norm(grads).item()) for k, g in grads.items()}


def test_clipping_before_sam_clips_both_gradients_and_after_it_the_result() -> None:
    bound, rho = 0.3, 0.4
    step = step_of(CLIP, SAM, strengths=(bound, rho))
    first = clipped(plain_gradient(step), bound)
    moved = {k: w + rho * first[k] / norm(first) for k, w in step.params.items()}
    assert close(step.gradient(step.params, 2)[0], clipped(plain_gradient(step, moved), bound))

    step = step_of(SAM, CLIP, strengths=(rho, bound))
    first = plain_gradient(step)
    assert norm(first) > bound  # or the orders would not differ
    moved = {k: w + rho * first[k] / norm(first) for k, w in step.params.items()}
    assert close(step.gradient(step.params, 2)[0], clipped(plain_gradient(step, moved), bound))


def test_the_left_part_s_grads_stage_acts_inside_lane_gradient_and_the_right_part_s_does_not() -> (
    None
):
    seen: dict[str, Any] = {}

    def ask(grads: dict, params: dict, lane: Any) -> dict:
        seen["inner"] = lane.gradient(params)
        return grads

    def double(grads: dict, params: dict, lane: Any) -> dict:
        return {k: 2 * g for k, g in grads.items()}

    left, right = (
        Regularizer("left", (1.0,), grads=double),
        Regularizer("right", (1.0,), grads=double),
    )
    step = step_of(left, Regularizer("ask", (1.0,), grads=ask), right)
    outer = step.gradient(step.params, 3)[0]
    plain = plain_gradient(step)
    assert close(seen["inner"], {k: 2 * g for k, g in plain.items()})
    assert close(outer, {k: 4 * g for k, g in plain.items()})


@pytest.mark.parametrize("cut", [(3, 5), (6, 2), (1, 7)])
@pytest.mark.parametrize(
    "names", [("dropout",), ("weight-noise", "hidden-noise"), ("label-smoothing", "dropout")]
)
def test_the_gradient_on_rows_has_the_draws_of_the_whole_batch(
    names: tuple[str, ...], cut: tuple[int, int]
) -> None:
    """Weighted by size, the gradients on two parts of the batch add up to that on all.

    Layers have 3, 5 and 6 rows too.
    """
    step = step_of(*(parts(name)[0] for name in names), strengths=(0.4,) * len(names))
    rows = torch.tensor([5, 0, 3, 7, 1, 6, 2, 4]).split(cut)
    whole = step.gradient(step.params, 0)[0]
    some = [step.gradient(step.params, 0, r)[0] for r in rows]
    expected = {k: sum(len(r) * g[k] for r, g in zip(rows, some, strict=True)) / 8 for k in whole}
    assert close(whole, expected, atol=1e-5)


def test_gradients_by_example_come_from_a_nested_vmap() -> None:
    found: dict[str, Any] = {}

    def grads(grads: dict, params: dict, lane: Any) -> dict:
        each = vmap(lambda i: lane.gradient(params, i[None]))(
            torch.arange(8, device=lane.index.device)
        )
        found["mean"] = {k: g.mean(0) for k, g in each.items()}
        return grads

    step = step_of(parts("dropout")[0], regularizer(grads=grads))
    outer = step.gradient(step.params, 2)[0]
    assert close(found["mean"], outer, atol=1e-5)


# --- what is refused ------------------------------------------------------------------------------


FLAT = torch.zeros(2)
BROKEN = [
    ({"batch": lambda x, y, lane: x}, "batch must return 2 tensors, not [8, 1, 8, 8] float32"),
    (
        {"batch": lambda x, y, lane: (x[:4], y)},
        "batch must return [8, 1, 8, 8] float32, not [4, 1, 8, 8] float32",
    ),
    (
        {"batch": lambda x, y, lane: (x.double(), y)},
        "batch must return [8, 1, 8, 8] float32, not [8, 1, 8, 8] float64",
    ),
    (
        {"perturb": lambda p, lane: {"first.bias": p["first.bias"]}},
        "perturb must return a dict of first.weight",
    ),
    ({"hidden": lambda h, lane: h[:, :2]}, "hidden must return [8, 6] float32, not [8, 2] float32"),
    ({"hidden": lambda h, lane: None}, "hidden must return a tensor, not nothing"),
    (
        {"loss": lambda losses, logits, y, lane: losses.mean()},
        "loss must return [8] float32, not [] float32",
    ),
    (
        {"penalty": lambda p, lane: p["head.bias"]},
        "penalty must return one number, not [3] float32",
    ),
    (
        {"grads": lambda g, p, lane: {**g, "head.bias": FLAT}},
        "grads must return head.bias: [3] float32, not [2]",
    ),
    ({"weights": lambda p, lane: list(p.values())}, "weights must return a dict of first.weight"),
    (
        {"init": lambda p, lane: {"n": 0}, "update": lambda p, lane: {}},
        "init must return n: a tensor, not a int",
    ),
    (
        {"update": lambda p, lane: {"n": FLAT}},
        "update must return nothing: without init there is no state",
    ),
    (
        {"init": lambda p, lane: FLAT, "update": lambda p, lane: p},
        "init must return a dict of tensors, not [2]",
    ),
    (
        {
            "init": lambda p, lane: {"n": FLAT},
            "update": lambda p, lane: {"n": lane.state["n"].repeat(2)},
        },
        "update must return n: [2] float32, not [4] float32",
    ),
    (
        {"init": lambda p, lane: {"n": FLAT}, "update": lambda p, lane: {"m": FLAT}},
        "update must return a dict of n, not a dict of m",
    ),
    (
        {
            "init": lambda p, lane: {"a": {"n": FLAT}},
            "update": lambda p, lane: {"a": {"n": FLAT > 0}},
        },
        "update must return a: n: [2] float32, not [2] bool",
    ),
    (
        {"readout": lambda p, lane: {k: w[0] for k, w in p.items()}},
        "readout must return first.weight: [6, 64]",
    ),
]


@pytest.mark.parametrize(
    ("stages", "why"), BROKEN, ids=lambda v: "+".join(v) if isinstance(v, dict) else ""
)
def test_a_stage_that_changes_a_shape_a_type_or_an_entry_is_named(stages: dict, why: str) -> None:
    toy_run = ToyRun((regularizer(**stages),), ((1.0,), (2.0,)))
    with pytest.raises(MembenchError) as error:
        trainer = toy_run.trained(epochs=1)
        trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert str(error.value).startswith(f"regularizer 'mine': {why}")


def test_a_penalty_may_be_a_plain_zero() -> None:
    zero = regularizer(
        penalty=lambda params, lane: sum(w.sum() for w in params.values() if w.dim() > 2)
    )
    assert bitwise_equal(
        ToyRun((zero,), ((1.0,),)).trained().state["params"],
        ToyRun((), ((),)).trained().state["params"],
    )


def test_torch_s_own_random_functions_are_refused_inside_the_step() -> None:
    noisy = regularizer(hidden=lambda h, lane: h + torch.randn_like(h))
    with pytest.raises(RuntimeError, match=r"(?s)random.*vmap|vmap.*random"):
        ToyRun((noisy,), ((1.0,), (2.0,))).trained(epochs=1)


# --- networks, data, environment ------------------------------------------------------------------


def test_initial_weights_depend_on_the_key_only() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    a, b = (network.initial_weights(MLP, SHAPE, CLASSES, 7) for _ in range(2))
    assert bitwise_equal(a, b) and torch.equal(state, torch.get_rng_state())
    assert not bitwise_equal(a, network.initial_weights(MLP, SHAPE, CLASSES, 8))
    assert list(a) == [
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
        "head.weight",
        "head.bias",
    ]


def test_buffers_that_are_not_batch_norm_s_own_are_refused_by_name() -> None:
    norm = Architecture("bn", lambda shape, classes: torch.nn.BatchNorm1d(3))
    said = r"architecture 'bn' has buffers \(.*running_mean.*membench\.nn\.BatchNorm alone"
    with pytest.raises(MembenchError, match=said):
        network.meta_module(norm, SHAPE, CLASSES)


def test_a_network_is_described_by_shapes() -> None:
    net = network.inspect_network(CNN, SHAPE, CLASSES)
    assert net.taps == (("hidden", (5, 2, 2)), ("branch", (20,)))
    assert net.params["head.weight"] == (3, 20) and not net.has_batch_norm
    assert (net.input_shape, net.num_classes) == (SHAPE, CLASSES)


def test_a_patch_convolution_is_torch_s_convolution() -> None:
    conv, x = PatchConv(3, 5, 2), torch.linspace(-1, 1, 2 * 3 * 7 * 6).reshape(2, 3, 7, 6)
    weight = conv.linear.weight.reshape(5, 2, 2, 3).permute(0, 3, 1, 2)
    expected = F.conv2d(x, weight, conv.linear.bias, stride=2)
    assert torch.allclose(conv(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, atol=1e-6)


def test_one_hot_and_cross_entropy_are_torch_s() -> None:
    y, logits = torch.tensor([2, 0, 1]), torch.linspace(-2, 3, 9).reshape(3, 3)
    assert torch.equal(one_hot(y, 3), F.one_hot(y, 3).float())
    assert torch.allclose(
        cross_entropy(logits, one_hot(y, 3)), F.cross_entropy(logits, y, reduction="none")
    )


@pytest.mark.parametrize("float_pool", [False, True])
def test_inputs_are_standardised_with_each_lane_s_own_statistics(float_pool: bool) -> None:
    data = lane_data(2, float_pool=float_pool)
    data = replace(data, mean=torch.tensor([[1.0], [2.0]]), std=torch.tensor([[2.0], [4.0]]))
    toy_run = ToyRun((), ((), ()), data=data)
    trainer, order = toy_run.trainer(), toy_run.orders()[0]
    for lane, (mean, std) in enumerate(((1, 2), (2, 4))):
        step = one_lane(trainer, order, lane=lane)
        raw = data.images[data.rows[lane, order[lane, 0]]].float()
        assert torch.allclose(step.x, (raw - mean) / std)


# a CPU takes one lane, a GPU all of them; 2 leaves one over
@pytest.mark.parametrize("eval_lanes", [1, 2, 3])
def test_evaluation_in_batches_is_that_of_the_plain_network(
    monkeypatch: pytest.MonkeyPatch, eval_lanes: int
) -> None:
    monkeypatch.setattr(evaluate, "EVAL_BATCH", 7)  # 24 examples: the last chunk is short
    toy_run = ToyRun(parts("dropout"), SETTINGS)
    trainer = toy_run.trained()
    trainer.eval_lanes = eval_lanes
    right, loss, finite = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert right.shape == (3, 24) and finite.all()
    for lane in range(3):
        params = {k: w[lane] for k, w in trainer.state["params"].items()}
        x = (
            toy_run.data.images[toy_run.data.rows[lane]].float() - toy_run.data.mean[lane]
        ) / toy_run.data.std[lane]
        logits = functional_call(trainer.program.module, params, (x, untapped))
        assert torch.equal(right[lane], logits.argmax(1) == toy_run.data.labels[lane])
        assert loss[lane].item() == pytest.approx(
            F.cross_entropy(logits, toy_run.data.labels[lane]).item(), rel=1e-5
        )


def test_evaluation_changes_nothing() -> None:
    trainer = ToyRun(parts("ema"), ((0.9,),)).trained()
    before = {k: v.clone() for k, v in lane_of(trainer.state, 0).items()}
    trainer.evaluate(trainer.data.rows, trainer.data.labels)
    assert bitwise_equal(before, lane_of(trainer.state, 0)) and trainer.step_index == 6


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(MembenchError, match="no CUDA device here"):
        resolve_device("cuda")


def test_the_environment_names_what_numbers_depend_on_beside_the_cell() -> None:
    here = environment(torch.device("cpu"), compiled=True)
    assert (
        here["threads"] == 1
        and here["torch"] == torch.__version__
        and here["precision"] == "highest"
    )
    assert here["device"].startswith("cpu ")
    assert here != environment(torch.device("cpu"), compiled=False)


@pytest.mark.parametrize(("compiled", "products"), [(True, "tf32"), (False, "ieee")])
def test_the_environment_of_a_gpu_says_what_its_products_run_at(
    compiled: bool, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    before = torch.get_float32_matmul_precision()
    expected = worker_environment(torch.device("cuda"), compiled)
    assert expected["matmul"] == products
    assert torch.get_float32_matmul_precision() == before
    with precision(compiled):  # what a worker records is what the driver expected
        assert environment(torch.device("cuda"), compiled, captured=compiled) == expected
    assert "matmul" not in environment(torch.device("cpu"), compiled)


def test_records_of_a_gpu_say_whether_the_step_was_captured_and_those_of_a_cpu_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU's environments keep their hashes; a GPU's pack may be compiled or not."""
    assert "captured" not in environment(torch.device("cpu"), compiled=True, captured=True)
    assert len(worker_environments(torch.device("cpu"), compiled=True)) == 1
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    gpu = torch.device("cuda")
    ways = worker_environments(gpu, compiled=True)
    assert [(way["compiled"], way["captured"]) for way in ways] == [(True, True), (False, True)]
    assert {way["precision"] for way in ways} == {"medium"}
    (eager,) = worker_environments(gpu, compiled=False)
    assert (eager["compiled"], eager["captured"], eager["precision"]) == (False, False, "highest")
    with precision(compiled=True):
        assert environment(gpu, compiled=False, captured=True) == {**ways[1]}

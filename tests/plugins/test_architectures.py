"""The shipped networks are those of their papers, and train in the engine as toy networks do."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from support.cli import REPO
from support.cuda import ARCHITECTURES
from support.cuda import PlacementGuard
from support.cuda import SyncGuard
from support.cuda import lanes_on
from support.cuda import one_graph
from support.cuda import orders_on
from support.cuda import toy_run_of
from support.cuda import trained
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import bitwise_equal
from support.engine import lane_of
from support.engine import own_cache
from support.engine import parts
from support.engine import registry
from support.suites import shipped_suite
from torch import Tensor
from torch import nn
from torch.func import functional_call

from membench.engine import network
from membench.engine.step import untapped
from membench.engine.trainer import Trainer
from membench.nn import cross_entropy
from membench.nn import one_hot
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.planning.plan import make_plan
from membench.planning.suites import narrow
from membench.registry.registry import discover
from membench.testing.toy import max_abs_diff

pytestmark = pytest.mark.usefixtures("worker_like")

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
#: (the size it is meant for, its weights there, residual branches)
KNOWN = {
    "mlp-4096": (MNIST, 20_037_642, 0),
    "wide-mlp": (MNIST, 1_863_690, 0),
    "wide-cnn": (MNIST, 1_252_170, 0),
    "cifar-cnn": (CIFAR, 1_168_434 + 1_952, 0),
    "resnet8": (CIFAR, 75_290, 3),
    "resnet8-gn": (CIFAR, 75_290, 3),
    "resnet20": (CIFAR, 269_722, 9),
    "resnet20-gn": (CIFAR, 269_722, 9),
    "vit": (CIFAR, 3_136 + 64 * 64 + 4 * 33_472 + 128 + 650, 8),
    "mlp-mixer": (CIFAR, 3_136 + 4 * (256 + 4_192 + 33_088) + 128 + 650, 8),
}
TRAINED = (*KNOWN, "small-mlp")
NORMED = ("cifar-cnn", "resnet8", "resnet20")  #: by the batch
BRANCHED = tuple(name for name, (_, _, branches) in KNOWN.items() if branches)
SLOW = (
    "mlp-4096",
    "wide-mlp",
    "resnet20",
    "resnet20-gn",
)  #: resnet8's code again, and the mlp's, at a size that takes seconds


def every(names: Iterable[str], slow: Iterable[str] = SLOW) -> pytest.MarkDecorator:
    marked = [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in names]
    return pytest.mark.parametrize("name", marked)


def test_every_shipped_network_is_tested_here_or_in_the_guards() -> None:
    assert {*TRAINED, *ARCHITECTURES} == {*registry().architectures}


# --- the papers' networks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_it_has_the_published_number_of_weights_and_branches(name: str) -> None:
    shape, weights, branches = KNOWN[name]
    net = network.inspect_network(registry().architecture(name), shape, 10)
    assert sum(map(math.prod, net.params.values())) == weights
    assert sum(kind == "branch" for kind, _ in net.taps) == branches
    assert net.has_batch_norm == (name in NORMED)
    entry = registry().entry("architectures", name)
    assert f"{weights:,} weights" in entry.summary + entry.source


@pytest.mark.parametrize("shape", [SHAPE, (2, 11, 14), MNIST, (3, 40, 36)], ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_it_takes_images_of_any_size(name: str, shape: tuple[int, int, int]) -> None:
    module = network.meta_module(registry().architecture(name), shape, 7)
    assert module(torch.empty((5, *shape), device="meta"), untapped).shape == (5, 7)


class Built:
    """A network for CIFAR-10 and sixteen inputs; its norms and statistics are not all 1 and 0."""

    def __init__(self, name: str) -> None:
        architecture = registry().architecture(name)
        self.module = network.meta_module(architecture, CIFAR, 10)
        self.p = network.initial_weights(architecture, CIFAR, 10, 1)
        self.buffers = {
            k: torch.zeros(b.shape) for k, b in network.batch_norm_buffers(self.module).items()
        }
        for kind, tensors in (
            ("norm", self.p),
            ("running_mean", self.buffers),
            ("running_var", self.buffers),
        ):
            for k, v in tensors.items():
                if kind in k and v.dim() == 1:
                    start = 1 if kind == "running_var" else v
                    tensors[k] = start + torch.linspace(1, 9, len(v)).sin() / 3
        self.x = torch.linspace(0, 99, 16 * math.prod(CIFAR)).square().sin().reshape(16, *CIFAR)

    def logits(self, train: bool = False, tap: Callable[..., Tensor] = untapped) -> Tensor:
        return functional_call(self.module.train(train), {**self.p, **self.buffers}, (self.x, tap))

    def norm(self, h: Tensor, name: str, train: bool) -> Tensor:
        """torch's norm of [n, c, ...]: by batch if there are statistics, else in groups of 16."""
        w, b = self.p[f"{name}.weight"], self.p[f"{name}.bias"]
        if not self.buffers:
            return F.group_norm(h, len(w) // 16, w, b)
        running = (
            [None, None]
            if train
            else [self.buffers[f"{name}.running_{of}"] for of in ("mean", "var")]
        )
        return F.batch_norm(h, *running, w, b, training=train)

    def conv(self, h: Tensor, name: str, size: int, **how: int) -> Tensor:
        """torch's own, [n, c, h, w]."""
        w = self.p[f"{name}.weight"]
        w = w.reshape(len(w), size, size, -1).permute(0, 3, 1, 2)
        return F.conv2d(h, w, self.p.get(f"{name}.bias"), **how)

    def linear(self, h: Tensor, name: str) -> Tensor:
        return F.linear(h, self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def layer_norm(self, h: Tensor, name: str) -> Tensor:
        return F.layer_norm(h, h.shape[-1:], self.p[f"{name}.weight"], self.p[f"{name}.bias"])


def residual(net: Built, train: bool, n: int, branch: float = 1.0) -> Tensor:
    """He et al. 2016, section 4.2, option A."""
    h = F.relu(net.norm(net.conv(net.x, "stem.linear", 3, padding=1), "norm", train))
    for i in range(3 * n):
        stride, at = 2 if i in (n, 2 * n) else 1, f"blocks.{i}"
        r = net.conv(h, f"{at}.first.linear", 3, padding=1, stride=stride)
        r = net.conv(
            F.relu(net.norm(r, f"{at}.norms.0", train)), f"{at}.second.linear", 3, padding=1
        )
        r = branch * net.norm(r, f"{at}.norms.1", train)
        more = (r.shape[1] - h.shape[1]) // 2
        h = F.relu(r + F.pad(h[:, :, ::stride, ::stride], (0, 0, 0, 0, more, more)))
    return net.linear(h.mean(dim=(2, 3)), "head")


def convolutional(net: Built, train: bool) -> Tensor:
    """Arpit et al. 2017, section 3, by Keras 1's defaults."""
    h = net.x[:, :, 2:-2, 2:-2]
    for i in range(2):
        h = F.max_pool2d(
            F.relu(net.norm(net.conv(h, f"convs.{i}.linear", 5), f"conv_norms.{i}", train)), 3
        )
    h = h.flatten(1)
    for i in range(2):
        h = F.relu(net.norm(net.linear(h, f"dense.{i}"), f"dense_norms.{i}", train))
    return net.linear(h, "head")


def transformer(net: Built, train: bool) -> Tensor:
    """torch's own encoder layers."""
    h = net.conv(net.x, "patches.linear", 4, stride=4).flatten(2).mT + net.p["positions"]
    names = {
        "qkv": "self_attn.in_proj_",
        "out": "self_attn.out_proj.",
        "before": "norm1.",
        "between": "norm2.",
    }
    names |= {"up": "linear1.", "down": "linear2."}
    for i in range(4):
        layer = nn.TransformerEncoderLayer(
            64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True
        )
        actual = {
            k.split(".")[-2:][0]: k
            for k in net.p
            if k.startswith(f"blocks.{i}.") and k.endswith("weight")
        }
        own = {
            names[k] + what: net.p[at.replace("weight", what)]
            for k, at in actual.items()
            for what in ("weight", "bias")
        }
        layer.load_state_dict(own)
        h = layer(h)
    return net.linear(net.layer_norm(h, "norm").mean(dim=1), "head")


def mixer(net: Built, train: bool) -> Tensor:
    """Tolstikhin et al. 2021, equations 1 and 2, token and feature sums written out."""
    h = net.conv(net.x, "patches.linear", 4, stride=4).flatten(2).mT
    for at in (f"blocks.{i}" for i in range(4)):
        w = {
            k: [net.p[f"{at}.{layer}.0.{k}"] for layer in ("up", "down")]
            for k in ("weight", "bias")
        }
        units = (
            torch.einsum("ut,ntf->nuf", w["weight"][0], net.layer_norm(h, f"{at}.norms.0"))
            + w["bias"][0][:, None]
        )
        h = h + torch.einsum("tu,nuf->ntf", w["weight"][1], F.gelu(units)) + w["bias"][1][:, None]
        units = net.linear(net.layer_norm(h, f"{at}.norms.1"), f"{at}.up.1")
        h = h + net.linear(F.gelu(units), f"{at}.down.1")
    return net.linear(net.layer_norm(h, "norm").mean(dim=1), "head")


REFERENCE = {
    "cifar-cnn": convolutional,
    **{f"resnet{6 * n + 2}{norm}": partial(residual, n=n) for n in (1, 3) for norm in ("", "-gn")},
    "vit": transformer,
    "mlp-mixer": mixer,
}


@pytest.mark.parametrize("name", REFERENCE)
def test_it_computes_what_torch_s_own_layers_do(name: str) -> None:
    net = Built(name)
    modes = [net.logits(train) for train in (True, False)]
    for actual, train in zip(modes, (True, False), strict=True):
        assert torch.allclose(actual, REFERENCE[name](net, train), atol=1e-4, rtol=1e-4)
    assert torch.allclose(*modes) == (name not in NORMED)


@pytest.mark.parametrize("name", BRANCHED)
def test_without_its_branches_the_shortcuts_are_left(name: str) -> None:
    net = Built(name)
    actual = net.logits(tap=lambda h, kind="hidden": 0 * h if kind == "branch" else h)
    if name.startswith("resnet"):
        expected = REFERENCE[name](net, False, branch=0.0)
    else:
        h = net.conv(net.x, "patches.linear", 4, stride=4).flatten(2).mT + net.p.get("positions", 0)
        expected = net.linear(net.layer_norm(h, "norm").mean(dim=1), "head")
    assert torch.allclose(actual, expected, atol=1e-4)


# --- in the engine --------------------------------------------------------------------------------


def epochs(name: str) -> int:
    """Three steps lower the loss of 24 images; batches of eight are small for twenty layers."""
    return {"mlp-4096": 2, "cifar-cnn": 3, "resnet20": 14, "resnet20-gn": 14}.get(name, 6)


def world(name: str, *regularizers: str, strengths: tuple[tuple[float, ...], ...]) -> ToyRun:
    """Lanes by its own recipe, in batches of eight."""
    architecture = registry().architecture(name)
    recipe = replace(architecture.recipe, batch=8, epochs=epochs(name))
    return ToyRun(
        sum(map(parts, regularizers), ()), strengths, architecture, recipe, steps=3 * recipe.epochs
    )


@every(TRAINED)
def test_it_learns_alone_what_it_learns_among_others(name: str) -> None:
    lanes = world(name, strengths=((), (), ()))
    trainer = lanes.trainer()
    before = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    trained(trainer, lanes.orders(epochs=epochs(name)))
    after = trainer.evaluate(trainer.data.rows, trainer.data.labels)[1]
    assert (after < before).all()
    alone = lanes.trained([1], epochs=epochs(name))
    for tree in ("params", "buffers"):
        assert max_abs_diff(lane_of(trainer.state[tree], 1), lane_of(alone.state[tree], 0)) < 1e-4
    params = trainer.state["params"]
    assert max_abs_diff(lane_of(params, 0), lane_of(params, 1)) > 1e-3


@every(NORMED, slow=(*SLOW, "cifar-cnn"))
def test_evaluation_after_training_goes_by_the_running_statistics(name: str) -> None:
    lanes = world(name, strengths=((), ()))
    trainer = lanes.trained(epochs=4)
    _, losses, _ = trainer.evaluate(trainer.data.rows, trainer.data.labels)
    d, module = trainer.data, network.meta_module(lanes.architecture, SHAPE, lanes.classes)
    for lane in (0, 1):
        x = (d.images[d.rows[lane]].float() - d.mean[lane]) / d.std[lane]
        y = one_hot(d.labels[lane], lanes.classes)
        p, b = (
            {k: v[lane] for k, v in trainer.state[tree].items()} for tree in ("params", "buffers")
        )
        loss = {
            train: cross_entropy(functional_call(module.train(train), {**p, **b}, (x, untapped)), y)
            .mean()
            .item()
            for train in (False, True)
        }
        assert losses[lane].item() == pytest.approx(loss[False], rel=1e-4)
        assert losses[lane].item() != pytest.approx(loss[True], rel=1e-2)


@every(TRAINED, slow=(*SLOW, "cifar-cnn"))
def test_dropouts_and_stochastic_depth_act_together_and_not_at_off(name: str) -> None:
    names = ("dropout", "spatial-dropout", *(("stochastic-depth",) if name in BRANCHED else ()))
    off, on = (0.0,) * len(names), (0.3, 0.2, 0.4)[: len(names)]
    plain = world(name, strengths=((), ())).trained(epochs=1).state
    both = world(name, *names, strengths=(off, on)).trained(epochs=1).state
    assert bitwise_equal(lane_of(both["params"], 0), lane_of(plain["params"], 0))
    assert both["diverged_at"].tolist() == [-1, -1]
    assert max_abs_diff(lane_of(both["params"], 1), lane_of(plain["params"], 1)) > 1e-4
    if name in BRANCHED:
        shallow = world(name, names[-1], strengths=((0.0,), (0.4,))).trained(epochs=1).state
        away = [
            max_abs_diff(lane_of(shallow["params"], lane), lane_of(plain["params"], lane))
            for lane in (0, 1)
        ]
        assert away[0] == 0 and away[1] > 1e-4


@every(TRAINED, slow={*TRAINED} - {"resnet8", "small-mlp"})  # a second or two each
def test_its_step_neither_waits_for_the_device_nor_leaves_it(name: str) -> None:
    lanes = toy_run_of("dropout", name)
    trainer, orders = lanes.trainer(), lanes.orders()
    with SyncGuard():
        trained(trainer, orders)
        trainer.evaluate(trainer.data.rows, trainer.data.labels)
    there, orders = lanes_on(lanes, "meta"), orders_on(lanes, "meta", epochs=1)
    with PlacementGuard("meta"):
        trained(Trainer(*there), orders)


@every(KNOWN, slow=KNOWN)  # seconds each; the mlp's and the cnn's are in test_guards.py
def test_its_step_is_one_graph(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = toy_run_of("none", name)
    eager, trainer, orders = lanes.trainer(), lanes.trainer(), lanes.orders()
    with one_graph(monkeypatch):
        assert trainer.compile(orders[0]) == ""
        trained(trainer, orders)
    assert max_abs_diff(trainer.state["params"], trained(eager, orders).state["params"]) < 1e-4


# --- in the plan ----------------------------------------------------------------------------------


def test_what_cannot_act_on_a_network_is_skipped_and_the_rest_is_planned() -> None:
    names = ("resnet8", "resnet8-gn", "mlp-4096")
    with own_cache():
        found = discover(folder=REPO)
        data = DatasetLoader(found, None)
        suite = narrow(shipped_suite("smoke"), architectures=names)
        skips = SkipAnswers(found, data, network.inspect_network)
        plan = make_plan(suite, found, data.hash, skips.reason)
    skipped = {
        e.name: {k.partition("/")[2]: why for k, why in e.skipped.items()}
        for e in plan.manifest.entries
    }
    assert skipped["dp-sgd"].keys() == {"resnet8", "mlp-4096"}
    assert skipped["dp-sgd"]["resnet8"].startswith("batch norm mixes the examples")
    assert (
        skipped["dp-sgd"]["mlp-4096"]
        == "10 gradients of 17,088,522 weights at once; 5,000,000 are the most"
    )
    assert (
        skipped["winsorized-gradient"].keys() == skipped["stochastic-depth"].keys() == {"mlp-4096"}
    )
    acting = {(cell.architecture, cell.regularizer) for cell in plan.cells}
    others = {(a, r) for a in names for r in found.regularizers if a not in skipped[r]}
    assert acting == others

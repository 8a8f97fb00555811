"""The regularizers of the forward pass, its activations and weights, each against its formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.engine import CLASSES
from support.engine import CNN
from support.engine import MLP
from support.engine import SHAPE
from support.engine import ToyRun
from support.engine import one_lane
from support.engine import parts
from support.regularizers import call_stage
from support.regularizers import toy_run
from torch import Tensor

from membench.api import Architecture
from membench.engine.network import inspect_network

pytestmark = pytest.mark.usefixtures("worker_like")  # bitwise at one thread, as the engine promises


def skips(name: str, architecture: Architecture) -> str | None:
    """Why it cannot act on a network."""
    return parts(name)[0].skip(inspect_network(architecture, SHAPE, CLASSES))


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stage"), [("dropout", "hidden"), ("input-dropout", "batch")])
@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(name: str, stage: str, rate: float) -> None:
    h = torch.linspace(1, 2, 100 * 200).reshape(100, 200)
    out = (
        call_stage(name, stage, rate, h)
        if stage == "hidden"
        else call_stage(name, stage, rate, h, h)[0]
    )
    kept = out != 0
    assert torch.allclose(out[kept], h[kept] / (1 - rate))
    assert abs(kept.float().mean() - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / h.numel())
    assert abs(out.mean() / h.mean() - 1) < 0.03
    for axis in (0, 1):  # every unit and every example for itself
        n, shares = h.shape[1 - axis], kept.float().mean(1 - axis)
        assert abs(shares.var() / (rate * (1 - rate) / n) - 1) < 4 * math.sqrt(2 / len(shares))


def test_weight_noise_moves_every_weight_by_its_own_draw() -> None:
    params = {"a": torch.zeros(100, 50), "b": torch.ones(5000)}
    out = call_stage("weight-noise", "perturb", 0.2, params)
    z = torch.cat([((out[k] - params[k]) / 0.2).flatten() for k in params])
    assert abs(z.mean()) < 4 / math.sqrt(len(z)) and abs(z.var() - 1) < 4 * math.sqrt(2 / len(z))
    assert not torch.equal(z[:5000], z[5000:])


@pytest.mark.parametrize(
    ("shape", "within"), [((100, 20, 3, 4), (2, 3)), ((100, 5, 20), (1,)), ((100, 20), ())], ids=str
)
def test_spatial_dropout_drops_whole_channels(
    shape: tuple[int, ...], within: tuple[int, ...]
) -> None:
    h, s = torch.rand(shape) + 1, 0.4
    out = call_stage("spatial-dropout", "hidden", s, h)
    kept = (out != 0).float()
    share = kept.mean(within) if within else kept
    assert set(share.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(out, h * kept / (1 - s))
    assert abs(share.mean() - (1 - s)) < 4 * math.sqrt(s * (1 - s) / share.numel())
    assert (
        share.mean(0).max() < 1 and share.mean(1).var() > 0
    )  # every example and channel for itself


def test_stochastic_depth_leaves_out_whole_branches_and_nothing_else() -> None:
    w, s, h = toy_run("stochastic-depth", (0.3,), architecture=CNN), 0.3, torch.rand(4, 5) + 1
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


def blend_at(place: int, own: Tensor, other: Tensor) -> Callable[[int, Tensor], Tensor]:
    """Mix each example with another one at one place of the network."""

    def blend(at: int, h: Tensor) -> Tensor:
        return own * h + (1 - own) * h[other] if at == place else h

    return blend


def test_manifold_mixup_blends_one_place_a_step_and_the_labels_alike() -> None:
    w, s = toy_run("manifold-mixup", (0.6,)), 0.6
    trainer, order = w.trainer(), w.orders()[0]
    plain = ToyRun((), ((),), data=w.data).trainer()
    places = []
    for t in range(12):
        mixed, clean = one_lane(trainer, order, t), one_lane(plain, order, t)
        lane = mixed.lane(0, "batch")
        place = int(3 * lane.uniform((), "place"))
        own, other = 1 - s * lane.uniform((8, 1), "share"), lane.permutation(8, "other")
        blend = blend_at(place, own, other)
        expected = tiny_mlp(mixed.params, clean.x, blend)
        logits = mixed.objective(mixed.params, mixed.x, mixed.y, mixed.index, None)[1][0]
        assert torch.allclose(logits, expected, atol=1e-5)
        assert not torch.allclose(
            logits, tiny_mlp(mixed.params, clean.x, lambda at, h: h), atol=1e-3
        )
        assert torch.allclose(mixed.y, own * clean.y + (1 - own) * clean.y[other])
        places.append(place)
    assert set(places) == {0, 1, 2}


def test_manifold_mixup_skips_networks_whose_first_layers_are_branches() -> None:
    assert skips("manifold-mixup", CNN) == "the first 2 taps are not hidden layers"
    assert skips("manifold-mixup", MLP) is None


def test_activation_penalty_is_the_mean_square_of_each_layer() -> None:
    activations = [torch.rand(4, 6), torch.rand(4, 3, 2, 2)]
    expected = 0.5 * ((activations[0] ** 2).sum() / 24 + (activations[1] ** 2).sum() / 48)
    assert torch.allclose(
        call_stage("activation-penalty", "penalty", 0.5, {}, activations=activations), expected
    )


def test_dropconnect_drops_entries_of_the_weight_matrices_at_its_rate() -> None:
    w, s = {"a": torch.rand(100, 50) + 1, "b": torch.rand(50), "c": torch.rand(50, 100) + 1}, 0.7
    out = call_stage("dropconnect", "perturb", s, w)
    assert torch.equal(out["b"], w["b"])
    for name in "ac":
        kept = out[name] != 0
        assert torch.allclose(out[name], w[name] * kept / (1 - s))
        assert abs(kept.float().mean() - (1 - s)) < 4 * math.sqrt(s * (1 - s) / 5000)
    assert not torch.equal((out["a"] != 0).flatten(), (out["c"] != 0).flatten())

"""The projection of a plan's time on a GPU, against arithmetic by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from support.engine import Plugins
from support.engine import blobs

from membench import Architecture
from membench import Arm
from membench import Recipe
from membench import Split
from membench.commands import projected_time
from membench.engine import card
from membench.engine.card import BYTES_PER_SECOND
from membench.engine.card import FP32_FLOPS
from membench.engine.card import FUSED_KERNELS
from membench.engine.card import LAUNCH_SECONDS
from membench.engine.card import TF32_FLOPS
from membench.engine.projection import Projection
from membench.engine.projection import project
from membench.nn import MLP
from membench.planning.inputs import DatasetLoader
from membench.planning.study_plan import ArmPlan
from membench.records import Cell

SIZES = (784, 256, 256, 10)
WEIGHTS = [a * b for a, b in pairwise(SIZES)]
PARAMETERS = sum(WEIGHTS) + sum(SIZES[1:])


NETWORKS = {"mlp": Architecture("mlp", lambda shape, classes: MLP(784, (256, 256), classes))}


def plan(batch: int, lanes: int, name: str = "none", compiled: bool = True) -> ArmPlan:
    strength = () if name == "none" else (0.1,)
    cells = tuple(Cell("blobs", "mlp", name, strength, "real", seed) for seed in range(lanes))
    recipe, split = Recipe(lr=0.1, batch=batch, epochs=3), Split(10, 4 * batch, 10)
    return ArmPlan(
        study="study",
        arm=Arm(
            "main",
            "blobs",
            ("mlp",),
            ("real",),
            tuple(range(lanes)),
            split,
            recipe,
            compiled=compiled,
        ),
        cells=cells,
        code=lambda cells, probes: (),
        arrays="",
        keys=(),
    )


def least(batch: int, lanes: int, name: str = "none", compiled: bool = True) -> Projection:
    plugins = Plugins(architectures=NETWORKS)
    return project(plan(batch, lanes, name, compiled), plugins, (1, 28, 28), 10)


def bytes_moved(batch: int) -> int:
    """Of a lane-step by hand: three products a layer, of which the first lacks one; the update."""
    moved = 0
    for layer, (inputs, outputs) in enumerate(pairwise(SIZES)):
        x, weights, y = batch * inputs, inputs * outputs, batch * outputs
        moved += x + weights + y  # forward
        moved += x + weights + y  # the weights' gradient
        moved += x + weights + y if layer else 0  # the inputs' gradient
    return 4 * moved + 20 * PARAMETERS


@pytest.mark.parametrize(("compiled", "rate"), [(True, TF32_FLOPS), (False, FP32_FLOPS)])
def test_many_lanes_of_large_layers_take_what_their_arithmetic_takes(
    compiled: bool, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "BYTES_PER_SECOND", 1e18)  # or it would be the traffic, in TF32
    found = least(4096, 1000, compiled=compiled)
    flops = 2 * 4096 * (3 * sum(WEIGHTS) - WEIGHTS[0])
    assert (found.cells, found.steps) == (1000, 12_000)
    assert found.flops == pytest.approx(12_000 * flops)
    assert found.seconds == pytest.approx(12_000 * flops / rate)


@pytest.mark.parametrize("batch", [8, 1000])
def test_lanes_take_what_their_weights_and_activations_take_to_move(batch: int) -> None:
    assert least(batch, 1000).seconds == pytest.approx(
        12_000 * bytes_moved(batch) / BYTES_PER_SECOND
    )


def test_a_single_lane_takes_what_its_launches_take() -> None:
    one, two = (least(8, n).seconds for n in (1, 2))
    assert one == two  # both hide behind the launches
    assert 30 < one / 12 / LAUNCH_SECONDS / FUSED_KERNELS < 300
    assert least(8, 1, compiled=False).seconds == pytest.approx(one / FUSED_KERNELS)
    assert least(8, 1, "sam").seconds > 1.5 * one


def projected(plans: list[ArmPlan], registry: Any, folder: Any) -> str:
    return projected_time.projected_time(plans, DatasetLoader(registry, folder, needed=False))


def test_a_study_s_time_is_projected_before_its_data_are_fetched(tmp_path: object) -> None:
    from dataclasses import replace

    def load(folder: object) -> object:
        raise FileNotFoundError("fetch it")

    gone = replace(blobs(), load=load, shape=(1, 28, 28), num_classes=10)
    told = projected(
        [plan(4096, 1000)], Plugins(architectures=NETWORKS, datasets={"blobs": gone}), tmp_path
    )
    assert (
        told.startswith("; training takes at least ")
        and " on an H100 (projection: 6e+13 FLOP in TF32)" in told
    )
    plans = [plan(8, 1), plan(8, 1, compiled=False)]
    told = projected(plans, Plugins(architectures=NETWORKS, datasets={"blobs": gone}), tmp_path)
    assert told.endswith(" FLOP in TF32 and full fp32)")
    unknown = replace(gone, shape=None)
    assert projected([plan(8, 1)], Plugins(datasets={"blobs": unknown}), tmp_path) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(1.0, "1 s"), (89, "89 s"), (91, "1.5 min"), (5400, "1.5 h"), (7e6, "1.9e+03 h")],
)
def test_times_are_printed_in_a_readable_unit(seconds: float, told: str) -> None:
    assert projected_time.format_seconds(seconds) == told

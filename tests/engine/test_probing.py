"""Probes: what they see of a run, what is stored of their results, and no effect on training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.engine import Plugins
from support.engine import blobs
from support.engine import pack
from test_train import bits

from membench import Probe
from membench import Split
from membench.api import Recipe
from membench.data import trained_rows
from membench.engine.schedule import checkpoints
from membench.engine.train import Run
from membench.engine.train import train_pack
from membench.errors import MembenchError
from membench.nn import cross_entropy
from membench.nn import one_hot
from membench.records import Cell
from membench.records import Record

pytestmark = pytest.mark.usefixtures("worker_like")

RECIPE = Recipe(lr=0.1, batch=10, epochs=6)
SPLIT = Split(test=18, train=30, validation=12)
CELLS = tuple(
    Cell("blobs", "mlp", "dropout", (s,), w, 0)
    for s, w in ((0.5, "real"), (0.5, "mixed@0.4"), (0.1, "randY"))
)


def trained(
    *probes: Probe,
    cells: tuple[Cell, ...] = CELLS,
    split: Split = SPLIT,
    compiled: bool = False,
    **more: Any,
) -> list[Record]:
    source = Plugins(datasets={"blobs": blobs()}, probes={p.name: p for p in probes})
    names = tuple(p.name for p in probes)
    return train_pack(pack(cells, RECIPE, split, compiled, probes=names, **more), source, "cpu")


@cache
def plain() -> list[Record]:
    return trained()


def curves(record: Record) -> Record:
    """What training decides, without what was probed and the clock."""
    return replace(record, probes={}, seconds=0.0)


def seen(look: Callable[..., dict], **more: Any) -> tuple[list[Record], list[Any]]:
    """The records, and what `look` was called with, in order."""
    calls = []
    return trained(Probe("look", lambda *args: calls.append(args) or look(*args), **more)), calls


def visits(params: dict, lane: Any) -> dict:
    return {"visits": torch.zeros(lane.num_examples), "right": torch.zeros(lane.num_examples)}


def visited(params: dict, lane: Any) -> dict:
    right = (lane.logits.argmax(1) == lane.y.argmax(1)).to(torch.float32)
    return {
        "visits": lane.state["visits"].index_add(0, lane.index, torch.ones_like(right)),
        "right": lane.state["right"].index_copy(0, lane.index, right),
    }


COUNTER = Probe("counter", lambda params, data, lane: lane.state, init=visits, update=visited)


def vandal(params: dict, data: Any, lane: Any) -> dict:
    """Writes over all that it can reach, and draws torch's own random numbers."""
    for tensors in (params, lane.initial, lane.state, lane.params):
        for tensor in tensors.values():
            tensor.fill_(7)
    for tensor in (
        data.x,
        data.y,
        data.val_x,
        data.val_y,
        data.wrong,
        data.clean,
        data.trained,
        lane.order,
    ):
        tensor.zero_()
    return {"drawn": torch.rand(3)}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_probes_do_not_change_training(compiled: bool) -> None:
    vandals = Probe("vandal", vandal), replace(COUNTER, name="robbed", measure=vandal)
    probed = trained(*vandals, COUNTER, compiled=compiled)
    bare = trained(compiled=compiled) if compiled else plain()
    assert all(r.reason == "" for r in probed)
    assert list(map(curves, probed)) == list(map(curves, bare))


def test_a_probe_measures_what_the_curves_say_at_each_checkpoint() -> None:
    def look(params: dict, data: Any, lane: Any) -> dict:
        logits = lane.forward(data.x, params)
        val = (lane.forward(data.val_x).argmax(1) == data.val_y).float().mean()
        loss = cross_entropy(logits, one_hot(data.y, lane.num_classes)).mean()
        wrong = (logits.argmax(1) == data.y)[data.wrong].float().mean()
        return {
            "loss": loss,
            "right": (logits.argmax(1) == data.y).float(),
            "val": val,
            "wrong": wrong,
        }

    for record in seen(look)[0]:
        found = record.probes["look"]
        assert record.epochs == checkpoints(6) and {len(v) for v in found.values()} == {
            len(record.epochs)
        }
        assert found["loss"] == pytest.approx(record.loss, rel=1e-5)
        assert found["val"] == pytest.approx(record.val, rel=1e-5)
        assert np.array_equal(found["right"][-1], bits(record.train_bits, 30))
        assert found["wrong"] == (
            pytest.approx(record.wrong, rel=1e-5) if record.num_wrong else (None,) * 5
        )
        assert Record.from_json(record.to_json()) == record


def test_a_probe_is_told_where_the_run_is() -> None:
    _, calls = seen(lambda params, data, lane: {})
    assert [lane.epoch for _, _, lane in calls] == [e for e in checkpoints(6) for _ in CELLS]
    params, data, lane = calls[-1]
    assert (lane.steps, lane.num_classes, lane.num_examples, lane.recipe) == (18, 3, 30, RECIPE)
    assert lane.order.shape == (18, 10) and torch.equal(
        lane.order[:3].flatten().sort()[0], torch.arange(30)
    )
    assert lane.rates.tolist() == [RECIPE.lr] * 18
    assert lane.pixel.shape == (1, 1, 1) and data.x.mean().abs() < 1e-5 and data.trained.all()
    assert params.keys() == lane.initial.keys() and not any(
        torch.equal(params[k], lane.initial[k]) for k in params
    )
    assert torch.equal(
        lane.initial["0.weight" if "0.weight" in params else next(iter(params))],
        next(iter(calls[0][2].initial.values())),
    )


def test_gradients_can_be_taken_in_inputs_and_weights() -> None:
    def look(params: dict, data: Any, lane: Any) -> dict:
        x = data.x.requires_grad_()
        inputs = torch.autograd.grad(lane.forward(x).square().sum(), x)[0]
        weights = torch.func.grad(lambda p: lane.forward(data.val_x, p).square().sum())(params)
        return {"inputs": inputs.norm(), "weights": sum(g.norm() for g in weights.values())}

    for record in seen(look)[0]:
        assert all(value > 0 for values in record.probes["look"].values() for value in values)


def test_a_state_is_carried_through_every_step() -> None:
    for record in trained(COUNTER):
        found = record.probes["counter"]
        assert [set(v) for v in found["visits"]] == [{float(e)} for e in record.epochs]
        assert 0 < sum(found["right"][-1]) <= 30


def test_a_probe_at_the_end_measures_once() -> None:
    records, calls = seen(lambda params, data, lane: {"epoch": lane.epoch}, at="end")
    assert len(calls) == len(CELLS)
    assert [r.probes for r in records] == [{"look": {"epoch": (6.0,)}}] * len(CELLS)


def test_draws_are_of_the_lane_the_probe_the_step_and_the_name() -> None:
    def look(params: dict, data: Any, lane: Any) -> dict:
        assert torch.equal(lane.permutation(9, "p").sort()[0], torch.arange(9))
        assert torch.equal(lane.uniform((4,), "a"), lane.uniform((4,), "a"))
        return {
            "a": lane.uniform((4,), "a"),
            "b": lane.uniform((4,), "b"),
            "z": lane.normal((4,), "a"),
        }

    one, other = (Probe(name, look) for name in ("one", "other"))
    first, _, _ = trained(one, other)
    drawn = [v for probe in first.probes.values() for metric in probe.values() for v in metric]
    assert len(set(drawn)) == 2 * 3 * len(first.epochs)
    assert trained(one)[0].probes["one"] == first.probes["one"]


def test_numbers_are_kept_to_six_digits_and_what_is_not_finite_as_none() -> None:
    records, _ = seen(
        lambda *_: {
            "a": 1 / 3,
            "b": torch.tensor([float("nan"), 2e-9 / 3]),
            "c": float("inf"),
            "d": 2,
        }
    )
    found = {name: values[0] for name, values in records[0].probes["look"].items()}
    assert found == {"a": 0.333333, "b": (None, 6.66667e-10), "c": None, "d": 2.0}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"a": torch.zeros(2, 2)},
            r"probe 'look': a must be a number or a 1-d tensor of at most 4096, not a tensor \[2",
        ),
        ({"a": torch.zeros(4097)}, "at most 4096, not a tensor"),
        ({"a": "much"}, "not a str"),
        ({"A b": 1.0}, "illegal metric name 'A b'"),
        (None, "must return a dict of metrics, not a NoneType"),
    ],
)
def test_a_value_that_is_no_metric_is_refused(said: Any, message: str) -> None:
    with pytest.raises(MembenchError, match=message):
        seen(lambda *_: said)


def test_a_metric_must_be_there_at_every_checkpoint() -> None:
    with pytest.raises(MembenchError, match="the same metrics at every checkpoint"):
        seen(
            lambda params, data, lane: (
                {"late": 1.0} if lane.epoch > 3 else {"late": 1.0, "early": 1.0}
            )
        )


def test_a_state_that_changes_its_shape_is_refused() -> None:
    bad = replace(
        COUNTER, update=lambda params, lane: {"visits": torch.zeros(2), "right": torch.zeros(2)}
    )
    with pytest.raises(
        MembenchError, match=r"probe counter: update must return visits: \[30\] float32"
    ):
        trained(bad)


def test_a_lane_that_diverged_keeps_no_measurement_and_costs_no_other() -> None:
    cells = tuple(Cell("blobs", "mlp", "weight-decay", (s,), "real", 0) for s in (0.001, 1e30))
    finite = Probe(
        "finite", lambda params, data, lane: {"norm": sum(p.norm() for p in params.values())}
    )
    good, dead = trained(finite, cells=cells)
    assert (good.status, dead.status) == ("ok", "diverged")
    assert len(good.probes["finite"]["norm"]) == len(good.epochs) and dead.probes == {}


# --- when runs are read, and on which rows they train ---------------------------------------------


def test_a_run_is_read_at_the_epochs_of_its_pack_with_the_same_numbers() -> None:
    for asked, usual in zip(trained(read=(2, 4)), plain(), strict=True):
        assert asked.epochs == (2, 4, 6) and asked.test[:2] == (None, None)
        assert asked.train[1] == usual.train[usual.epochs.index(4)]
        assert (asked.train[-1], asked.test[-1], asked.train_bits) == (
            usual.train[-1],
            usual.test[-1],
            usual.train_bits,
        )


def seeds(split: Split, probe: Probe | None = None) -> list[Record]:
    cells = tuple(Cell("blobs", "mlp", "none", (), "mixed@0.4", seed) for seed in range(3))
    return trained(*([probe] if probe else []), cells=cells, split=split)


def test_a_fixed_draw_gives_all_seeds_one_data_set_and_other_weights_and_orders() -> None:
    orders = Probe(
        "orders",
        lambda params, data, lane: {
            "first": lane.order[0],
            "w": sum(p.norm() for p in lane.initial.values()),
        },
    )
    own, fixed = seeds(SPLIT, orders), seeds(replace(SPLIT, fixed=1), orders)
    assert len({r.arrays for r in own}) == 3
    assert {r.arrays for r in fixed} == {own[1].arrays}
    assert curves(fixed[1]) == curves(own[1])
    for metric in ("first", "w"):
        assert [r.probes["orders"][metric] for r in fixed] == [
            r.probes["orders"][metric] for r in own
        ]
        assert len({r.probes["orders"][metric] for r in fixed}) == 3


def test_with_a_share_each_seed_trains_on_rows_of_its_own_and_is_read_on_all() -> None:
    split = replace(SPLIT, fixed=0, share=0.7)
    probe = Probe(
        "rows",
        lambda params, data, lane: {
            "trained": data.trained.float(),
            "used": torch.bincount(lane.order.flatten(), minlength=30).float(),
        },
        at="end",
    )
    records = seeds(split, probe)
    rows = [trained_rows(split, r.cell) for r in records]
    assert [r.sum() for r in rows] == [21] * 3 and len({r.tobytes() for r in rows}) == 3
    for record, mine in zip(records, rows, strict=True):
        found = {name: np.array(values[0]) for name, values in record.probes["rows"].items()}
        assert np.array_equal(found["trained"], mine)
        assert (
            not found["used"][~mine].any()
            and found["used"].sum() == 6 * 20
            and found["used"].max() <= 6
        )
        assert record.steps == 12 and record.num_train == 30 and len(record.train_bits) == 8


def test_rows_are_chosen_uniformly() -> None:
    split = Split(0, 50, 0, share=0.7)
    chosen = sum(
        trained_rows(split, Cell("d", "a", "none", (), "real", seed)).astype(int)
        for seed in range(400)
    )
    assert abs(chosen - 280).max() < 5 * np.sqrt(400 * 0.7 * 0.3)
    assert trained_rows(Split(0, 50, 0), Cell("d", "a", "none", (), "real", 0)).all()


def test_a_share_of_the_data_that_fills_no_batch_is_refused() -> None:
    source = Plugins(datasets={"blobs": blobs()})
    with pytest.raises(MembenchError, match="6 training images fill no batch of 10"):
        Run(pack(CELLS, RECIPE, replace(SPLIT, share=0.2)), source, torch.device("cpu"))

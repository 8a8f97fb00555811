"""The probes of memorization against values by hand, a plain loop and torch.optim."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.plugin_files import plugin

from membench.api import Recipe
from membench.api import Split
from membench.engine.train import train_pack
from membench.planning.packs import Pack
from membench.records import Cell
from membench.registry.registry import discover

REGISTRY = discover()
PROBES = ("forgetting", "hidden-memory", "margins", "norms")


def test_a_margin_is_the_log_odds_of_the_label() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    p = logits.softmax(dim=1)
    found = plugin("probes/margins.py").margin(logits, torch.tensor([0, 1]))
    expected = torch.stack([p[0, 0] / (1 - p[0, 0]), p[1, 1] / (1 - p[1, 1])]).log()
    torch.testing.assert_close(found, expected)


def test_margins_are_those_of_wrong_labels_and_stay_finite() -> None:
    data = SimpleNamespace(
        x=torch.eye(3), y=torch.tensor([0, 1, 2]), wrong=torch.tensor([True, False, True])
    )
    lane = SimpleNamespace(forward=lambda x: 1e6 * x)
    found = REGISTRY.probe("margins").measure({}, data, lane)
    assert found["canary"].tolist() == [0, 2]
    assert found["margin"].tolist() == [99.99, 99.99]


def test_norms_by_hand() -> None:
    params = {
        "a": torch.tensor([[3.0, 4.0]]),
        "bias": torch.zeros(1),
        "b": torch.tensor([[2.0], [0.0]]),
    }
    lane = SimpleNamespace(initial={name: torch.zeros_like(w) for name, w in params.items()})
    found = REGISTRY.probe("norms").measure(params, None, lane)
    assert found["parameters"] == 5
    for name, expected in (
        ("frobenius", np.log(10)),
        ("spectral", np.log(10)),
        ("path", np.log(36 + 64)),
    ):
        assert float(found[name]) == pytest.approx(expected)
    assert float(found["distance"]) == pytest.approx(np.sqrt(9 + 16 + 4))


def test_a_network_that_is_no_chain_has_no_path_norm() -> None:
    params = {"a": torch.ones(2, 3), "b": torch.ones(4, 5)}
    assert "path" not in REGISTRY.probe("norms").measure(
        params, None, SimpleNamespace(initial=params)
    )


def test_forgetting_is_counted_as_a_plain_loop_counts() -> None:
    probe, n, rng = REGISTRY.probe("forgetting"), 12, np.random.default_rng(0)
    params = {"w": torch.zeros(1)}
    state = probe.init(params, SimpleNamespace(num_examples=n))
    events, times, was = np.zeros(n), np.zeros(n), np.zeros(n, bool)
    for _ in range(30):
        for batch in np.array_split(rng.permutation(n), 3):
            right = rng.random(len(batch)) < 0.4
            y = F.one_hot(torch.from_numpy(batch % 2), 2).float()
            logits = torch.where(torch.from_numpy(right)[:, None], y, 1 - y)
            state = probe.update(
                params, SimpleNamespace(state=state, index=torch.tensor(batch), logits=logits, y=y)
            )
            events[batch] += was[batch] & ~right
            was[batch] = right
            times[batch] += right
    rows = torch.arange(n) < 5
    found = plugin("probes/forgetting.py").group_metrics(state, rows)
    assert float(found["events"]) == pytest.approx(events[:5].mean())
    assert float(found["unlearned"]) == (times[:5] == 0).mean()
    assert float(found["rate"]) == pytest.approx(events[:5].sum() / times[:5].sum())
    assert found["histogram"].tolist() == pytest.approx(
        np.bincount(events[:5].astype(int), minlength=21) / 5
    )


def test_an_example_that_is_always_right_is_unforgettable_and_one_that_never_is_unlearned() -> None:
    state = {
        "right": torch.tensor([1.0, 0.0]),
        "times": torch.tensor([3.0, 0.0]),
        "events": torch.zeros(2),
    }
    found = plugin("probes/forgetting.py").group_metrics(state, torch.tensor([True, True]))
    assert (float(found["unforgettable"]), float(found["unlearned"])) == (0.5, 0.5)


def relearning(n: int = 40) -> tuple[dict[str, torch.Tensor], SimpleNamespace, SimpleNamespace]:
    torch.manual_seed(0)
    params = {"weight": 0.1 * torch.randn(4, 6)}
    data = SimpleNamespace(
        x=torch.randn(n, 6), y=torch.randint(4, (n,)), trained=torch.arange(n) < 35
    )
    data.wrong = torch.arange(n) % 2 == 0
    orders = {f"epoch {e}": torch.randperm(35) for e in range(10)}
    lane = SimpleNamespace(
        forward=lambda x, p=None: x @ (params if p is None else p)["weight"].T,
        recipe=Recipe(lr=0.1, momentum=0.9, batch=10),
        num_classes=4,
        initial={"weight": torch.zeros(4, 6)},
        permutation=lambda m, name: orders[name],
        uniform=lambda shape, name: torch.rand(shape, generator=torch.Generator().manual_seed(1)),
    )
    return params, data, lane


def test_relearning_is_torchs_sgd_on_the_rows_that_the_run_trains_on() -> None:
    params, data, lane = relearning()
    read = data.wrong & data.trained
    found = plugin("probes/hidden_memory.py").fits(params, data, data.y, read, lane)
    weight = params["weight"].clone().requires_grad_()
    sgd, curve = torch.optim.SGD([weight], lr=0.1, momentum=0.9), []
    for epoch in range(10):
        curve.append(float(((data.x @ weight.T).argmax(1) == data.y)[read].double().mean()))
        for b in lane.permutation(35, f"epoch {epoch}")[:30].split(10):
            sgd.zero_grad()
            F.cross_entropy(data.x[b] @ weight.T, data.y[b]).backward()
            sgd.step()
    assert found[:-1].tolist() == pytest.approx(curve)


def test_new_wrong_labels_are_other_ones_and_only_where_they_were_wrong() -> None:
    _, data, lane = relearning()
    predicted = torch.arange(40) % 4
    new = plugin("probes/hidden_memory.py").other_labels(data, predicted, lane)
    assert ((new != data.y) == data.wrong).all()
    held = data.wrong & (predicted != data.y)
    assert (new != predicted)[held].all()
    assert new.min() >= 0
    assert new.max() < 4


def test_curves_start_at_nothing_because_all_are_read_on_what_the_network_does_not_say() -> None:
    params, data, lane = relearning()
    found = REGISTRY.probe("hidden-memory").measure(params, data, lane)
    wrong = data.wrong & data.trained
    missed = (lane.forward(data.x).argmax(1) != data.y)[wrong]
    assert float(found["held"]) == pytest.approx(float(missed.double().mean()))
    assert float(found["relearned"][0]) == float(found["new"][0]) == 0.0


def test_all_of_them_measure_stacked_runs() -> None:
    cells = tuple(
        Cell("digits", "small-mlp", "dropout", (0.5,), "mixed@0.4", seed) for seed in (0, 1)
    )
    split = Split(test=100, train=60, validation=60, fixed=0, share=0.7)
    recipe = Recipe(lr=0.1, batch=21, epochs=3)
    pack = Pack(
        cells=cells,
        keys=("a", "b"),
        recipe=recipe,
        split=split,
        compiled=False,
        read=(3,),
        probes=PROBES,
    )
    for record in train_pack(pack, REGISTRY, "cpu"):
        assert record.status == "ok"
        seen = record.probes
        assert len(seen["margins"]["margin"][0]) == record.num_wrong
        assert seen["norms"]["parameters"] == (64 * 64 + 64 + 64 * 64 + 64 + 640 + 10,)
        assert sum(seen["forgetting"]["wrong-histogram"][0]) == pytest.approx(1)
        assert seen["forgetting"]["clean-events"][0] <= 2  # three presentations
        assert len(seen["hidden-memory"]["new"][0]) == 11

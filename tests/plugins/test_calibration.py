"""A plain torch loop that shares nothing with the engine but the data gives the same numbers.

MNIST-5k, 1000 training images, MLP 784-256-256-10, SGD lr 0.02, momentum 0.9, batch 100, 100
epochs, last epoch: accuracy on real test images, fit of random labels, accuracy with 40 % of the
labels random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.engine import own_cache
from support.engine import pack
from support.engine import registry
from torch import Tensor
from torch import nn

from membench.api import Recipe
from membench.api import Split
from membench.data import RunData
from membench.data import all_images
from membench.data import draw_run
from membench.data import load_arrays
from membench.engine.train import train_pack
from membench.records import Cell
from membench.records import parse_signal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker_like")]

RECIPE = Recipe(lr=0.02, momentum=0.9, batch=100, epochs=100)
SPLIT = Split(test=2000, train=1000, validation=1000)
SIGNALS = ("real", "randY", "mixed@0.4")
#: Five seeds each: real test, randY train, mixed@0.4 test.
TABLE = {
    ("none", None): (0.893, 1.000, 0.648),
    ("dropout", 0.5): (0.908, 0.996, 0.704),
    ("dropout", 0.8): (0.898, 0.550, 0.750),
    ("input-noise", 4.0): (0.898, 0.295, 0.824),
    ("hidden-noise", 2.0): (0.896, 0.301, 0.711),
}
TABLE_SEEDS, LOOP_SEEDS, ENGINE_SEEDS = 5, 3, 3
Table = dict[tuple[str, float | None], np.ndarray]  #: [seeds, 3]


def spread(column: int, value: float) -> float:
    """Standard deviation over seeds: .006 on real, .018 on mixed, .002 to .05 on randY.

    On randY it is .002 where the fit is saturated, .05 in the middle.
    """
    return (0.006, 0.002 + 0.19 * value * (1 - value), 0.018)[column]


def acting(name: str, strength: float | None) -> tuple[Callable, Callable]:
    """(on the input, on hidden activations), with torch's own generator and dropout."""

    def same(x: Tensor) -> Tensor:
        return x

    def noisy(x: Tensor) -> Tensor:
        return x + strength * torch.randn_like(x)

    return {
        "none": (same, same),
        "dropout": (same, lambda h: F.dropout(h, strength)),
        "input-noise": (noisy, same),
        "hidden-noise": (same, noisy),
    }[name]


def plain_loop(
    images: Tensor, s: RunData, name: str, strength: float | None, seed: int
) -> tuple[float, float]:
    """(fit of the training labels, test accuracy) after the budget, in plain torch."""
    torch.manual_seed(seed)
    a, b, c = nn.Linear(784, 256), nn.Linear(256, 256), nn.Linear(256, 10)
    on_input, on_hidden = acting(name, strength)
    optimizer = torch.optim.SGD(
        [*a.parameters(), *b.parameters(), *c.parameters()], lr=0.02, momentum=0.9
    )

    def standard(rows: slice | Tensor) -> Tensor:
        return ((images[rows].float() - s.mean.item()) / s.std.item()).flatten(1)

    x, y = standard(s.train.rows), torch.from_numpy(s.train.y)
    for _ in range(RECIPE.epochs):
        for i in torch.randperm(len(x)).split(RECIPE.batch):
            h = on_hidden(F.relu(a(on_input(x[i]))))
            h = on_hidden(F.relu(b(h)))
            optimizer.zero_grad()
            F.cross_entropy(c(h), y[i]).backward()
            optimizer.step()
    with torch.no_grad():
        right = [
            (c(F.relu(b(F.relu(a(standard(part.rows)))))).argmax(1) == torch.from_numpy(part.y))
            .float()
            .mean()
            .item()
            for part in (s.train, s.test)
        ]
    return right[0], right[1]


def column(signal: str, fit: float, test: float) -> float:
    return fit if signal == "randY" else test


@cache
def by_loop() -> Table:
    with own_cache():
        arrays = load_arrays(registry().dataset("mnist5k"))
    images, table = (
        torch.from_numpy(all_images(arrays)),
        {key: np.zeros((LOOP_SEEDS, 3)) for key in TABLE},
    )
    for j, signal in enumerate(SIGNALS):
        for seed in range(LOOP_SEEDS):
            name, level = parse_signal(signal)
            s = draw_run(arrays, SPLIT, registry().signal(name), level, "mnist5k/mlp", seed)
            for key in TABLE:
                table[key][seed, j] = column(
                    signal, *plain_loop(images, s, *key, seed=seed + 1000 * j)
                )
    return table


@cache
def by_engine() -> Table:
    table = {key: np.zeros((ENGINE_SEEDS, 3)) for key in TABLE}
    for regularizer in dict.fromkeys(name for name, _ in TABLE):
        strengths = [() if s is None else (s,) for name, s in TABLE if name == regularizer]
        seeds = range(ENGINE_SEEDS)
        cells = [
            Cell("mnist5k", "mlp", regularizer, s, w, e)
            for s in strengths
            for w in SIGNALS
            for e in seeds
        ]
        for start in range(0, len(cells), 9):
            with own_cache():
                records = train_pack(
                    pack(cells[start : start + 9], RECIPE, SPLIT, compiled=True), registry(), "cpu"
                )
            for r in records:
                assert (r.status, r.reason) == ("ok", "")
                key = (r.regularizer, *(r.strength or (None,)))
                table[key][r.seed, SIGNALS.index(r.signal)] = column(
                    r.signal, r.train[-1], r.test[-1]
                )
    return table


def off_by(one: Table, seeds: int, other: dict, other_seeds: int) -> list[str]:
    """Entries whose means differ by over four standard deviations of the difference, as lines."""
    wrong, scale = [], 4 * math.sqrt(1 / seeds + 1 / other_seeds)
    for key, values in one.items():
        for j, signal in enumerate(SIGNALS):
            mean, expected = values[:, j].mean(), float(np.mean(np.asarray(other[key])[..., j]))
            bound = scale * spread(j, expected)
            if abs(mean - expected) > bound:
                wrong.append(f"{key} {signal}: {mean:.3f}, expected {expected:.3f} +- {bound:.3f}")
    return wrong


def show(title: str, table: Table) -> None:
    print(f"\n{title}: real test, randY train, mixed@0.4 test; mean (sd over seeds)")
    for (name, strength), values in table.items():
        cells = "  ".join(
            f"{m:.3f} ({s:.3f})" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)
        )
        print(f"  {name:>12} {'' if strength is None else strength:>4}  {cells}")


def test_a_plain_torch_loop_gives_the_table() -> None:
    show("plain torch loop", by_loop())
    assert off_by(by_loop(), LOOP_SEEDS, TABLE, TABLE_SEEDS) == []


def test_the_engine_gives_the_table() -> None:
    show("engine", by_engine())
    assert off_by(by_engine(), ENGINE_SEEDS, TABLE, TABLE_SEEDS) == []


def test_the_engine_gives_what_the_plain_loop_gives() -> None:
    assert off_by(by_engine(), ENGINE_SEEDS, by_loop(), LOOP_SEEDS) == []

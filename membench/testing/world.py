"""Lanes to try a regularizer on: a few units, 24 random images; any subset of lanes can be trained by itself.

The checks build all they run on here, and so do membench's own tests; it is the only module of `testing` that knows how
the engine puts a trainer together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.draws import signed
from membench.engine.network import build
from membench.engine.network import skeleton
from membench.engine.program import Program
from membench.engine.program import Step
from membench.engine.trainer import LaneData
from membench.engine.trainer import Trainer
from membench.engine.trainer import standardise
from membench.nn import one_hot
from membench.rng import Draws
from membench.rng import word
from membench.testing.networks import CLASSES
from membench.testing.networks import MLP
from membench.testing.networks import SHAPE

RECIPE = Recipe(lr=0.1, batch=8, epochs=4)


def lane_data(lanes: int, n: int = 24, float_pool: bool = False, classes: int = CLASSES) -> LaneData:
    """A pool of n random images; each lane sees them in an order, and with labels, of its own."""
    draw = Draws(word("pool", 0))
    images = (draw.uniform("x", n * 64) * 256).astype(np.uint8).reshape(n, *SHAPE)
    pool = images.astype(np.float32) / 255 if float_pool else images
    rows = np.stack([draw.permutation(f"rows{i}", n) for i in range(lanes)])
    labels = np.stack([(draw.uniform(f"y{i}", n) * classes).astype(np.int64) for i in range(lanes)])
    clean = np.stack([draw.uniform(f"clean{i}", n) < 0.5 for i in range(lanes)])
    mean, std = pool.astype(np.float64).mean(), pool.astype(np.float64).std()
    return LaneData(
        torch.from_numpy(pool),
        torch.from_numpy(rows),
        torch.from_numpy(labels),
        torch.from_numpy(clean),
        torch.full((lanes, 1), float(mean)),
        torch.full((lanes, 1), float(std)),
    )


def take(data: LaneData, lanes: list[int]) -> LaneData:
    """The data of some of the lanes, in the given order."""
    return LaneData(data.pool, *(getattr(data, f)[lanes] for f in ("rows", "labels", "clean", "mean", "std")))


@dataclass
class World:
    """Lanes of one regularizer that can be cut to any subset; `trainer` builds them, `orders` gives their batches."""

    regularizers: tuple[Regularizer, ...] = ()
    strengths: tuple[tuple[float, ...], ...] = ((0.0,),)
    architecture: Architecture = MLP
    recipe: Recipe = RECIPE
    steps: int = 40
    classes: int = CLASSES
    data: LaneData | None = None
    seeds: tuple[int, ...] = field(default=())
    key: int = 0  #: other draws in training, with all else the same

    def __post_init__(self) -> None:
        self.seeds = self.seeds or tuple(range(len(self.strengths)))
        self.data = self.data or lane_data(len(self.strengths), 3 * self.recipe.batch, classes=self.classes)

    @property
    def program(self) -> Program:
        module = skeleton(self.architecture, SHAPE, self.classes)
        n = self.data.rows.shape[1]
        scale = 1.0 if self.data.pool.dtype == torch.uint8 else 1 / 255
        return Program(module, self.regularizers, self.recipe, self.steps, self.classes, n, scale)

    def trainer(self, lanes: Iterable[int] | None = None) -> Trainer:
        lanes = list(range(len(self.strengths)) if lanes is None else lanes)
        weights = [build(self.architecture, SHAPE, self.classes, 100 + self.seeds[i]) for i in lanes]
        strengths = torch.tensor([self.strengths[i] or (0.0,) for i in lanes], dtype=torch.float32)
        keys = torch.tensor([[signed(word("lane", self.seeds[i]) + self.key)] for i in lanes], dtype=torch.int32)
        return Trainer(self.program, weights, strengths, keys, take(self.data, lanes))

    def orders(self, lanes: Iterable[int] | None = None, epochs: int = 1) -> list[Tensor]:
        """For each epoch [L, steps, batch]; a lane's order depends on its seed only."""
        lanes = list(range(len(self.strengths)) if lanes is None else lanes)
        n, batch = self.data.rows.shape[1], self.recipe.batch
        per = n // batch
        one = lambda i, e: Draws(word("order", self.seeds[i], e)).permutation("o", n)[: per * batch]  # noqa: E731
        return [torch.from_numpy(np.stack([one(i, e) for i in lanes])).reshape(-1, per, batch) for e in range(epochs)]

    def trained(self, lanes: Iterable[int] | None = None, epochs: int = 2, compiled: bool = False) -> Trainer:
        lanes = list(range(len(self.strengths)) if lanes is None else lanes)
        trainer = self.trainer(lanes)
        orders = self.orders(lanes, epochs)
        if compiled:
            assert trainer.compile(orders[0]) == ""
        for order in orders:
            trainer.train_epoch(order)
        return trainer


def one_lane(trainer: Trainer, order: Tensor, t: int = 0, lane: int = 0) -> Step:
    """One lane's step t, eager and unstacked, its `batch` stages taken: what the trainer vmaps."""
    cut = lambda tree: tree_map(lambda v: v[lane], tree)  # noqa: E731
    var, fixed, d = cut(trainer.var), cut(trainer.fixed), trainer.data
    now = torch.tensor(t, dtype=torch.int32)
    step = Step(trainer.program, var["params"], var["states"], fixed, now, var["buffers"])
    index = order[lane, t % order.shape[1]]
    x = standardise(d.pool[d.rows[:, index]], d.mean, d.std)[lane]
    y = one_hot(d.labels[lane, index], CLASSES)
    step.take_batch({"x": x, "y": y, "index": index, "clean": d.clean[lane, index]})
    return step


def leaves(tree: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors of a nested dict, list or tuple by their path."""
    if isinstance(tree, Tensor):
        return {path: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {k: v for key, value in items for k, v in leaves(value, f"{path}/{key}").items()}


def same_bits(a: Any, b: Any) -> bool:
    """Equal leaf by leaf, NaN equal to NaN."""
    a, b = leaves(a), leaves(b)
    return a.keys() == b.keys() and all(torch.equal(a[k].nan_to_num(7e30), b[k].nan_to_num(7e30)) for k in a)


def apart(one: Any, other: Any) -> float:
    """The largest difference between two trees of equal shape; NaN if anything is."""
    a, b = leaves(one), leaves(other)
    return max(((a[k].double() - b[k].double()).abs().max().item() for k in a if a[k].numel()), default=0.0)


def pick(tree: Any, lane: int) -> dict[str, Tensor]:
    """One lane of stacked leaves."""
    return {k: v[lane] for k, v in leaves(tree).items()}

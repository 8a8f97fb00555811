"""The tiny networks of the checks, on [n, 1, 8, 8] inputs with 3 classes: every kind of tap and of weight is in one."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.draws import to_int32
from membench.engine.lane_tensors import LaneTensors
from membench.engine.lane_tensors import standardise
from membench.engine.network import initial_weights
from membench.engine.network import meta_module
from membench.engine.step import Program
from membench.engine.step import RunSizes
from membench.engine.step import Step
from membench.engine.trainer import Trainer
from membench.nn import BatchNorm
from membench.nn import Conv
from membench.nn import PatchConv
from membench.nn import one_hot
from membench.nn import tapped
from membench.rng import Draws
from membench.rng import word

SHAPE = (1, 8, 8)
CLASSES = 3


class TinyMLP(nn.Module):
    """64-6-5-3 with two taps: small enough for exact comparisons, uneven so that a transposed shape shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 6)
        self.second = nn.Linear(6, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tap(F.relu(self.first(x.flatten(1))))
        return self.head(tap(F.relu(self.second(h))))


class TinyCNN(nn.Module):
    """A 4x4 patch convolution, a branch and a linear layer: taps see [n, c, h, w] and [n, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PatchConv(1, 5, 4)
        self.body = nn.Linear(20, 20)
        self.head = nn.Linear(20, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tapped(tap, F.relu(self.stem(x.permute(0, 2, 3, 1)))).flatten(1)
        return self.head(h + tap(F.relu(self.body(h)), "branch"))


class TinyViT(nn.Module):
    """Four patches as tokens, one attention and one feed-forward branch: taps see [n, tokens, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = PatchConv(1, 6, 4)
        self.position = nn.Parameter(torch.randn(4, 6) / 10)
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.mix = nn.Linear(6, 6)
        self.up = nn.Linear(6, 7)
        self.down = nn.Linear(7, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = self.patches(x.permute(0, 2, 3, 1)).flatten(1, 2) + self.position
        q, k, v = self.qkv(self.norm(h)).chunk(3, dim=-1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(6)).softmax(dim=-1)
        h = h + tap(self.mix(weights @ v), "branch")
        h = h + tap(self.down(tap(F.gelu(self.up(h)))), "branch")
        return self.head(h.mean(dim=1))


class TinyNorm(nn.Module):
    """A 3x3 convolution and a linear layer, each with batch norm: running statistics, two layouts of taps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(1, 4, 3, stride=2, pad=1)
        self.stem_norm = BatchNorm(4, axis=-1)
        self.body = nn.Linear(64, 6)
        self.body_norm = BatchNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tapped(tap, F.relu(self.stem_norm(self.stem(x.permute(0, 2, 3, 1)))))
        return self.head(tap(F.relu(self.body_norm(self.body(h.flatten(1))))))


MLP = Architecture("mlp", lambda shape, classes: TinyMLP())
CNN = Architecture("cnn", lambda shape, classes: TinyCNN())
VIT = Architecture("vit", lambda shape, classes: TinyViT())
NORM = Architecture("norm", lambda shape, classes: TinyNorm())
RECIPE = Recipe(lr=0.1, batch=8, epochs=4)


def lane_data(
    lanes: int, n: int = 24, float_pool: bool = False, classes: int = CLASSES
) -> LaneTensors:
    """A pool of n random images; each lane sees them in an order, and with labels, of its own."""
    draw = Draws(word("pool", 0))
    images = (draw.uniform("x", n * 64) * 256).astype(np.uint8).reshape(n, *SHAPE)
    pool = images.astype(np.float32) / 255 if float_pool else images
    rows = np.stack([draw.permutation(f"rows{i}", n) for i in range(lanes)])
    labels = np.stack([(draw.uniform(f"y{i}", n) * classes).astype(np.int64) for i in range(lanes)])
    clean = np.stack([draw.uniform(f"clean{i}", n) < 0.5 for i in range(lanes)])
    mean, std = pool.astype(np.float64).mean(), pool.astype(np.float64).std()
    return LaneTensors(
        images=torch.from_numpy(pool),
        rows=torch.from_numpy(rows),
        labels=torch.from_numpy(labels),
        clean=torch.from_numpy(clean),
        mean=torch.full((lanes, 1), float(mean)),
        std=torch.full((lanes, 1), float(std)),
    )


@dataclass
class ToyRun:
    """Lanes of one regularizer that can be cut to any subset; `trainer` builds them, `orders` gives their batches."""

    regularizers: tuple[Regularizer, ...] = ()
    strengths: tuple[tuple[float, ...], ...] = ((0.0,),)
    architecture: Architecture = MLP
    recipe: Recipe = RECIPE
    steps: int = 40
    classes: int = CLASSES
    data: LaneTensors | None = None
    seeds: tuple[int, ...] = field(default=())
    key: int = 0  #: other draws in training, with all else the same

    def __post_init__(self) -> None:
        self.seeds = self.seeds or tuple(range(len(self.strengths)))
        self.data = self.data or lane_data(
            len(self.strengths), 3 * self.recipe.batch, classes=self.classes
        )

    @property
    def program(self) -> Program:
        module = meta_module(self.architecture, SHAPE, self.classes)
        sizes = RunSizes(
            steps=self.steps,
            num_classes=self.classes,
            num_examples=self.data.rows.shape[1],
            pixel_scale=1.0 if self.data.images.dtype == torch.uint8 else 1 / 255,
        )
        return Program(module=module, parts=self.regularizers, recipe=self.recipe, sizes=sizes)

    def trainer(self, lanes: Iterable[int] | None = None) -> Trainer:
        lanes = list(range(len(self.strengths)) if lanes is None else lanes)
        weights = [
            initial_weights(self.architecture, SHAPE, self.classes, 100 + self.seeds[i])
            for i in lanes
        ]
        strengths = torch.tensor([self.strengths[i] or (0.0,) for i in lanes], dtype=torch.float32)
        keys = torch.tensor(
            [[to_int32(word("lane", self.seeds[i]) + self.key)] for i in lanes], dtype=torch.int32
        )
        return Trainer(self.program, weights, strengths, keys, self.data.of_lanes(lanes))

    def orders(self, lanes: Iterable[int] | None = None, epochs: int = 1) -> list[Tensor]:
        """For each epoch [L, steps, batch]; a lane's order depends on its seed only."""
        lanes = list(range(len(self.strengths)) if lanes is None else lanes)
        n, batch = self.data.rows.shape[1], self.recipe.batch
        per = n // batch
        one = lambda i, e: Draws(word("order", self.seeds[i], e)).permutation("o", n)[: per * batch]  # noqa: E731
        return [
            torch.from_numpy(np.stack([one(i, e) for i in lanes])).reshape(-1, per, batch)
            for e in range(epochs)
        ]

    def trained(
        self, lanes: Iterable[int] | None = None, epochs: int = 2, compiled: bool = False
    ) -> Trainer:
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
    state, constants, d = cut(trainer.state), cut(trainer.constants), trainer.data
    step = Step(trainer.program, state, constants, torch.tensor(t, dtype=torch.int32))
    index = order[lane, t % order.shape[1]]
    x = standardise(d.images[d.rows[:, index]], d.mean, d.std)[lane]
    y = one_hot(d.labels[lane, index], CLASSES)
    step.take_batch({"x": x, "y": y, "index": index, "clean": d.clean[lane, index]})
    return step


def leaves(tree: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors of a nested dict, list or tuple by their path."""
    if isinstance(tree, Tensor):
        return {path: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {k: v for key, value in items for k, v in leaves(value, f"{path}/{key}").items()}


def bitwise_equal(a: Any, b: Any) -> bool:
    """Equal leaf by leaf, NaN equal to NaN."""
    a, b = leaves(a), leaves(b)
    return a.keys() == b.keys() and all(
        torch.equal(a[k].nan_to_num(7e30), b[k].nan_to_num(7e30)) for k in a
    )


def max_abs_diff(one: Any, other: Any) -> float:
    """The largest difference between two trees of equal shape; NaN if anything is."""
    a, b = leaves(one), leaves(other)
    return max(
        ((a[k].double() - b[k].double()).abs().max().item() for k in a if a[k].numel()), default=0.0
    )


def lane_of(tree: Any, lane: int) -> dict[str, Tensor]:
    """One lane of stacked leaves."""
    return {k: v[lane] for k, v in leaves(tree).items()}

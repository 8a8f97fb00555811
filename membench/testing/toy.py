"""Toy networks, data and runs, small enough for checks and tests to train many of them.

The networks take [n, 1, 8, 8] images of 3 classes; together they have every kind of tap and of
weight. `ToyRun` trains them through the engine, `one_lane` gives a single step of it, and the
functions at the end compare trees of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn
from torch.utils._pytree import tree_map

from membench.api import Architecture
from membench.api import Optimizer
from membench.api import Params
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
from membench.registry.discovery import PluginSource
from membench.registry.discovery import shipped_folder
from membench.registry.loading import load_records
from membench.registry.loading import read_plugin
from membench.rng import Draws
from membench.rng import word

SHAPE = (1, 8, 8)
CLASSES = 3


class TinyMLP(nn.Module):
    """A network 64-6-5-3 with two taps, uneven so that a transposed shape shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 6)
        self.second = nn.Linear(6, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; each hidden layer goes through the tap."""
        h = tap(F.relu(self.first(x.flatten(1))))
        return self.head(tap(F.relu(self.second(h))))


class TinyCNN(nn.Module):
    """A patch convolution, a branch and a linear layer: taps of [n, c, h, w] and [n, features]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = PatchConv(1, 5, 4)
        self.body = nn.Linear(20, 20)
        self.head = nn.Linear(20, CLASSES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; each hidden layer goes through the tap."""
        h = tapped(tap, F.relu(self.stem(x.permute(0, 2, 3, 1)))).flatten(1)
        return self.head(h + tap(F.relu(self.body(h)), "branch"))


class TinyViT(nn.Module):
    """Four patches as tokens, attention and feed-forward: branches of [n, tokens, features]."""

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

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; each hidden layer goes through the tap."""
        h = self.patches(x.permute(0, 2, 3, 1)).flatten(1, 2) + self.position
        q, k, v = self.qkv(self.norm(h)).chunk(3, dim=-1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(6)).softmax(dim=-1)
        h = h + tap(self.mix(weights @ v), "branch")
        h = h + tap(self.down(tap(F.gelu(self.up(h)))), "branch")
        return self.head(h.mean(dim=1))


class TinyNorm(nn.Module):
    """A convolution and a linear layer with batch norm: running statistics, two layouts of taps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(1, 4, 3, stride=2, pad=1)
        self.stem_norm = BatchNorm(4, axis=-1)
        self.body = nn.Linear(64, 6)
        self.body_norm = BatchNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; each hidden layer goes through the tap."""
        h = tapped(tap, F.relu(self.stem_norm(self.stem(x.permute(0, 2, 3, 1)))))
        return self.head(tap(F.relu(self.body_norm(self.body(h.flatten(1))))))


class TinyMaps(nn.Module):
    """Convolutions on 4x4 maps, a branch of them, and a layer norm, for what needs such."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(1, 4, 3, stride=2, pad=1)
        self.norm = nn.LayerNorm(4)
        self.body = Conv(4, 4, 3, pad=1)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; each hidden layer goes through the tap."""
        h = tapped(tap, F.relu(self.norm(self.stem(x.permute(0, 2, 3, 1)))))
        h = h + tapped(tap, F.relu(self.body(h)), "branch")
        return self.head(h.flatten(1))


class WideMLP(nn.Module):
    """A network 64-100-3: a share of its units is another for strengths that are close."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 100)
        self.head = nn.Linear(100, CLASSES)

    def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
        """Return logits [n, classes]; the hidden layer goes through the tap."""
        return self.head(tap(F.relu(self.first(x.flatten(1)))))


MLP = Architecture("mlp", lambda shape, classes: TinyMLP())
CNN = Architecture("cnn", lambda shape, classes: TinyCNN())
VIT = Architecture("vit", lambda shape, classes: TinyViT())
NORM = Architecture("norm", lambda shape, classes: TinyNorm())
MAPS = Architecture("convnet", lambda shape, classes: TinyMaps())
WIDE = Architecture("wide mlp", lambda shape, classes: WideMLP())
#: A regularizer is checked on the first of them that it does not skip.
NETWORKS = (MLP, CNN, VIT, MAPS, NORM)
RECIPE = Recipe(lr=0.1, batch=8, epochs=4)


# --- data -----------------------------------------------------------------------------------------


def lane_data(
    lanes: int, n: int = 24, float_pool: bool = False, classes: int = CLASSES
) -> LaneTensors:
    """Make random images that all lanes share; each lane has its own order and labels of them.

    Args:
        lanes: The number of lanes.
        n: The number of images.
        float_pool: Images are float32 in 0 to 1 instead of uint8.
        classes: The number of classes.

    Returns:
        The tensors that a `Trainer` takes.
    """
    draws = Draws(word("pool", 0))
    pixels = draws.uniform("x", n * math.prod(SHAPE)).reshape(n, *SHAPE)
    images = (pixels * 256).astype(np.uint8)
    pool = images.astype(np.float32) / 255 if float_pool else images
    rows = [draws.permutation(f"rows{i}", n) for i in range(lanes)]
    labels = [(draws.uniform(f"y{i}", n) * classes).astype(np.int64) for i in range(lanes)]
    clean = [draws.uniform(f"clean{i}", n) < 0.5 for i in range(lanes)]
    mean = float(pool.astype(np.float64).mean())
    std = float(pool.astype(np.float64).std())
    return LaneTensors(
        images=torch.from_numpy(pool),
        rows=torch.from_numpy(np.stack(rows)),
        labels=torch.from_numpy(np.stack(labels)),
        clean=torch.from_numpy(np.stack(clean)),
        mean=torch.full((lanes, 1), mean),
        std=torch.full((lanes, 1), std),
    )


@cache
def shipped_optimizer(name: str) -> Optimizer:
    """Return an optimizer that ships with membench, in a file of its name."""
    path = shipped_folder() / "optimizers" / f"{name}.py"
    ((entry,), _) = read_plugin(PluginSource(path, origin="membench"))
    (record,) = load_records(entry)
    return record


# --- runs -----------------------------------------------------------------------------------------
# A check trains a dozen runs of the same network: its module, whose own weights are never read, and
# its initial weights, which a trainer copies, are made once.


@lru_cache(maxsize=16)
def _module(architecture: Architecture, classes: int) -> nn.Module:
    return meta_module(architecture, SHAPE, classes)


@lru_cache(maxsize=16)
def _initial_weights(architecture: Architecture, classes: int, key: int) -> Params:
    return initial_weights(architecture, SHAPE, classes, key)


@dataclass
class ToyRun:
    """Lanes of one regularizer, of which any subset can be trained.

    Methods take the numbers of the lanes, all of them by default.
    """

    regularizers: tuple[Regularizer, ...] = ()
    strengths: tuple[tuple[float, ...], ...] = ((0.0,),)  #: of each lane, one of each regularizer
    architecture: Architecture = MLP
    recipe: Recipe = RECIPE
    optimizer: Optimizer | None = None  #: by default the shipped one that the recipe names
    steps: int = 40  #: the whole budget, which `lane.progress` is a share of
    classes: int = CLASSES
    data: LaneTensors | None = None  #: three batches of `lane_data` by default
    seeds: tuple[int, ...] = ()  #: of each lane: its weights, order and draws; 0, 1, ... by default
    key: int = 0  #: another key gives other draws in training, with all else the same

    def __post_init__(self) -> None:
        lanes = len(self.strengths)
        self.seeds = self.seeds or tuple(range(lanes))
        if self.data is None:
            self.data = lane_data(lanes, 3 * self.recipe.batch, classes=self.classes)

    @property
    def _tensors(self) -> LaneTensors:
        assert self.data is not None  # since __post_init__
        return self.data

    def _chosen(self, lanes: Iterable[int] | None) -> list[int]:
        return list(range(len(self.strengths)) if lanes is None else lanes)

    @property
    def program(self) -> Program:
        """The program that the lanes share, as the engine takes it."""
        data = self._tensors
        sizes = RunSizes(
            steps=self.steps,
            num_classes=self.classes,
            num_examples=data.rows.shape[1],
            pixel_scale=1.0 if data.images.dtype == torch.uint8 else 1 / 255,
        )
        return Program(
            module=_module(self.architecture, self.classes),
            parts=self.regularizers,
            recipe=self.recipe,
            optimizer=self.optimizer or shipped_optimizer(self.recipe.optimizer),
            sizes=sizes,
        )

    def trainer(self, lanes: Iterable[int] | None = None) -> Trainer:
        """Make an untrained trainer of the lanes."""
        chosen = self._chosen(lanes)
        weights, strengths, keys = [], [], []
        for lane in chosen:
            seed = self.seeds[lane]
            weights.append(_initial_weights(self.architecture, self.classes, 100 + seed))
            strengths.append(self.strengths[lane] or (0.0,))
            keys.append([to_int32(word("lane", seed) + self.key)])
        return Trainer(
            self.program,
            weights,
            torch.tensor(strengths, dtype=torch.float32),
            torch.tensor(keys, dtype=torch.int32),
            self._tensors.of_lanes(chosen),
        )

    def orders(self, lanes: Iterable[int] | None = None, epochs: int = 1) -> list[Tensor]:
        """Return each epoch's batches, [lanes, steps, batch]; a lane's depend on its seed only."""
        n, batch = self._tensors.rows.shape[1], self.recipe.batch
        steps = n // batch
        orders = []
        for epoch in range(epochs):
            rows = []
            for lane in self._chosen(lanes):
                draws = Draws(word("order", self.seeds[lane], epoch))
                rows.append(draws.permutation("o", n)[: steps * batch])
            orders.append(torch.from_numpy(np.stack(rows)).reshape(-1, steps, batch))
        return orders

    def trained(
        self, lanes: Iterable[int] | None = None, epochs: int = 2, compiled: bool = False
    ) -> Trainer:
        """Train the lanes.

        Args:
            lanes: Which lanes, all of them by default.
            epochs: How many epochs.
            compiled: Whether the step is compiled first.

        Returns:
            The trainer after the last epoch.
        """
        chosen = self._chosen(lanes)
        trainer = self.trainer(chosen)
        orders = self.orders(chosen, epochs)
        if compiled:
            assert trainer.compile(orders[0]) == ""
        for order in orders:
            trainer.train_epoch(order)
        return trainer


def one_lane(trainer: Trainer, order: Tensor, t: int = 0, lane: int = 0) -> Step:
    """Return one lane's step, neither compiled nor stacked: what the trainer vmaps.

    Args:
        trainer: The lanes, at their present weights.
        order: An epoch's batches, [lanes, steps, batch].
        t: The number of the step.
        lane: The number of the lane.

    Returns:
        The step, its batch drawn and its `batch` stages taken.
    """

    def of_lane(tree: Any) -> Any:
        return tree_map(lambda v: v[lane], tree)

    data = trainer.data
    step = Step(
        trainer.program,
        of_lane(trainer.state),
        of_lane(trainer.constants),
        torch.tensor(t, dtype=torch.int32),
    )
    index = order[lane, t % order.shape[1]]
    batch = {
        "x": standardise(data.images[data.rows[:, index]], data.mean, data.std)[lane],
        "y": one_hot(data.labels[lane, index], CLASSES),
        "index": index,
        "clean": data.clean[lane, index],
    }
    step.take_batch(batch)
    return step


# --- trees of tensors -----------------------------------------------------------------------------


def leaves(tree: Any, path: str = "") -> dict[str, Tensor]:
    """Return all tensors of a nested dict, list or tuple by their paths, such as `/params/w`."""
    if isinstance(tree, Tensor):
        return {path: tree}
    tensors: dict[str, Tensor] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        tensors.update(leaves(value, f"{path}/{key}"))
    return tensors


def bitwise_equal(a: Any, b: Any) -> bool:
    """Return whether two trees have the same tensors; NaN is equal to NaN."""
    a, b = leaves(a), leaves(b)
    if a.keys() != b.keys():
        return False
    return all(torch.equal(a[path].nan_to_num(7e30), b[path].nan_to_num(7e30)) for path in a)


def max_abs_diff(a: Any, b: Any) -> float:
    """Return the largest difference between two trees of equal shapes; NaN if anything is."""
    a, b = leaves(a), leaves(b)
    largest = [(a[p].double() - b[p].double()).abs().max() for p in a if a[p].numel()]
    return torch.stack(largest).max().item() if largest else 0.0


def lane_of(tree: Any, lane: int) -> dict[str, Tensor]:
    """Return one lane of a tree of stacked tensors, by path."""
    return {path: tensor[lane] for path, tensor in leaves(tree).items()}

"""Draws the work with membench's own data module and networks, so that all peers train on the arrays that it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peer_torch
import torch.nn.functional as F
from speed_work import Examples
from speed_work import Size
from speed_work import Work
from speed_work import cells
from torch import Tensor
from torch import nn

from membench.api import Architecture
from membench.api import Dataset
from membench.api import Params
from membench.api import Regularizer
from membench.api import Signal
from membench.data import RunData
from membench.data import SplitData
from membench.data import all_images
from membench.data import draw_run
from membench.data import load_arrays
from membench.engine.network import initial_weights
from membench.engine.pack_data import lane_key
from membench.registry.registry import Registry
from membench.registry.registry import discover


class MLP(nn.Module):
    """Two hidden layers of ReLU units."""

    def __init__(self, inputs: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor, tap: Callable) -> Tensor:
        h = tap(F.relu(self.first(x.flatten(1))))
        return self.head(tap(F.relu(self.second(h))))


def mlp(hidden: int) -> Architecture:
    """The architecture `mlpHIDDEN`."""
    return Architecture(
        f"mlp{hidden}", lambda shape, classes: MLP(int(np.prod(shape)), hidden, classes)
    )


LOCAL = {architecture.name: architecture for architecture in (mlp(64), mlp(512))}


@dataclass(frozen=True)
class Source:
    """What ships with membench, and the benchmark's own networks."""

    registry: Registry

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        return self.registry.regularizer(name)

    def architecture(self, name: str) -> Architecture:
        return LOCAL.get(name) or self.registry.architecture(name)

    def dataset(self, name: str) -> Dataset:
        return self.registry.dataset(name)

    def signal(self, name: str) -> Signal:
        return self.registry.signal(name)


def source() -> Source:
    """Independent of the working folder's plugins."""
    return Source(discover(folder=Path(__file__).parent))


def draw(size: Size, processes: int) -> Work:
    """The size's cells with their arrays, initial weights and FLOPs."""
    found = source()
    arrays = load_arrays(found.dataset(size.dataset))
    images, architecture = all_images(arrays), found.architecture(size.architecture)
    chosen = cells(size, found.regularizer("dropout")[0].strengths, processes)
    drawn = lambda c: draw_run(arrays, size.split, found.signal(c.signal), None, c.task, c.seed)  # noqa: E731
    started = lambda c: initial_weights(
        architecture, images.shape[1:], arrays.num_classes, lane_key(c, False)
    )  # noqa: E731
    samples = {key: drawn(c) for key, c in {(c.signal, c.seed): c for c in chosen}.items()}
    weights = {seed: _numpy(started(c)) for seed, c in {c.seed: c for c in chosen}.items()}
    examples = _examples(images, samples)
    batch = examples["real", 0].x[: size.recipe.batch]
    return Work(size, chosen, examples, weights, peer_torch.flops(weights[0], batch))


def _examples(
    images: np.ndarray, samples: dict[tuple[str, int], RunData]
) -> dict[tuple[str, int], Examples]:
    """By (signal, seed). The test images are the seed's, whatever the signal: one array of them."""
    tests = {seed: _inputs(images, s, s.test) for (_, seed), s in samples.items()}
    return {
        (signal, seed): Examples(_inputs(images, s, s.train), s.train.y, tests[seed], s.test.y)
        for (signal, seed), s in samples.items()
    }


def _numpy(params: Params) -> dict[str, np.ndarray]:
    return {name: w.numpy() for name, w in params.items()}


def _inputs(images: np.ndarray, s: RunData, part: SplitData) -> np.ndarray:
    """[n, c, h, w] float32, as the engine standardises them."""
    x = images[part.rows].astype(np.float32)
    return (x - s.mean[:, None, None]) / s.std[:, None, None]

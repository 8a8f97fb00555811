"""Draw the work with membench's data module and networks, so that all peers get its arrays."""

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
from membench.api import Optimizer
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
    """Make the architecture `mlpHIDDEN`."""

    def build(shape: tuple[int, int, int], num_classes: int) -> MLP:
        return MLP(int(np.prod(shape)), hidden, num_classes)

    return Architecture(f"mlp{hidden}", build)


LOCAL = {architecture.name: architecture for architecture in (mlp(64), mlp(512))}


@dataclass(frozen=True)
class Source:
    """The plugins that ship with membench, and the benchmark's networks."""

    registry: Registry

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        return self.registry.regularizer(name)

    def optimizer(self, name: str) -> Optimizer:
        return self.registry.optimizer(name)

    def architecture(self, name: str) -> Architecture:
        return LOCAL.get(name) or self.registry.architecture(name)

    def dataset(self, name: str) -> Dataset:
        return self.registry.dataset(name)

    def signal(self, name: str) -> Signal:
        return self.registry.signal(name)


def source() -> Source:
    """Make the source, independent of the working folder's plugins."""
    return Source(discover(folder=Path(__file__).parent))


def draw(size: Size, processes: int, registry: Source | None = None) -> Work:
    """Draw the size's cells with their arrays, initial weights and FLOPs.

    Args:
        size: of the work.
        processes: that share the cells.
        registry: where plugins are looked up; default: those that ship, and the networks here.
    """
    registry = registry or source()
    arrays = load_arrays(registry.dataset(size.dataset))
    images, architecture = all_images(arrays), registry.architecture(size.architecture)
    work_cells = cells(size, registry.regularizer("dropout")[0].strengths, processes)
    runs: dict[tuple[str, int], RunData] = {}
    weights: dict[int, dict[str, np.ndarray]] = {}
    for cell in work_cells:
        signal, seed = cell.signal, cell.seed
        if (signal, seed) not in runs:
            plugin = registry.signal(signal)
            runs[signal, seed] = draw_run(arrays, size.split, plugin, None, cell.task, seed)
        if seed not in weights:
            params = initial_weights(
                architecture, images.shape[1:], arrays.num_classes, lane_key(cell, False)
            )
            weights[seed] = {name: value.numpy() for name, value in params.items()}
    examples = _examples(images, runs)
    batch = examples["real", 0].x[: size.recipe.batch]
    return Work(
        size=size,
        cells=work_cells,
        examples=examples,
        weights=weights,
        flops=peer_torch.flops(weights[0], batch),
    )


def _examples(
    images: np.ndarray, runs: dict[tuple[str, int], RunData]
) -> dict[tuple[str, int], Examples]:
    """Standardise the runs' images, by (signal, seed).

    The test images are the seed's, whatever the signal: one array of them.
    """
    tests = {seed: _inputs(images, run, run.test) for (_, seed), run in runs.items()}
    examples = {}
    for (signal, seed), run in runs.items():
        examples[signal, seed] = Examples(
            x=_inputs(images, run, run.train),
            y=run.train.y,
            test_x=tests[seed],
            test_y=run.test.y,
        )
    return examples


def _inputs(images: np.ndarray, run: RunData, data: SplitData) -> np.ndarray:
    """Return inputs [n, c, h, w] float32, as the engine standardises them."""
    x = images[data.rows].astype(np.float32)
    return (x - run.mean[:, None, None]) / run.std[:, None, None]

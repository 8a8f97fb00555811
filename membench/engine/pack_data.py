"""What the lanes of one pack start from and train on: weights, examples, labels, order; numpy to device tensors."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Dataset
from membench.api import Params
from membench.api import Signal
from membench.api import Split
from membench.data import RunData
from membench.data import all_images
from membench.data import draw_run
from membench.data import load_arrays
from membench.data import trained_rows
from membench.engine.draws import to_int32
from membench.engine.network import initial_weights
from membench.engine.trainer import LaneTensors
from membench.errors import MembenchError
from membench.planning.packs import Pack
from membench.records import Cell
from membench.records import parse_signal
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word

SPLITS = ("train", "val", "test")
CACHE_SIZE = 128  #: samples and initial weights that a worker keeps: a suite's packs ask for the same ones again and again


def lane_key(cell: Cell, redraw: bool) -> int:
    """The seed of weights, batch order and draws: by (dataset, architecture, seed), the same for all regularizers."""
    key = word("task", cell.task, cell.seed)
    return chain(key, word("redraw", *cell.strength)) if redraw else key


@lru_cache(maxsize=2)
def _arrays(dataset: Dataset) -> Arrays:
    return load_arrays(dataset)


@lru_cache(maxsize=CACHE_SIZE)
def _run_data(
    dataset: Dataset, split: Split, signal: Signal, level: float | None, task: str, seed: int
) -> RunData:
    return draw_run(_arrays(dataset), split, signal, level, task, seed)


@lru_cache(maxsize=CACHE_SIZE)
def _weights(
    architecture: Architecture, shape: tuple[int, int, int], num_classes: int, key: int
) -> Params:
    return initial_weights(architecture, shape, num_classes, key)


class PackData:
    """One pack's cells as stacked arrays on a device."""

    def __init__(
        self,
        pack: Pack,
        dataset: Dataset,
        signals: dict[str, Signal],
        redraw: bool,
        device: torch.device,
    ) -> None:
        arrays = _arrays(dataset)
        self.pack, self.device = pack, device
        self.num_classes = arrays.num_classes
        self.images = all_images(arrays)
        self.shape = tuple(self.images.shape[1:])
        self.keys = [lane_key(cell, redraw) for cell in pack.cells]
        self.samples = []
        for cell in pack.cells:
            name, level = parse_signal(cell.signal)
            self.samples.append(
                _run_data(dataset, pack.split, signals[name], level, cell.task, cell.seed)
            )
        self.trained = [
            trained_rows(pack.split, cell) for cell in pack.cells
        ]  #: of each lane [n] bool
        self.per_epoch = pack.split.trained // pack.recipe.batch
        if self.per_epoch == 0:
            few = f"{pack.split.trained} training images fill no batch of {pack.recipe.batch}"
            raise MembenchError(f"{pack.cells[0].task}: {few}")
        self.rows: dict[str, Tensor] = {}  #: split -> [L, n] int64, into `data.pool`
        self.labels = {
            split: self._stack([getattr(s, split).y for s in self.samples]) for split in SPLITS
        }
        self.data = self._data()

    @property
    def strengths(self) -> Tensor:
        """[L, parts] float32."""
        return torch.tensor(
            [c.strength or (0.0,) for c in self.pack.cells], dtype=torch.float32, device=self.device
        )

    @property
    def draw_keys(self) -> Tensor:
        """[L, 1] int32, what every random number of a lane is hashed from."""
        return torch.tensor(
            [[to_int32(k)] for k in self.keys], dtype=torch.int32, device=self.device
        )

    def weights(self, architecture: Architecture) -> list[Params]:
        """Each lane's initial weights, on the CPU; lanes of one seed share them."""
        return [_weights(architecture, self.shape, self.num_classes, key) for key in self.keys]

    def order(self, epoch: int) -> Tensor:
        """[L, steps, batch] int64: this epoch's batches; the permutation's tail that fills no batch is left out."""
        n, trained = self.per_epoch * self.pack.recipe.batch, self.pack.split.trained
        drawn = {
            k: Draws(chain(k, epoch)).permutation("order", trained)[:n] for k in set(self.keys)
        }
        if self.pack.split.share is None:
            rows = [drawn[k] for k in self.keys]
        else:
            rows = [
                np.flatnonzero(mine)[drawn[k]]
                for k, mine in zip(self.keys, self.trained, strict=True)
            ]
        return self._stack(rows).reshape(len(self.keys), self.per_epoch, -1)

    def _data(self) -> LaneTensors:
        """One pool for all lanes; inputs that a signal made are appended to it."""
        extra, size = [], len(self.images)
        for split in SPLITS:
            lanes = []
            for s in self.samples:
                part = getattr(s, split)
                lanes.append(part.rows if part.x is None else np.arange(size, size + len(part.y)))
                if part.x is not None:
                    extra.append(part.x)
                    size += len(part.y)
            self.rows[split] = self._stack(lanes)
        images = np.concatenate([self.images.astype(np.float32), *extra]) if extra else self.images
        return LaneTensors(
            torch.from_numpy(images).to(self.device),
            self.rows["train"],
            self.labels["train"],
            self._stack([s.clean for s in self.samples]),
            self._stack([s.mean for s in self.samples]),
            self._stack([s.std for s in self.samples]),
        )

    def _stack(self, lanes: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(lanes)).to(self.device)

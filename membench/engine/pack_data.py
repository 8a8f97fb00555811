"""The data of a pack: the weights, examples, labels and orders of its lanes.

It takes the numpy arrays of `membench.data` to tensors on the pack's device.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Dataset
from membench.api import Params
from membench.api import Signal
from membench.api import Split
from membench.data import RunData
from membench.data import SplitData
from membench.data import all_images
from membench.data import arrays_digest
from membench.data import draw_run
from membench.data import load_arrays
from membench.data import trained_rows
from membench.engine.draws import to_int32
from membench.engine.lane_tensors import LaneTensors
from membench.engine.network import Shape
from membench.engine.network import initial_weights
from membench.errors import InputsChangedError
from membench.errors import MembenchError
from membench.planning.packs import Pack
from membench.records import Cell
from membench.records import parse_signal
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word

#: runs' data and initial weights that a worker keeps: a suite's packs ask for the same ones again
CACHE_SIZE = 128


class PackData:
    """One pack's cells as arrays stacked over lanes: splits, weights, keys and batch orders."""

    def __init__(
        self,
        pack: Pack,
        dataset: Dataset,
        signals: dict[str, Signal],
        redraw: bool,
        device: torch.device,
    ) -> None:
        """Draw the data of each cell and move them to the device.

        Args:
            pack: the cells.
            dataset: what their images are drawn from.
            signals: by name, without level.
            redraw: whether the strength changes weights, order and draws too
            (`Regularizer.redraw`).
            device: where the lanes are trained.

        Raises:
            InputsChangedError: the data set is not the one that the pack was planned with, or files
                that it or a signal needs are gone.
            MembenchError: the training images fill no batch.
        """
        with _planned(pack):
            arrays = _arrays(dataset)
        if pack.arrays and pack.arrays != _arrays_digest(dataset):
            raise InputsChangedError(f"data set {dataset.name!r} is not the one that was planned")
        self.pack, self.device = pack, device
        self.num_classes = arrays.num_classes
        self.images = all_images(arrays)  #: [N, c, h, w], as the data set has them
        channels, height, width = self.images.shape[1:]
        self.shape: Shape = (channels, height, width)
        self.lane_keys = [lane_key(cell, redraw) for cell in pack.cells]
        with _planned(pack):
            self.runs = draw_runs(pack, dataset, signals)  #: by lane
        #: by lane, [n] bool: which of its examples it trains on
        self.trained = [trained_rows(pack.split, cell) for cell in pack.cells]
        self._distinct_keys = list(dict.fromkeys(self.lane_keys))
        #: [L] int64, by lane, the place of its key among the distinct ones
        places = [self._distinct_keys.index(key) for key in self.lane_keys]
        self._key_places = torch.tensor(places, device=device)
        #: [L, trained] int64, where lanes train on a share of their examples
        self._trained_rows: Tensor | None = None
        if pack.split.share is not None:
            self._trained_rows = self._stack([np.flatnonzero(rows) for rows in self.trained])
        self.steps_per_epoch = pack.split.trained // pack.recipe.batch
        if self.steps_per_epoch == 0:
            few = f"{pack.split.trained} training images fill no batch of {pack.recipe.batch}"
            raise MembenchError(f"{pack.cells[0].task}: {few}")
        splits = {
            "train": [run.train for run in self.runs],
            "val": [run.val for run in self.runs],
            "test": [run.test for run in self.runs],
        }
        #: split -> [L, n] int64
        self.labels = {
            name: self._stack([split.y for split in by_lane]) for name, by_lane in splits.items()
        }
        self.rows: dict[str, Tensor] = {}  #: split -> [L, n] int64, rows of `tensors.images`
        images = self._place_rows(splits)
        self.tensors = LaneTensors(
            images=torch.from_numpy(images).to(device),
            rows=self.rows["train"],
            labels=self.labels["train"],
            clean=self._stack([run.clean for run in self.runs]),
            mean=self._stack([run.mean for run in self.runs]),
            std=self._stack([run.std for run in self.runs]),
        )

    @property
    def strengths(self) -> Tensor:
        """The regularizer's strengths, [L, parts] float32."""
        strengths = [cell.strength or (0.0,) for cell in self.pack.cells]
        return torch.tensor(strengths, dtype=torch.float32, device=self.device)

    @property
    def draw_keys(self) -> Tensor:
        """The keys that every random number of a lane is hashed from, [L, 1] int32."""
        keys = [[to_int32(key)] for key in self.lane_keys]
        return torch.tensor(keys, dtype=torch.int32, device=self.device)

    def weights(self, architecture: Architecture) -> list[Params]:
        """Return each lane's initial weights, on the CPU; lanes of one seed share them."""
        return [_weights(architecture, self.shape, self.num_classes, key) for key in self.lane_keys]

    def order(self, epoch: int) -> Tensor:
        """Return an epoch's batches, [L, steps, batch] int64, of each lane's training examples.

        The end of the permutation that fills no batch is left out. Each permutation is drawn and
        moved to the device once, whatever the number of its lanes, and a GPU's host waits for none.
        """
        used = self.steps_per_epoch * self.pack.recipe.batch
        permutations = []
        for key in self._distinct_keys:
            permutation = Draws(chain(key, epoch)).permutation("order", self.pack.split.trained)
            permutations.append(permutation[:used].astype(np.int32))
        distinct = self._upload(np.stack(permutations)).to(torch.int64)
        order = distinct.index_select(0, self._key_places)
        if self._trained_rows is not None:
            order = self._trained_rows.gather(1, order)
        return order.unflatten(1, (self.steps_per_epoch, -1))

    def _place_rows(self, splits: dict[str, list[SplitData]]) -> NDArray[Any]:
        """Set `rows` and return the images that they index.

        These are the data set's own, and behind them, in float32, the inputs that signals made:
        each sample once, though the lanes of one seed and signal share it.
        """
        extra: list[NDArray[Any]] = []
        starts: dict[int, int] = {}  # a sample's identity -> the row of its first image
        size = len(self.images)
        for name, by_lane in splits.items():
            rows = []
            for split in by_lane:
                if split.x is None:
                    rows.append(split.rows)
                    continue
                if id(split.x) not in starts:
                    starts[id(split.x)] = size
                    extra.append(split.x)
                    size += len(split.x)
                start = starts[id(split.x)]
                rows.append(np.arange(start, start + len(split.y)))
            self.rows[name] = self._stack(rows)
        if not extra:
            return self.images
        return np.concatenate([self.images.astype(np.float32), *extra])

    def _upload(self, array: NDArray[Any]) -> Tensor:
        """Move an array to the device; from pinned memory, which a GPU copies without a wait."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _stack(self, by_lane: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(by_lane)).to(self.device)


@contextmanager
def _planned(pack: Pack) -> Iterator[None]:
    """Tell files that are missing here, and were there when the pack was planned, from a failure.

    Each further pack would lack them too, and none is to blame: the run must end.
    """
    try:
        yield
    except MembenchError as error:
        if pack.arrays and isinstance(error.__cause__, FileNotFoundError):
            raise InputsChangedError(f"{error} (it was there when this was planned)") from error
        raise


def draw_runs(pack: Pack, dataset: Dataset, signals: dict[str, Signal]) -> list[RunData]:
    """Return the data of each cell; cells of one task, seed and signal share them.

    Args:
        pack: the cells.
        dataset: what their images are drawn from.
        signals: by name, without level.
    """
    runs = []
    for cell in pack.cells:
        name, level = parse_signal(cell.signal)
        runs.append(_run_data(dataset, pack.split, signals[name], level, cell.task, cell.seed))
    return runs


def image_bytes(images: NDArray[Any], runs: Sequence[RunData]) -> int:
    """Return the bytes of the images that lanes of these runs share on a device.

    Args:
        images: those of the data set.
        runs: what the lanes are trained and read on; inputs that a signal made count once a sample.
    """
    made = {}
    for run in runs:
        for split in (run.train, run.val, run.test):
            if split.x is not None:
                made[id(split.x)] = split.x.nbytes
    own = 4 * images.size if made else images.nbytes  # beside float32 inputs all are float32
    return own + sum(made.values())


def lane_key(cell: Cell, redraw: bool) -> int:
    """Return the seed of a lane's weights, batch order and draws.

    It depends on (dataset, architecture, seed), so that it is the same for all regularizers.

    Args:
        cell: the lane's cell.
        redraw: whether it also depends on the strength.
    """
    key = word("task", cell.task, cell.seed)
    return chain(key, word("redraw", *cell.strength)) if redraw else key


@lru_cache(maxsize=2)
def _arrays(dataset: Dataset) -> Arrays:
    return load_arrays(dataset)


@lru_cache(maxsize=2)
def _arrays_digest(dataset: Dataset) -> str:
    return arrays_digest(_arrays(dataset))


@lru_cache(maxsize=CACHE_SIZE)
def _run_data(
    dataset: Dataset, split: Split, signal: Signal, level: float | str | None, task: str, seed: int
) -> RunData:
    return draw_run(_arrays(dataset), split, signal, level, task, seed)


@lru_cache(maxsize=CACHE_SIZE)
def _weights(architecture: Architecture, shape: Shape, num_classes: int, key: int) -> Params:
    return initial_weights(architecture, shape, num_classes, key)

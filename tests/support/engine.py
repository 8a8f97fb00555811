"""Small packs and plugin look-ups for the tests; networks are those of `membench.testing`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Dataset
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.planning.packs import Pack
from membench.probes import Probe
from membench.records import Cell
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.entry import describe
from membench.registry.fingerprint import CodeFacts
from membench.registry.fingerprint import Docstring
from membench.registry.registry import Registry
from membench.registry.registry import discover
from membench.rng import Draws
from membench.rng import word
from membench.testing.toy import CLASSES
from membench.testing.toy import CNN
from membench.testing.toy import MLP
from membench.testing.toy import RECIPE
from membench.testing.toy import SHAPE
from membench.testing.toy import ToyRun
from membench.testing.toy import bitwise_equal
from membench.testing.toy import lane_data
from membench.testing.toy import lane_of
from membench.testing.toy import leaves
from membench.testing.toy import one_lane
from membench.testing.toy import shipped_optimizer

__all__ = [
    "ARCHITECTURES",
    "CLASSES",
    "CNN",
    "MLP",
    "RECIPE",
    "SHAPE",
    "ToyRun",
    "bitwise_equal",
    "lane_data",
    "lane_of",
    "leaves",
    "one_lane",
    "shipped_optimizer",
]

ARCHITECTURES = {"mlp": MLP, "cnn": CNN}

_CACHE = TemporaryDirectory(prefix="membench-tests-")


@contextmanager
def own_cache() -> Iterator[Path]:
    """Plugins and data are remembered in a folder of this test session's, not in the user's."""
    before = os.environ.get("MEMBENCH_CACHE")
    os.environ["MEMBENCH_CACHE"] = _CACHE.name
    try:
        yield Path(_CACHE.name)
    finally:
        os.environ.pop("MEMBENCH_CACHE")
        if before is not None:
            os.environ["MEMBENCH_CACHE"] = before


@cache
def registry() -> Registry:
    """What ships with membench."""
    with own_cache() as folder:
        return discover(folder=folder)


def parts(name: str) -> tuple[Regularizer, ...]:
    """The live records of a registered regularizer."""
    return registry().regularizer(name)


@dataclass
class Plugins:
    """A source with plugins of the test's own; everything else is what ships with membench."""

    regularizers: dict[str, tuple[Regularizer, ...]] = field(default_factory=dict)
    architectures: dict[str, Architecture] = field(default_factory=lambda: dict(ARCHITECTURES))
    datasets: dict[str, Dataset] = field(default_factory=dict)
    signals: dict[str, Signal] = field(default_factory=dict)
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        return (
            self.regularizers[name] if name in self.regularizers else registry().regularizer(name)
        )

    def architecture(self, name: str) -> Architecture:
        return (
            self.architectures[name]
            if name in self.architectures
            else registry().architecture(name)
        )

    def entry(self, kind: str, name: str) -> PluginEntry:
        """What is known of a plugin without its code; of the test's own, what its record says."""
        record = getattr(self, kind).get(name)
        if record is None:
            return registry().entry(kind, name)
        source = PluginSource(path=Path(__file__), origin="test")
        return describe(
            record, source, CodeFacts(code_hash="", helpers=(), docstring=Docstring("", ""))
        )

    def dataset(self, name: str) -> Dataset:
        return self.datasets[name] if name in self.datasets else registry().dataset(name)

    def signal(self, name: str) -> Signal:
        return self.signals[name] if name in self.signals else registry().signal(name)

    def optimizer(self, name: str) -> Optimizer:
        return self.optimizers[name] if name in self.optimizers else shipped_optimizer(name)

    def probe(self, name: str) -> Probe:
        return self.probes[name] if name in self.probes else registry().probe(name)


def pack(
    cells: Iterable[Cell], recipe: Recipe, split: Split, compiled: bool = False, **more: Any
) -> Pack:
    """A pack whose keys are the cells' ids; `more`: `read`, `probes`, `precision`."""
    cells = tuple(cells)
    return Pack(
        cells=cells,
        keys=tuple(c.id for c in cells),
        recipe=recipe,
        split=split,
        compiled=compiled,
        **more,
    )


def blobs(
    n: int = 60, classes: int = 3, seed: int = 0, shape: tuple[int, int, int] = SHAPE
) -> Dataset:
    """A data set of images [n, *shape], one bright row a class, learned in a few epochs."""

    def load(folder: object) -> Arrays:
        draw = Draws(word("blobs", seed))
        y = np.arange(n, dtype=np.int64) % classes
        x = draw.uniform("x", n * math.prod(shape)).reshape(n, *shape) * 120
        x[np.arange(n), 0, y] += 120
        return Arrays(x.astype(np.uint8), y, classes)

    return Dataset("blobs", load)

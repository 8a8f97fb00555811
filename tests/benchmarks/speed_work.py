"""What all peers train: four sizes, their cells, and each cell's arrays. No torch: the JAX process reads this too."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from membench.api import Recipe
from membench.api import Split
from membench.planning.suites import SUITES
from membench.records import Cell

QUICK = SUITES["quick"]
SIGNALS = ("real", "randY")
WIDTH = QUICK.width  #: lanes in one of membench's packs
SHOWN = 0.5  #: the dropout strength whose accuracies the tables show
SEEDS = 3  #: times 5 strengths and 2 signals: two packs, one a core


@dataclass(frozen=True)
class Size:
    """One network on one data set."""

    name: str
    dataset: str
    architecture: str
    recipe: Recipe
    split: Split

    @property
    def steps(self) -> int:
        """Of one cell, from its first to its last epoch."""
        return self.split.train // self.recipe.batch * self.recipe.epochs

    def shortened(self, epochs: int) -> Size:
        """The same with fewer epochs, to see that everything runs."""
        return replace(self, recipe=replace(self.recipe, epochs=epochs))


MNIST = QUICK.splits["mnist5k"]
SIZES = {
    size.name: size
    for size in (
        Size(
            "small", "digits", "mlp64", Recipe(lr=0.05, batch=32, epochs=60), Split(797, 600, 400)
        ),
        Size("mlp", "mnist5k", "mlp", QUICK.recipes["mnist5k", "mlp"], MNIST),
        Size("cnn", "mnist5k", "cnn", QUICK.recipes["mnist5k", "cnn"], MNIST),
        Size("wide", "mnist5k", "mlp512", Recipe(lr=0.05, batch=128, epochs=20), MNIST),
    )
}


@dataclass(frozen=True)
class Examples:
    """What one cell is trained and read on: inputs [n, c, h, w] float32, standardised; labels [n] int64."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """A size's cells and all that a peer needs to train them."""

    size: Size
    cells: tuple[Cell, ...]
    examples: dict[tuple[str, int], Examples]  #: (signal, seed) -> arrays
    weights: dict[
        int, dict[str, NDArray[np.float32]]
    ]  #: seed -> what training starts from, in membench's layout
    flops: int  #: of one step of one cell, forward and backward

    def share(self, of: int, processes: int) -> Work:
        """What one of the processes trains."""
        count = len(self.cells) // processes
        return self._only(self.cells[of * count : (of + 1) * count])

    def sample(self) -> Work:
        """The cells whose accuracies are shown: all that a slow peer trains from cold."""
        return self._only(tuple(c for c in self.cells if c.strength == (SHOWN,)))

    def shortened(self, epochs: int) -> Work:
        """The same cells for fewer epochs."""
        return replace(self, size=self.size.shortened(epochs))

    def _only(self, cells: tuple[Cell, ...]) -> Work:
        """Some of the cells, and the arrays that those need."""
        examples = {
            key: e for key, e in self.examples.items() if key in {(c.signal, c.seed) for c in cells}
        }
        weights = {seed: w for seed, w in self.weights.items() if seed in {c.seed for c in cells}}
        return replace(self, cells=cells, examples=examples, weights=weights)

    def of(self, cell: Cell) -> Examples:
        """The cell's arrays."""
        return self.examples[cell.signal, cell.seed]


def cells(size: Size, strengths: tuple[float, ...], processes: int) -> tuple[Cell, ...]:
    """A dropout grid on real and on random labels, in the plan's order; whole packs for 1, 2, 4, 6, ... processes."""
    seeds = range(SEEDS * max(1, processes // 2))
    axes = product(strengths, SIGNALS, seeds)
    return tuple(
        Cell(size.dataset, size.architecture, "dropout", (s,), signal, seed)
        for s, signal, seed in axes
    )

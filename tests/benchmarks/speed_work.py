"""The work of all peers: four sizes, their cells, and each cell's arrays.

No torch: the JAX process imports this too.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from membench.api import Recipe
from membench.api import Split
from membench.records import Cell
from membench.registry.registry import discover

QUICK = discover().suite("quick")
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
        """Optimizer steps of one cell, from its first to its last epoch."""
        return self.split.train // self.recipe.batch * self.recipe.epochs

    def shortened(self, epochs: int) -> Size:
        """Return the size with fewer epochs, to see that everything runs."""
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
    """The examples that one cell is trained and read on."""

    x: NDArray[np.float32]  #: [n, c, h, w], standardised
    y: NDArray[np.int64]  #: [n]
    test_x: NDArray[np.float32]  #: [m, c, h, w]
    test_y: NDArray[np.int64]  #: [m]


@dataclass(frozen=True)
class Work:
    """A size's cells, and all that a peer needs to train them."""

    size: Size
    cells: tuple[Cell, ...]
    examples: dict[tuple[str, int], Examples]  #: (signal, seed) -> arrays
    #: seed -> initial weights, in membench's layout
    weights: dict[int, dict[str, NDArray[np.float32]]]
    flops: int  #: of one step of one cell, forward and backward

    def share(self, of: int, processes: int) -> Work:
        """Return the work of one of the processes."""
        count = len(self.cells) // processes
        return self._only(self.cells[of * count : (of + 1) * count])

    def sample(self) -> Work:
        """Return the cells whose accuracies are shown: all that a slow peer trains from cold."""
        return self._only(tuple(c for c in self.cells if c.strength == (SHOWN,)))

    def shortened(self, epochs: int) -> Work:
        """Return the same cells for fewer epochs."""
        return replace(self, size=self.size.shortened(epochs))

    def _only(self, cells: tuple[Cell, ...]) -> Work:
        """Return some of the cells, and the arrays that they need."""
        examples, weights = {}, {}
        for cell in cells:
            examples[cell.signal, cell.seed] = self.of(cell)
            weights[cell.seed] = self.weights[cell.seed]
        return replace(self, cells=cells, examples=examples, weights=weights)

    def of(self, cell: Cell) -> Examples:
        """Return the cell's arrays."""
        return self.examples[cell.signal, cell.seed]


def cells(size: Size, strengths: tuple[float, ...], processes: int) -> tuple[Cell, ...]:
    """List the cells of a dropout grid on real and on random labels, in the plan's order.

    They fill whole packs for 1, 2, 4, 6, ... processes.
    """
    seeds = range(SEEDS * max(1, processes // 2))
    grid = []
    for strength, signal, seed in product(strengths, SIGNALS, seeds):
        grid.append(Cell(size.dataset, size.architecture, "dropout", (strength,), signal, seed))
    return tuple(grid)

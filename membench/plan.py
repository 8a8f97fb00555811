"""From a suite and a registry to the cells and packs that are to be trained. Pure: reads no stored result."""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from membench.api import Recipe
from membench.records import Cell
from membench.suites import Split


@dataclass(frozen=True)
class Pack:
    """Cells of one (data set, architecture, regularizer, recipe) that train stacked, as one program: one job of a worker.

    Its records are written in one go; what kills it costs only these cells.
    """

    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: the cells' keys, in the same order
    recipe: Recipe
    split: Split
    compiled: bool

    @property
    def id(self) -> str:
        """The first cell's id and the width: `mnist5k/mlp/dropout[0.5]/randY/seed0 x15`."""
        return f"{self.cells[0].id} x{len(self.cells)}"

    @property
    def program(self) -> tuple[str, str, str]:
        """Packs of one program share what was compiled: (dataset, architecture, regularizer)."""
        cell = self.cells[0]
        return cell.dataset, cell.architecture, cell.regularizer

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Pack:
        """The inverse of `to_json`."""
        cells = tuple(Cell(**{**cell, "strength": tuple(cell["strength"])}) for cell in line["cells"])
        return cls(cells, tuple(line["keys"]), Recipe(**line["recipe"]), Split(**line["split"]), line["compiled"])

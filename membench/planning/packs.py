"""Packs: the cells that train stacked, as one job of a worker. Pure.

A plan cuts its cells into packs with `chunk_by_program`. For a GPU, `merge_packs` joins them again
into wide ones, and `split_pack` cuts those that the device's memory cannot hold.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from membench.api import Recipe
from membench.api import Split
from membench.records import Cell

ProgramId = tuple[str, str, str]  #: (dataset, architecture, regularizer)


@dataclass(frozen=True, kw_only=True)
class PluginCode:
    """The code of a plugin that cells were planned with."""

    kind: str  #: a table of the registry
    name: str
    code_hash: str
    version: int
    foreign_files: tuple[str, ...] = ()  #: that define it; none of a plugin that ships

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> PluginCode:
        """Return the code that `Pack.to_json` wrote."""
        return cls(**{**line, "foreign_files": tuple(line["foreign_files"])})


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Cells of one (data set, architecture, regularizer, recipe) that train stacked.

    Their records are written in one go; what kills the pack costs only these cells.
    """

    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: the cells' keys, in the same order
    recipe: Recipe
    split: Split
    compiled: bool
    read: tuple[int, ...] = ()  #: epochs at which the cells are read besides the last; () = usual
    probes: tuple[str, ...] = ()  #: what is measured at these epochs
    study: str = ""  #: the study whose private records the names may be
    precision: str = ""  #: torch's matmul precision that a run has chosen; "" = the usual one
    code: tuple[PluginCode, ...] = ()  #: of all plugins that the cells name, as planned
    arrays: str = ""  #: SHA-256 of the data set's arrays, as planned; "" = unknown
    #: hash of the environment that its worker must report when it is ready; "" = that of the run
    environment: str = ""

    @property
    def id(self) -> str:
        """The first cell's id and the width: `mnist5k/mlp/dropout[0.5]/randY/seed0 x15`."""
        return f"{self.cells[0].id} x{len(self.cells)}"

    @property
    def foreign_files(self) -> frozenset[str]:
        """The files of plugins that do not ship: what a worker that trains it imports of them."""
        return frozenset(file for code in self.code for file in code.foreign_files)

    @property
    def program(self) -> ProgramId:
        """The program of all its cells; packs of one program share what was compiled."""
        return _program(self.cells[0])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Pack:
        """Return the pack that `to_json` wrote."""
        cells = []
        for cell in line["cells"]:
            cells.append(Cell(**{**cell, "strength": tuple(cell["strength"])}))
        return cls(
            cells=tuple(cells),
            keys=tuple(line["keys"]),
            recipe=Recipe(**line["recipe"]),
            split=Split(**line["split"]),
            compiled=line["compiled"],
            read=tuple(line["read"]),
            probes=tuple(line["probes"]),
            study=line["study"],
            precision=line["precision"],
            code=tuple(PluginCode.from_json(code) for code in line["code"]),
            arrays=line["arrays"],
            environment=line["environment"],
        )


def chunk_by_program(
    cells: Iterable[Cell], keys: Iterable[str], done: Container[str], width: int
) -> Iterator[tuple[tuple[Cell, ...], tuple[str, ...]]]:
    """Yield the cells of each pack, and their keys.

    Args:
        cells: in the order of the plan.
        keys: of the cells, in the same order.
        done: keys of the cells that are left out.
        width: how many neighbours of one program a pack holds at most.
    """
    pack_cells: list[Cell] = []
    pack_keys: list[str] = []
    for cell, key in zip(cells, keys, strict=True):
        if key in done:
            continue
        is_full = len(pack_cells) == width
        if pack_cells and (is_full or _program(cell) != _program(pack_cells[0])):
            yield tuple(pack_cells), tuple(pack_keys)
            pack_cells, pack_keys = [], []
        pack_cells.append(cell)
        pack_keys.append(key)
    if pack_cells:
        yield tuple(pack_cells), tuple(pack_keys)


def merge_packs(packs: Iterable[Pack], max_lanes: int) -> list[Pack]:
    """Join neighbours that differ only in their cells into packs of at most `max_lanes` lanes."""
    joined: list[Pack] = []
    for pack in packs:
        if joined and _differ_only_in_cells(joined[-1], pack):
            previous = joined.pop()
            joined.append(
                replace(
                    previous,
                    cells=previous.cells + pack.cells,
                    keys=previous.keys + pack.keys,
                    code=tuple(dict.fromkeys(previous.code + pack.code)),
                )
            )
        else:
            joined.append(pack)
    merged = []
    for pack in joined:
        merged += split_pack(pack, max_lanes)
    return merged


def split_pack(pack: Pack, max_lanes: int) -> list[Pack]:
    """Cut a pack into few of at most `max_lanes` lanes.

    All are equally wide if that takes at most twice as many packs, since each width is compiled
    anew: 175 lanes, at most 75 at a time, become 5 packs of 35 and not 58, 58 and 59.
    """
    total = len(pack.cells)
    fewest = -(-total // max_lanes)  # rounded up
    count = fewest
    for candidate in range(fewest, 2 * fewest + 1):
        if total % candidate == 0:
            count = candidate
            break
    parts = []
    for index in range(count):
        lanes = slice(total * index // count, total * (index + 1) // count)
        parts.append(replace(pack, cells=pack.cells[lanes], keys=pack.keys[lanes]))
    return parts


def _program(cell: Cell) -> ProgramId:
    return cell.dataset, cell.architecture, cell.regularizer


def _differ_only_in_cells(one: Pack, other: Pack) -> bool:
    if one.program != other.program:
        return False
    # neighbours may name different signals
    nothing: dict[str, Any] = {"cells": (), "keys": (), "code": ()}
    return replace(one, **nothing) == replace(other, **nothing)

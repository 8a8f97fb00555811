"""From a suite and a registry to the cells and packs that are to be trained. Pure: reads no stored result.

`make_plan` is called by `plan`, `run` and `status`; no torch, unless a plugin's `skip` must look at a network.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from itertools import groupby
from itertools import pairwise
from typing import Any

from membench.api import Recipe
from membench.api import Split
from membench.records import Cell


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Cells of one (data set, architecture, regularizer, recipe) that train stacked: one job of a worker.

    Its records are written in one go; what kills it costs only these cells.
    """

    cells: tuple[Cell, ...]
    keys: tuple[str, ...]  #: the cells' keys, in the same order
    recipe: Recipe
    split: Split
    compiled: bool
    read: tuple[
        int, ...
    ] = ()  #: epochs at which the cells are read, besides the last; () = the usual ones
    probes: tuple[str, ...] = ()  #: what is measured there
    study: str = ""  #: whose own records the names may be

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
        cells = tuple(
            Cell(**{**cell, "strength": tuple(cell["strength"])}) for cell in line["cells"]
        )
        tuples = {name: tuple(line[name]) for name in ("keys", "read", "probes")}
        records = {
            "cells": cells,
            "recipe": Recipe(**line["recipe"]),
            "split": Split(**line["split"]),
        }
        return cls(**{**line, **tuples, **records})


def chunk_by_program(
    cells: Iterable[Cell], keys: Iterable[str], done: Container[str], width: int
) -> Iterator[tuple[tuple[Cell, ...], tuple[str, ...]]]:
    """Cells and keys of each pack: neighbours of one program whose keys are not `done`, `width` of them at most."""
    missing = [pair for pair in zip(cells, keys, strict=True) if pair[1] not in done]
    for _, group in groupby(
        missing, lambda pair: (pair[0].dataset, pair[0].architecture, pair[0].regularizer)
    ):
        pairs = list(group)
        for start in range(0, len(pairs), width):
            yield tuple(zip(*pairs[start : start + width], strict=True))


def merge_packs(packs: Iterable[Pack], most: int) -> list[Pack]:
    """Neighbours that differ in their cells only as one pack, or as few of at most `most` lanes."""
    wide = []
    for (_, shared), group in groupby(
        packs, lambda pack: (pack.program, replace(pack, cells=(), keys=()))
    ):
        own = list(group)
        cells, keys = (
            tuple(c for pack in own for c in pack.cells),
            tuple(k for pack in own for k in pack.keys),
        )
        wide += split_pack(replace(shared, cells=cells, keys=keys), most)
    return wide


def split_pack(pack: Pack, lanes: int) -> list[Pack]:
    """The pack as few of at most `lanes` lanes; all equally wide if half as many again allow it, since each width is
    compiled anew."""
    least = -(-len(pack.cells) // lanes)
    count = next(
        (n for n in range(least, least + least // 2 + 1) if len(pack.cells) % n == 0), least
    )
    bounds = [len(pack.cells) * i // count for i in range(count + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    return [replace(pack, cells=pack.cells[part], keys=pack.keys[part]) for part in parts]

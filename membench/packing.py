"""How wide packs are where that is not as the plan cuts them: as a GPU's memory allows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from itertools import pairwise

from membench.plan import Pack


def joined(packs: Iterable[Pack]) -> list[Pack]:
    """Neighbours that differ in their cells only, as one pack: as wide as a GPU without end would have it.

    The worker cuts it by the memory that there is (`parted`).
    """
    wide = []
    for (_, shared), group in groupby(packs, lambda pack: (pack.program, replace(pack, cells=(), keys=()))):
        own = list(group)
        cells, keys = tuple(c for pack in own for c in pack.cells), tuple(k for pack in own for k in pack.keys)
        wide.append(replace(shared, cells=cells, keys=keys))
    return wide


def parted(pack: Pack, lanes: int) -> list[Pack]:
    """The pack as few that are about equally wide, each of at most `lanes` lanes."""
    count = -(-len(pack.cells) // lanes)
    bounds = [len(pack.cells) * i // count for i in range(count + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    return [replace(pack, cells=pack.cells[part], keys=pack.keys[part]) for part in parts]

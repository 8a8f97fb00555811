"""How wide packs are where that is not as the plan cuts them: on a GPU, as wide as its memory allows. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from itertools import pairwise

from membench.plan import Pack


def joined(packs: Iterable[Pack], most: int) -> list[Pack]:
    """Neighbours that differ in their cells only as one pack, or as few of at most `most` lanes."""
    wide = []
    for (_, shared), group in groupby(packs, lambda pack: (pack.program, replace(pack, cells=(), keys=()))):
        own = list(group)
        cells, keys = tuple(c for pack in own for c in pack.cells), tuple(k for pack in own for k in pack.keys)
        wide += parted(replace(shared, cells=cells, keys=keys), most)
    return wide


def parted(pack: Pack, lanes: int) -> list[Pack]:
    """The pack as few of at most `lanes` lanes; all equally wide if half as many again allow it, since each width is
    compiled anew."""
    least = -(-len(pack.cells) // lanes)
    count = next((n for n in range(least, least + least // 2 + 1) if len(pack.cells) % n == 0), least)
    bounds = [len(pack.cells) * i // count for i in range(count + 1)]
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    return [replace(pack, cells=pack.cells[part], keys=pack.keys[part]) for part in parts]

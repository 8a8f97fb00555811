"""The machine's ceiling as a peer: it does as many FLOPs of large products as a cell needs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from speed_work import Work

from membench.records import Cell

SIDES = (512, 1024, 1536, 2048)
TRIAL = 0.3  #: seconds for each


class Ceiling:
    """Square products [n, n] x [n, n] at the n that this machine likes best, one thread."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.owed = 0.0  #: FLOPs, carried from one job to the next

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Choose n."""
        self.side = max(SIDES, key=self._rate)
        self._allocate(self.side)

    def train(self, cells: Sequence[Cell]) -> None:
        """Do the cells' FLOPs, to the nearest product."""
        self.owed += float(self.work.flops) * self.work.size.steps * len(cells)
        while self.owed > 0:
            self._multiply()

    def read(self, trained: None) -> list[tuple[float, float]]:
        """Return nothing, since nothing was learned."""
        return []

    def _allocate(self, side: int) -> None:
        self.a, self.b, self.out = torch.randn(3, side, side).unbind()

    def _multiply(self) -> None:
        torch.mm(self.a, self.b, out=self.out)
        self.owed -= 2.0 * len(self.a) ** 3

    def _rate(self, side: int) -> float:
        self._allocate(side)
        self._multiply()
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < TRIAL:
            self._multiply()
            count += 1
        self.owed = 0.0
        return count * side**3 / (time.perf_counter() - started)


def peer(work: Work, precision: str, lanes: int) -> Ceiling:
    """Make the peer for one process a core, as membench's workers are."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(precision)
    return Ceiling(work)

"""membench's engine as a worker process runs it; `Stacked.train` is all that is timed of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from speed_work import Work
from speed_world import Source
from speed_world import source

from membench.engine import environment
from membench.engine.train import Run
from membench.engine.trainer import Trainer
from membench.files import cache_folder
from membench.planning.packs import Pack
from membench.records import Cell

Trained = tuple[Run, Trainer]


class Stacked:
    """Trains packs of stacked cells."""

    def __init__(self, work: Work, plugins: Source | None = None, device: str = "cpu") -> None:
        self.work, self.source = work, plugins or source()
        self.device = torch.device(device)

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Compile the program of a pack as wide as this one."""
        self._started(cells)

    def train(self, cells: Sequence[Cell]) -> Trained:
        """Do what `train_pack` does, without reading the lanes."""
        run, trainer = self._started(cells)
        for epoch in range(1, self.work.size.recipe.epochs + 1):
            trainer.train_epoch(run.data.order(epoch))
        return run, trainer

    def run(self, cells: Sequence[Cell]) -> Run:
        """Return the run of the cells as one pack."""
        size = self.work.size
        pack = Pack(
            cells=tuple(cells),
            keys=tuple(c.id for c in cells),
            recipe=size.recipe,
            split=size.split,
            compiled=True,
        )
        return Run(pack, self.source, self.device)

    def _started(self, cells: Sequence[Cell]) -> Trained:
        run = self.run(cells)
        trainer = run.trainer()
        note = trainer.compile(run.data.order(1))
        if note:
            raise RuntimeError(note)
        return run, trainer

    def read(self, trained: Trained) -> list[tuple[float, float]]:
        """Return (training accuracy, test accuracy) of each lane."""
        run, trainer = trained
        accuracies = []
        for split in ("train", "test"):
            right, *_ = trainer.evaluate(run.data.rows[split], run.data.labels[split])
            accuracies.append(right.float().mean(dim=1).tolist())
        train, test = accuracies
        return list(zip(train, test, strict=True))


def peer(work: Work, precision: str, lanes: int) -> Stacked:
    """Make one worker, set up as `membench.execution.worker` does, with a cold start.

    Its caches are empty.
    """
    _empty_caches()
    environment.configure_torch()
    torch.set_float32_matmul_precision(precision)
    return Stacked(work)


def _empty_caches() -> None:
    """Hide what was compiled before, but not the parsed data sets: the other peers get theirs."""
    folder, data = Path(tempfile.gettempdir(), "cache"), cache_folder() / "data"
    folder.mkdir(exist_ok=True)
    with suppress(FileExistsError):  # the other process was here first
        (folder / "data").symlink_to(data)
    os.environ["MEMBENCH_CACHE"] = str(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")

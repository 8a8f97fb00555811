"""membench's engine as a worker process runs it. All that the benchmark knows of the engine is in `Stacked.train`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from speed_work import Work
from speed_world import source

from membench.engine import environment
from membench.engine.train import Run
from membench.engine.trainer import Trainer
from membench.files import cache_folder
from membench.planning.packs import Pack
from membench.records import Cell

Trained = tuple[Run, Trainer]


class Stacked:
    """Packs of stacked cells."""

    def __init__(self, work: Work) -> None:
        self.work, self.source = work, source()

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """Compiles the program of a pack as wide as this one."""
        self._started(cells)

    def train(self, cells: Sequence[Cell]) -> Trained:
        """What `train_pack` does, without reading the lanes."""
        run, trainer = self._started(cells)
        for epoch in range(1, self.work.size.recipe.epochs + 1):
            trainer.train_epoch(run.data.order(epoch))
        return run, trainer

    def run(self, cells: Sequence[Cell]) -> Run:
        """The cells as one pack."""
        size = self.work.size
        pack = Pack(
            cells=tuple(cells),
            keys=tuple(c.id for c in cells),
            recipe=size.recipe,
            split=size.split,
            compiled=True,
        )
        return Run(pack, self.source, torch.device("cpu"))

    def _started(self, cells: Sequence[Cell]) -> Trained:
        run = self.run(cells)
        trainer = run.trainer()
        note = trainer.compile(run.data.order(1))
        if note:
            raise RuntimeError(note)
        return run, trainer

    def read(self, trained: Trained) -> list[tuple[float, float]]:
        """(training accuracy, test accuracy) of each lane."""
        run, trainer = trained
        read = lambda split: trainer.evaluate(run.data.rows[split], run.data.labels[split])[0]  # noqa: E731
        train, test = (read(split).float().mean(dim=1).tolist() for split in ("train", "test"))
        return list(zip(train, test, strict=True))


def peer(work: Work, precision: str, lanes: int) -> Stacked:
    """One worker: set up as `membench.execution.worker` does, with empty caches, so that its start is a cold one."""
    _empty_caches()
    environment.configure_torch()
    torch.set_float32_matmul_precision(precision)
    return Stacked(work)


def _empty_caches() -> None:
    """Nothing compiled before is found; the parsed data sets are, since the other peers are handed theirs."""
    folder, data = Path(tempfile.gettempdir(), "cache"), cache_folder() / "data"
    folder.mkdir(exist_ok=True)
    with suppress(FileExistsError):  # the other process was here first
        (folder / "data").symlink_to(data)
    os.environ["MEMBENCH_CACHE"] = str(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")

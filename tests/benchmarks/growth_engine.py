"""Measure a step by number of lanes, width of the network and number of steps.

One thread, compiled, at the precision of a run. `python growth_engine.py lanes WIDTH` and
`python growth_engine.py steps` print JSON; `growth.py` starts them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from itertools import islice
from itertools import product
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from membench.api import Architecture
from membench.engine.environment import configure_torch
from membench.engine.environment import precision
from membench.engine.train import Run
from membench.engine.train import train_pack
from membench.engine.trainer import Trainer
from membench.planning.packs import Pack
from membench.records import Cell
from membench.registry.registry import discover

LANES = (1, 2, 5, 15, 30)
WIDTHS = (64, 128, 256, 512, 1024)
STEPS = (100, 300, 1000, 3000, 10_000)
REGULARIZER = "dropout"


def by_lanes(width: int) -> dict[int, float]:
    """Measure milliseconds of a lane-step of the MLP 784-width-width-10, batch 100, by lanes."""
    return {lanes: _lane_step(lanes, width) for lanes in LANES}


def by_steps() -> dict[int, float]:
    """Measure seconds of the quick suite's pack of 15 lanes, by steps.

    They include data, compilation, training and reading.
    """
    # A first pack takes what a worker pays once: imports, the start of the compiler.
    train_pack(pack(15, 1), _source(256), "cpu")
    return {steps: _seconds(steps) for steps in STEPS}


def _seconds(steps: int) -> float:
    one_epoch = pack(15, 1)
    epochs = steps * one_epoch.recipe.batch // one_epoch.split.train
    measured = pack(15, epochs)
    started = time.perf_counter()
    train_pack(measured, _source(256), "cpu")
    return time.perf_counter() - started


def _lane_step(lanes: int, width: int) -> float:
    """Measure milliseconds, the median of five stretches of half a second or more."""
    with precision(compiled=True):
        run = Run(pack(lanes, 50), _source(width), torch.device("cpu"))
        trainer, order = compiled(run)
        return 1000 * median(stretch(trainer, order) for _ in range(5)) / lanes


def compiled(run: Run) -> tuple[Trainer, torch.Tensor]:
    """Return the run's lanes, compiled and trained for an epoch, and an epoch's batch order."""
    trainer, order = run.trainer(), run.data.order(1)
    note = trainer.compile(order)
    if note:
        raise RuntimeError(note)
    trainer.train_epoch(order)
    return trainer, order


def stretch(trainer: Trainer, order: torch.Tensor) -> float:
    """Measure seconds of one step of all lanes, over half a second or more."""
    steps, started, spent = 0, time.perf_counter(), 0.0
    while spent < 0.5:
        trainer.train_epoch(order)
        steps += order.shape[1]
        spent = time.perf_counter() - started
    return spent / steps


def pack(
    lanes: int, epochs: int, architecture: str = "mlp", regularizer: str = REGULARIZER
) -> Pack:
    """Make a pack of the quick suite's strengths, signals and seeds, as many as there are lanes."""
    suite, task = discover().suite("quick"), ("mnist5k", architecture)
    strengths = discover().regularizers[regularizer].strengths or ((),)
    cells = []
    for seed, signal, strength in islice(
        product(suite.confirming, suite.signals, strengths), lanes
    ):
        cells.append(Cell(*task, regularizer, strength, signal, seed))
    recipe = replace(suite.recipes[task], epochs=epochs)
    return Pack(
        cells=tuple(cells),
        keys=tuple(cell.id for cell in cells),
        recipe=recipe,
        split=suite.splits[task[0]],
        compiled=True,
    )


def _source(width: int) -> Any:
    """Return membench's plugins, with an `mlp` of this width."""
    registry = discover()
    network = type(registry.architecture("mlp").build((1, 28, 28), 10))

    def build(shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
        return network(shape[0] * shape[1] * shape[2], width, num_classes)

    return SimpleNamespace(
        regularizer=registry.regularizer,
        signal=registry.signal,
        dataset=registry.dataset,
        architecture=lambda name: Architecture("mlp", build),
    )


if __name__ == "__main__":
    configure_torch()
    print(json.dumps(by_lanes(int(sys.argv[2])) if sys.argv[1] == "lanes" else by_steps()))

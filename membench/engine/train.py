"""From a pack to its records: builds the lanes, trains them, reads them at the checkpoints. Called by the worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from membench.api import Architecture
from membench.api import Arrays
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.data import Sample
from membench.data import load_arrays
from membench.data import pool
from membench.data import sample
from membench.engine.draws import signed
from membench.engine.environment import environment
from membench.engine.network import build
from membench.engine.network import skeleton
from membench.engine.program import Program
from membench.engine.trainer import LaneData
from membench.engine.trainer import Trainer
from membench.errors import MembenchError
from membench.plan import Pack
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word
from membench.suites import checkpoints
from membench.suites import control_epochs

Progress = Callable[[float], None]


class Source(Protocol):
    """What the engine needs of the registry."""

    def regularizer(self, name: str) -> tuple[Regularizer, ...]: ...
    def architecture(self, name: str) -> Architecture: ...
    def signal(self, name: str) -> Signal: ...
    def dataset(self, name: str) -> Dataset: ...


@dataclass
class Curves:
    """What was read of each lane at each checkpoint so far; lists over checkpoints of [L] arrays."""

    epochs: list[int] = field(default_factory=list)
    train: list[np.ndarray] = field(default_factory=list)
    loss: list[np.ndarray] = field(default_factory=list)
    val: list[np.ndarray] = field(default_factory=list)
    test: list[np.ndarray | None] = field(default_factory=list)
    wrong: list[np.ndarray] = field(default_factory=list)
    finite: np.ndarray | None = None
    train_bits: np.ndarray | None = None
    test_bits: np.ndarray | None = None


def lane_key(cell: Cell, redraw: bool) -> int:
    """The seed of weights, batch order and draws: by (dataset, architecture, seed), the same for all regularizers."""
    key = word("task", cell.task, cell.seed)
    return chain(key, word("redraw", *cell.strength)) if redraw else key


def train_pack(pack: Pack, source: Source, device: str, on_progress: Progress = lambda done: None) -> list[Record]:
    """Train the pack's cells, stacked; one record a cell, in the pack's order.

    Raises:
        MembenchError: a plugin broke the contract. Anything else a plugin raises passes through.
    """
    started = time.perf_counter()
    run = Run(pack, source, torch.device(device))
    trainer = run.trainer()
    cost = trainer.flops() / run.plain_flops(trainer)
    note = trainer.compile(run.order(1)) if pack.compiled else ""
    curves = run.train(trainer, cost, on_progress)
    seconds = (time.perf_counter() - started) / len(pack.cells)
    return [replace(r, reason=r.reason or note) for r in run.records(trainer, curves, cost, seconds)]


@cache
def shared_program(
    architecture: Architecture, shape: tuple[int, ...], parts: tuple[Regularizer, ...], recipe: Recipe, *sizes: float
) -> Program:
    """One object for all packs of a program in this process, so that it is compiled once."""
    return Program(skeleton(architecture, shape, int(sizes[1])), parts, recipe, *sizes)


class Run:
    """One pack's data and settings."""

    def __init__(self, pack: Pack, source: Source, device: torch.device) -> None:
        cell = pack.cells[0]
        self.pack, self.device = pack, device
        self.architecture = source.architecture(cell.architecture)
        self.parts = source.regularizer(cell.regularizer)
        self.redraw = any(p.redraw for p in self.parts)
        arrays = load_arrays(source.dataset(cell.dataset))
        self.num_classes = arrays.num_classes
        self.images = pool(arrays)
        self.shape = tuple(self.images.shape[1:])
        self.samples = [self._sample(arrays, source, c) for c in pack.cells]
        self.keys = [lane_key(c, self.redraw) for c in pack.cells]
        self.per_epoch = pack.split.train // pack.recipe.batch
        if self.per_epoch == 0:
            raise MembenchError(f"{cell.task}: {pack.split.train} training images fill no batch of {pack.recipe.batch}")
        self.steps = self.per_epoch * pack.recipe.epochs

    def _sample(self, arrays: Arrays, source: Source, cell: Cell) -> Sample:
        name, level = parse_signal(cell.signal)
        return sample(arrays, self.pack.split, source.signal(name), level, cell.task, cell.seed)

    def trainer(self) -> Trainer:
        """The stacked lanes at step 0."""
        scale = 1.0 if self.images.dtype == np.uint8 else 1 / 255
        sizes = (self.steps, self.num_classes, self.pack.split.train, scale)
        program = shared_program(self.architecture, self.shape, self.parts, self.pack.recipe, *sizes)
        weights = [build(self.architecture, self.shape, self.num_classes, key) for key in self.keys]
        strengths = torch.tensor([c.strength or (0.0,) for c in self.pack.cells], dtype=torch.float32)
        keys = torch.tensor([[signed(k)] for k in self.keys], dtype=torch.int32)
        return Trainer(program, weights, strengths.to(self.device), keys.to(self.device), self._lane_data())

    def _lane_data(self) -> LaneData:
        """One pool for all lanes; inputs that a signal made are appended to it."""
        self.rows: dict[str, Tensor] = {}
        extra, size = [], len(self.images)
        for split in ("train", "val", "test"):
            lanes = []
            for s in self.samples:
                part = getattr(s, split)
                lanes.append(part.rows if part.x is None else np.arange(size, size + len(part.y)))
                if part.x is not None:
                    extra.append(part.x)
                    size += len(part.y)
            self.rows[split] = self._stack(lanes)
        images = np.concatenate([self.images.astype(np.float32), *extra]) if extra else self.images
        return LaneData(
            torch.from_numpy(images).to(self.device),
            self.rows["train"],
            self._labels("train"),
            self._stack([s.clean for s in self.samples]),
            self._stack([s.mean for s in self.samples]),
            self._stack([s.std for s in self.samples]),
        )

    def _stack(self, lanes: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(lanes)).to(self.device)

    def _labels(self, split: str) -> Tensor:
        return self._stack([getattr(s, split).y for s in self.samples])

    def plain_flops(self, trainer: Trainer) -> int:
        """FLOPs of the same lanes' step without the regularizer."""
        p = trainer.program
        plain = Program(p.module, (), p.recipe, p.steps, p.num_classes, p.num_examples, p.pixel_scale)
        var = {**trainer.var, "states": []}
        return trainer.flops(plain, var)

    def order(self, epoch: int) -> Tensor:
        """[L, steps, batch] int64: this epoch's batches; the permutation's tail that fills no batch is left out."""
        n = self.per_epoch * self.pack.recipe.batch
        lanes = [Draws(chain(k, epoch)).permutation("order", self.pack.split.train)[:n] for k in self.keys]
        return self._stack(lanes).reshape(len(lanes), self.per_epoch, self.pack.recipe.batch)

    def train(self, trainer: Trainer, cost: float, on_progress: Progress) -> Curves:
        """All epochs, read at the checkpoints; test at the budget, at equal compute, and for `none` at all of them."""
        budget = self.pack.recipe.epochs
        plain = not self.parts
        equal = max(1, round(budget / cost))
        read = control_epochs(budget) if plain else sorted({*checkpoints(budget), equal})
        curves = Curves()
        for epoch in range(1, budget + 1):
            trainer.train_epoch(self.order(epoch))
            if epoch in read:
                self._read(trainer, curves, epoch, test=plain or epoch in (equal, budget))
            on_progress(epoch / budget)
        return curves

    def _read(self, trainer: Trainer, curves: Curves, epoch: int, test: bool) -> None:
        """Evaluate all lanes once and append to the curves."""
        right, loss, finite = trainer.evaluate(self.rows["train"], trainer.data.labels)
        bits = right.cpu().numpy()
        curves.epochs.append(epoch)
        curves.train.append(bits.mean(axis=1))
        curves.loss.append(loss.cpu().numpy().astype(np.float64))
        wrong = np.stack([s.wrong for s in self.samples])
        curves.wrong.append((bits & wrong).sum(axis=1) / np.maximum(wrong.sum(axis=1), 1))
        val, _, finite_val = trainer.evaluate(self.rows["val"], self._labels("val"))
        curves.val.append(val.cpu().numpy().mean(axis=1))
        curves.finite = (finite & finite_val).cpu().numpy()
        curves.train_bits = bits
        curves.test.append(None)
        if test:
            right, _, finite_test = trainer.evaluate(self.rows["test"], self._labels("test"))
            curves.test_bits = right.cpu().numpy()
            curves.test[-1] = curves.test_bits.mean(axis=1)
            curves.finite = curves.finite & finite_test.cpu().numpy()

    def records(self, trainer: Trainer, curves: Curves, cost: float, seconds: float) -> list[Record]:
        """One record a lane."""
        versions = environment(self.device, compiled=self.pack.compiled)
        died = trainer.var["died"].cpu().numpy()
        shared = {
            "env": digest(versions),
            "versions": versions,
            "epochs": tuple(curves.epochs),
            "cost": round(cost, 4),
            "pack": self.pack.id,
            "seconds": round(seconds, 3),
            "num_classes": self.num_classes,
            "num_train": self.pack.split.train,
            "num_test": self.pack.split.test,
        }
        return [self._record(lane, curves, int(died[lane]), shared) for lane in range(len(self.pack.cells))]

    def _record(self, lane: int, curves: Curves, died: int, shared: dict) -> Record:
        cell, s = self.pack.cells[lane], self.samples[lane]
        values = {f: getattr(cell, f) for f in ("dataset", "architecture", "regularizer", "strength", "signal", "seed")}
        values |= {"key": self.pack.keys[lane], "id": cell.id, "arrays": s.digest, **shared}
        values |= {"num_wrong": int(s.wrong.sum()), "steps": self.steps if died < 0 else died}
        values["label_share"] = float(np.bincount(s.train.y).max() / len(s.train.y))
        if died >= 0 or not curves.finite[lane]:
            where = f"loss at step {died}" if died >= 0 else "weights or logits at the end"
            return Record(status="diverged", reason=f"not finite: {where}", **{**values, "epochs": ()})
        pick = lambda curve: tuple(None if v is None else float(v[lane]) for v in curve)  # noqa: E731
        return Record(
            status="ok",
            train=pick(curves.train),
            loss=pick(curves.loss),
            val=pick(curves.val),
            test=pick(curves.test),
            wrong=pick(curves.wrong) if s.wrong.any() else (None,) * len(curves.epochs),
            train_bits=np.packbits(curves.train_bits[lane]).tobytes().hex(),
            test_bits=np.packbits(curves.test_bits[lane]).tobytes().hex(),
            **values,
        )

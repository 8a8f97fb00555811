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

from membench.api import Architecture
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.engine import costs
from membench.engine.counter import tree_bytes
from membench.engine.environment import environment
from membench.engine.environment import precision
from membench.engine.network import meta_module
from membench.engine.pack_data import PackData
from membench.engine.probing import Probing
from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs
from membench.engine.step import Program
from membench.engine.trainer import Trainer
from membench.planning.packs import Pack
from membench.planning.packs import split_pack
from membench.probes import Probe
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal

Progress = Callable[[float], None]


class PluginLookup(Protocol):
    """What the engine needs of the registry."""

    def regularizer(self, name: str) -> tuple[Regularizer, ...]: ...
    def architecture(self, name: str) -> Architecture: ...
    def signal(self, name: str) -> Signal: ...
    def dataset(self, name: str) -> Dataset: ...
    def probe(self, name: str) -> Probe: ...


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


def train_pack(
    pack: Pack, source: PluginLookup, device: str, on_progress: Progress = lambda done: None
) -> list[Record]:
    """Train the pack's cells, stacked; one record a cell, in the pack's order.

    Raises:
        MembenchError: a plugin broke the contract. Anything else a plugin raises passes through.
    """
    here, records = torch.device(device), []
    with precision(pack.compiled):
        for part in _split_to_memory(pack, source, here):
            before, own = len(records), len(part.cells)
            tell = lambda share, before=before, own=own: on_progress(
                (before + share * own) / len(pack.cells)
            )  # noqa: E731
            records += _train(part, source, here, tell)
    return records


def _split_to_memory(pack: Pack, source: PluginLookup, device: torch.device) -> list[Pack]:
    """The pack; where memory is short, as on a GPU, parts of it that fit."""
    room = costs.free_memory(device)
    if room is None:
        return [pack]
    run = Run(split_pack(pack, 1)[0], source, device)
    data = run.lanes.data  # a signal may give each lane images of its own, in float32
    own = 4 * data.pool.numel() + tree_bytes(
        (data.rows, data.labels, data.clean, run.lanes.rows, run.lanes.labels)
    )
    lane = own + costs.lane_memory(run.program(run.probing.parts), run.lanes.shape)
    return split_pack(pack, max(1, room // lane))


def _train(
    pack: Pack, source: PluginLookup, device: torch.device, on_progress: Progress
) -> list[Record]:
    started = time.perf_counter()
    run = Run(pack, source, device)
    trainer = run.trainer()
    cost = costs.relative_cost(run.program(), run.lanes.shape)
    note = trainer.compile(run.lanes.order(1)) if pack.compiled else ""
    curves = run.train(trainer, cost, on_progress)
    seconds = (time.perf_counter() - started) / len(pack.cells)
    return [
        replace(r, reason=r.reason or note) for r in run.records(trainer, curves, cost, seconds)
    ]


@cache
def shared_program(
    architecture: Architecture,
    shape: tuple[int, ...],
    parts: tuple[Regularizer, ...],
    recipe: Recipe,
    *sizes: float,
) -> Program:
    """One object for all packs of a program in this process, so that it is compiled once."""
    return Program(meta_module(architecture, shape, int(sizes[1])), parts, recipe, *sizes)


class Run:
    """One pack's data and settings."""

    def __init__(self, pack: Pack, source: PluginLookup, device: torch.device) -> None:
        cell = pack.cells[0]
        self.pack, self.device = pack, device
        self.architecture = source.architecture(cell.architecture)
        self.parts = source.regularizer(cell.regularizer)
        signals = {
            name: source.signal(name) for name in {parse_signal(c.signal)[0] for c in pack.cells}
        }
        redraw = any(p.redraw for p in self.parts)
        self.lanes = PackData(pack, source.dataset(cell.dataset), signals, redraw, device)
        self.probing = Probing(
            tuple(source.probe(name) for name in pack.probes), self.lanes, pack.recipe
        )
        self.steps = self.lanes.per_epoch * pack.recipe.epochs

    def program(self, probes: tuple[Regularizer, ...] = ()) -> Program:
        """The regularizer's step, and what probes carry along in it."""
        lanes, parts = self.lanes, (*self.parts, *probes)
        scale = 1.0 if lanes.images.dtype == np.uint8 else 1 / 255
        sizes = (self.steps, lanes.num_classes, self.pack.split.train, scale)
        return shared_program(self.architecture, lanes.shape, parts, self.pack.recipe, *sizes)

    def trainer(self) -> Trainer:
        """The stacked lanes at step 0."""
        lanes, program = self.lanes, self.program(self.probing.parts)
        strengths = self.probing.strengths(lanes.strengths)
        return Trainer(
            program, lanes.weights(self.architecture), strengths, lanes.draw_keys, lanes.data
        )

    def train(self, trainer: Trainer, cost: float, on_progress: Progress) -> Curves:
        """All epochs, read when it is due."""
        budget, (read, tested) = self.pack.recipe.epochs, self._due(cost)
        curves = Curves()
        for epoch in range(1, budget + 1):
            trainer.train_epoch(self.lanes.order(epoch))
            if epoch in read:
                self._read(trainer, curves, epoch, test=epoch in tested)
            on_progress(epoch / budget)
        return curves

    def _due(self, cost: float) -> tuple[set[int], set[int]]:
        """The epochs at which the cells are read, and those of them at which test is, too: at the budget always."""
        budget = self.pack.recipe.epochs
        if self.pack.read:
            return {*self.pack.read, budget}, {budget}
        if not self.parts:  # `none` is a control at each of them
            return set(control_epochs(budget)), set(control_epochs(budget))
        equal = max(1, round(budget / cost))
        return {*checkpoints(budget), equal}, {equal, budget}

    def _read(self, trainer: Trainer, curves: Curves, epoch: int, test: bool) -> None:
        """Evaluate all lanes once and append to the curves."""
        now = trainer.readout()
        evaluate = lambda split: trainer.evaluate(
            self.lanes.rows[split], self.lanes.labels[split], now
        )  # noqa: E731
        right, loss, finite = evaluate("train")
        bits = right.cpu().numpy()
        curves.epochs.append(epoch)
        curves.train.append(bits.mean(axis=1))
        curves.loss.append(loss.cpu().numpy().astype(np.float64))
        wrong = np.stack([s.wrong for s in self.lanes.samples])
        curves.wrong.append((bits & wrong).sum(axis=1) / np.maximum(wrong.sum(axis=1), 1))
        val, _, finite_val = evaluate("val")
        curves.val.append(val.cpu().numpy().mean(axis=1))
        curves.finite = (finite & finite_val).cpu().numpy()
        curves.train_bits = bits
        curves.test.append(None)
        if test:
            right, _, finite_test = evaluate("test")
            curves.test_bits = right.cpu().numpy()
            curves.test[-1] = curves.test_bits.mean(axis=1)
            curves.finite = curves.finite & finite_test.cpu().numpy()
        self.probing.read(trainer, epoch, now)

    def records(
        self, trainer: Trainer, curves: Curves, cost: float, seconds: float
    ) -> list[Record]:
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
            "num_classes": self.lanes.num_classes,
            "num_train": self.pack.split.train,
            "num_test": self.pack.split.test,
        }
        return [
            self._record(lane, curves, int(died[lane]), shared)
            for lane in range(len(self.pack.cells))
        ]

    def _record(self, lane: int, curves: Curves, died: int, shared: dict) -> Record:
        cell, s = self.pack.cells[lane], self.lanes.samples[lane]
        values = {
            f: getattr(cell, f)
            for f in ("dataset", "architecture", "regularizer", "strength", "signal", "seed")
        }
        values |= {"key": self.pack.keys[lane], "id": cell.id, "arrays": s.digest, **shared}
        values |= {"num_wrong": int(s.wrong.sum()), "steps": self.steps if died < 0 else died}
        values["label_share"] = float(np.bincount(s.train.y).max() / len(s.train.y))
        if died >= 0 or not curves.finite[lane]:
            where = f"loss at step {died}" if died >= 0 else "weights or logits at the end"
            return Record(
                status="diverged", reason=f"not finite: {where}", **{**values, "epochs": ()}
            )
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
            probes=self.probing.stored(lane),
            **values,
        )

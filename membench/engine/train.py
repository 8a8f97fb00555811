"""Train a pack and make its records: build the lanes, train them, read them at the checkpoints.

`train_pack` is what a worker calls. `Run` holds one pack's data and settings; `Curves` holds what
was read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cache
from functools import partial
from itertools import accumulate
from typing import Any
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from membench.api import Architecture
from membench.api import Dataset
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.data import pack_bits
from membench.engine import card
from membench.engine import costs
from membench.engine.capture import is_out_of_memory
from membench.engine.counter import tree_bytes
from membench.engine.environment import environment
from membench.engine.environment import precision
from membench.engine.network import Shape
from membench.engine.network import meta_module
from membench.engine.numerics import numerics_digest
from membench.engine.pack_data import PackData
from membench.engine.pack_data import draw_runs
from membench.engine.pack_data import image_bytes
from membench.engine.probing import Probing
from membench.engine.schedule import epochs_to_read
from membench.engine.step import Program
from membench.engine.step import RunSizes
from membench.engine.trainer import Trainer
from membench.planning.packs import Pack
from membench.planning.packs import split_pack
from membench.probes import Probe
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal

Progress = Callable[[float], None]  #: called with the share of the work that is done, in [0, 1]


class PluginLookup(Protocol):
    """The part of the registry that the engine needs: the live records by name."""

    def regularizer(self, name: str) -> tuple[Regularizer, ...]:
        """Return the regularizer's parts; () for `none`."""

    def architecture(self, name: str) -> Architecture:
        """Return an architecture."""

    def signal(self, name: str) -> Signal:
        """Return a signal; the name has no level."""

    def dataset(self, name: str) -> Dataset:
        """Return a data set."""

    def optimizer(self, name: str) -> Optimizer:
        """Return an optimizer."""

    def probe(self, name: str) -> Probe:
        """Return a probe."""


@dataclass(kw_only=True)
class Curves:
    """The readings of the lanes so far: lists over checkpoints of [L] arrays, and the last bits."""

    epochs: list[int] = field(default_factory=list)
    train: list[NDArray[Any]] = field(default_factory=list)  #: accuracy on the labels as given
    loss: list[NDArray[Any]] = field(default_factory=list)
    val: list[NDArray[Any]] = field(default_factory=list)
    test: list[NDArray[Any] | None] = field(default_factory=list)  #: None where it was not read
    wrong: list[NDArray[Any]] = field(default_factory=list)  #: share of the wrong labels predicted
    finite: NDArray[np.bool_]  #: [L], at the last checkpoint
    train_correct: NDArray[np.bool_]  #: [L, n], at the last checkpoint
    test_correct: NDArray[np.bool_]  #: [L, m], at the last checkpoint at which test was read


def train_pack(
    pack: Pack, plugins: PluginLookup, device: str, on_progress: Progress = lambda share: None
) -> list[Record]:
    """Train a pack's cells, stacked.

    Args:
        pack: the cells and how to train them.
        plugins: where their records are looked up.
        device: torch's name of it.
        on_progress: called when the training begins, and after each epoch.

    Returns:
        One record a cell, in the pack's order.

    Raises:
        MembenchError: a plugin broke the contract. Anything else that a plugin raises passes
        through.
    """
    torch_device = torch.device(device)
    records: list[Record] = []
    too_wide = 0  # lanes that were too many for the memory
    with precision(pack.compiled, pack.precision):
        parts = deque(_split_to_memory(pack, plugins, torch_device))
        while parts:
            part = parts.popleft()
            report = partial(
                _report_part,
                on_progress,
                before=len(records),
                in_part=len(part.cells),
                in_all=len(pack.cells),
            )
            trained = _train_if_memory_allows(part, plugins, torch_device, report)
            if trained is None:
                too_wide = len(part.cells)
                rest = replace(
                    pack, cells=pack.cells[len(records) :], keys=pack.keys[len(records) :]
                )
                parts = deque(split_pack(rest, -(-too_wide // 2)))
                costs.release_memory(torch_device)
            elif too_wide:
                note = f"out of memory at {too_wide} lanes: trained {len(part.cells)} at a time"
                records += [_add_note(record, note) for record in trained]
            else:
                records += trained
    return records


def _train_if_memory_allows(
    pack: Pack, plugins: PluginLookup, device: torch.device, on_progress: Progress
) -> list[Record] | None:
    """Train cells together; None where the memory is short and they may be fewer."""
    try:
        return _train_part(pack, plugins, device, on_progress)
    except Exception as error:
        if len(pack.cells) == 1 or not is_out_of_memory(error):
            raise
    return None


def _add_note(record: Record, note: str) -> Record:
    """Append to the reason of a record, which is empty or another note."""
    return replace(record, reason=f"{record.reason}; {note}" if record.reason else note)


def _report_part(
    on_progress: Progress, share: float, *, before: int, in_part: int, in_all: int
) -> None:
    """Report the progress of a part of a pack as the pack's."""
    on_progress((before + share * in_part) / in_all)


def _split_to_memory(pack: Pack, plugins: PluginLookup, device: torch.device) -> list[Pack]:
    """Return the pack; where memory is short, as on a GPU, parts of it that fit."""
    free_bytes = costs.free_memory(device)
    if free_bytes is None:
        return [pack]
    one = Run(split_pack(pack, 1)[0], plugins, torch.device("cpu"))
    tensors = one.data.tensors
    data_bytes = tree_bytes(
        (tensors.rows, tensors.labels, tensors.clean, one.data.rows, one.data.labels)
    )
    data_bytes += 2 * tree_bytes(one.data.order(1))  # of this epoch and of the next
    program = one.program(one.probing.parts)
    lane_bytes = data_bytes + costs.lane_memory(program, one.data.shape)
    dataset = plugins.dataset(pack.cells[0].dataset)
    runs = draw_runs(pack, dataset, _signals(pack, plugins))

    def fits(part: Pack, first: int) -> bool:
        lanes = len(part.cells)
        shared_bytes = image_bytes(one.data.images, runs[first : first + lanes])
        return shared_bytes + lanes * lane_bytes <= free_bytes

    for max_lanes in range(min(len(pack.cells), max(1, free_bytes // lane_bytes)), 0, -1):
        parts = split_pack(pack, max_lanes)
        firsts = [0, *accumulate(len(part.cells) for part in parts)]
        if all(fits(part, first) for part, first in zip(parts, firsts, strict=False)):
            return parts
    return split_pack(pack, 1)  # they may fit after all: the count is a little too high


def _signals(pack: Pack, plugins: PluginLookup) -> dict[str, Signal]:
    """Look up the signals of a pack's cells, by name, without level."""
    names = {parse_signal(cell.signal)[0] for cell in pack.cells}
    return {name: plugins.signal(name) for name in names}


def _train_part(
    pack: Pack, plugins: PluginLookup, device: torch.device, on_progress: Progress
) -> list[Record]:
    """Train cells that fit into memory together, and make their records."""
    started = time.perf_counter()
    run = Run(pack, plugins, device)
    trainer = run.trainer()
    cost, note = costs.relative_cost(run.program(), run.data.shape), ""
    if cost is None:
        cost, note = 1.0, "the arithmetic of its step cannot be counted: it counts as the plain one"
    if run.is_compiled:
        note = trainer.compile(run.data.order(1))
    elif pack.compiled:
        note = trainer.capture(run.data.order(1))
    on_progress(0.0)
    curves = run.train(trainer, cost, on_progress)
    seconds = (time.perf_counter() - started) / len(pack.cells)
    records = run.records(trainer, curves, cost, seconds)
    return [replace(record, reason=record.reason or note) for record in records]


@cache
def shared_program(
    architecture: Architecture,
    shape: Shape,
    parts: tuple[Regularizer, ...],
    recipe: Recipe,
    optimizer: Optimizer,
    sizes: RunSizes,
) -> Program:
    """Return one object for all packs of a program in this process, so that it is compiled once.

    Args:
        architecture: the network.
        shape: of an image, [c, h, w].
        parts: the regularizer's parts.
        recipe: how it is trained.
        optimizer: the one that the recipe names.
        sizes: the run's other numbers.
    """
    module = meta_module(architecture, shape, sizes.num_classes)
    return Program(module=module, parts=parts, recipe=recipe, optimizer=optimizer, sizes=sizes)


class Run:
    """One pack's data and settings: makes its trainer, trains it and makes the records."""

    def __init__(self, pack: Pack, plugins: PluginLookup, device: torch.device) -> None:
        """Load the pack's data and look its plugins up.

        Args:
            pack: cells of one program.
            plugins: where their records are looked up.
            device: where they are trained.
        """
        cell = pack.cells[0]
        self.pack, self.device = pack, device
        self.architecture = plugins.architecture(cell.architecture)
        self.parts = plugins.regularizer(cell.regularizer)
        self.optimizer = plugins.optimizer(pack.recipe.optimizer)
        redraw = any(part.redraw for part in self.parts)
        dataset, signals = plugins.dataset(cell.dataset), _signals(pack, plugins)
        self.data = PackData(pack, dataset, signals, redraw, device)
        probes = tuple(plugins.probe(name) for name in pack.probes)
        self.probing = Probing(probes, self.data, pack.recipe)
        self.steps = self.data.steps_per_epoch * pack.recipe.epochs

    @property
    def is_compiled(self) -> bool:
        """Tell whether Inductor compiles the step: if requested, and on a GPU if it pays.

        A GPU captures the eager step otherwise. What decides is the plain step of the task, so that
        `none` and every entry are trained in one environment.
        """
        if not self.pack.compiled or self.device.type == "cpu":
            return self.pack.compiled
        plain = costs.count_step(replace(self.program(), parts=()), self.data.shape)
        return card.compiling_pays(plain.kernels, plain.bytes, self.steps)

    def program(self, probe_parts: tuple[Regularizer, ...] = ()) -> Program:
        """Return the regularizer's step, with the parts that carry probes' states in it."""
        sizes = RunSizes(
            steps=self.steps,
            num_classes=self.data.num_classes,
            num_examples=self.pack.split.train,
            pixel_scale=1.0 if self.data.images.dtype == np.uint8 else 1 / 255,
        )
        parts = (*self.parts, *probe_parts)
        return shared_program(
            self.architecture, self.data.shape, parts, self.pack.recipe, self.optimizer, sizes
        )

    def trainer(self) -> Trainer:
        """Return the stacked lanes at step 0."""
        return Trainer(
            self.program(self.probing.parts),
            self.data.weights(self.architecture),
            self.probing.strengths(self.data.strengths),
            self.data.draw_keys,
            self.data.tensors,
        )

    def train(self, trainer: Trainer, cost: float, on_progress: Progress) -> Curves:
        """Train all epochs and read the lanes when it is due.

        Args:
            trainer: the lanes at step 0.
            cost: arithmetic of a step over that of the plain step.
            on_progress: called after each epoch.
        """
        lanes, split = len(self.pack.cells), self.pack.split
        curves = Curves(
            finite=np.ones(lanes, dtype=bool),
            train_correct=np.zeros((lanes, split.train), dtype=bool),
            test_correct=np.zeros((lanes, split.test), dtype=bool),
        )
        budget = self.pack.recipe.epochs
        read_epochs, test_epochs = epochs_to_read(
            budget, plain=not self.parts, cost=cost, read=self.pack.read
        )
        order = self.data.order(1)
        for epoch in range(1, budget + 1):
            trainer.train_epoch(order)
            if epoch < budget:
                order = self.data.order(epoch + 1)  # while a GPU is busy with this one
            if epoch in read_epochs:
                self._read(trainer, curves, epoch, test=epoch in test_epochs)
            on_progress(epoch / budget)
        return curves

    def _read(self, trainer: Trainer, curves: Curves, epoch: int, test: bool) -> None:
        """Evaluate all lanes once and append to the curves."""
        rows, labels = self.data.rows, self.data.labels
        readout = trainer.readout()
        train = trainer.evaluate(rows["train"], labels["train"], readout)
        train_correct = train.correct.cpu().numpy()
        curves.epochs.append(epoch)
        curves.train.append(train_correct.mean(axis=1))
        curves.loss.append(train.loss.cpu().numpy().astype(np.float64))
        wrong = np.stack([of_lane.wrong for of_lane in self.data.runs])
        predicted = (train_correct & wrong).sum(axis=1)
        curves.wrong.append(predicted / np.maximum(wrong.sum(axis=1), 1))
        val = trainer.evaluate(rows["val"], labels["val"], readout)
        curves.val.append(val.correct.cpu().numpy().mean(axis=1))
        curves.finite = (train.finite & val.finite).cpu().numpy()
        curves.train_correct = train_correct
        if test:
            result = trainer.evaluate(rows["test"], labels["test"], readout)
            curves.test_correct = result.correct.cpu().numpy()
            curves.test.append(curves.test_correct.mean(axis=1))
            curves.finite = curves.finite & result.finite.cpu().numpy()
        else:
            curves.test.append(None)
        self.probing.read(trainer, epoch, readout)

    def records(
        self, trainer: Trainer, curves: Curves, cost: float, seconds: float
    ) -> list[Record]:
        """Make the records of the lanes.

        Args:
            trainer: the lanes after training.
            curves: what was read of them.
            cost: arithmetic of a step over that of the plain step.
            seconds: wall-clock time, divided by the number of lanes.

        Returns:
            One record a lane.
        """
        versions = environment(self.device, self.is_compiled, captured=self.pack.compiled)
        diverged_at = trainer.state["diverged_at"].cpu().numpy()
        shared = {
            "env": digest(versions),
            "versions": versions,
            "numerics": numerics_digest(self.device, self.is_compiled),
            "epochs": tuple(curves.epochs),
            "cost": round(cost, 4),
            "pack": self.pack.id,
            "seconds": round(seconds, 3),
            "num_classes": self.data.num_classes,
            "num_train": self.pack.split.train,
            "num_test": self.pack.split.test,
        }
        return [
            self._record(lane, curves, int(diverged_at[lane]), shared)
            for lane in range(len(self.pack.cells))
        ]

    def _record(
        self, lane: int, curves: Curves, diverged_at: int, shared: dict[str, Any]
    ) -> Record:
        """Make one lane's record from the curves and the fields that all lanes share."""
        cell, run = self.pack.cells[lane], self.data.runs[lane]
        values: dict[str, Any] = {
            "key": self.pack.keys[lane],
            "id": cell.id,
            "dataset": cell.dataset,
            "architecture": cell.architecture,
            "regularizer": cell.regularizer,
            "strength": cell.strength,
            "signal": cell.signal,
            "seed": cell.seed,
            "arrays": run.digest,
            "num_wrong": int(run.wrong.sum()),
            "label_share": float(np.bincount(run.train.y).max() / len(run.train.y)),
            "steps": self.steps if diverged_at < 0 else diverged_at,
            **shared,
        }
        if diverged_at >= 0 or not curves.finite[lane]:
            at_step = f"loss at step {diverged_at}"
            where = at_step if diverged_at >= 0 else "weights or logits at the end"
            values["epochs"] = ()
            return Record(status="diverged", reason=f"not finite: {where}", **values)
        no_wrong: tuple[None, ...] = (None,) * len(curves.epochs)
        return Record(
            status="ok",
            train=_of_lane(curves.train, lane),
            loss=_of_lane(curves.loss, lane),
            val=_of_lane(curves.val, lane),
            test=tuple(None if test is None else float(test[lane]) for test in curves.test),
            wrong=_of_lane(curves.wrong, lane) if run.wrong.any() else no_wrong,
            train_bits=pack_bits(curves.train_correct[lane]),
            test_bits=pack_bits(curves.test_correct[lane]),
            probes=self.probing.stored(lane),
            **values,
        )


def _of_lane(curve: Sequence[NDArray[Any]], lane: int) -> tuple[float, ...]:
    """Return one lane's value at each checkpoint."""
    return tuple(float(values[lane]) for values in curve)

"""Made-up manifests and records with the shape of real ones: the report's tests feed them to the real `score()`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal

GRID = (0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Effect:
    """What a made-up regularizer does at its full strength, as shares."""

    name: str
    group: str
    noise: float  #: of the noise fit taken away
    real: float  #: real accuracy lost
    cost: float = 1.0
    summary: str = "Changes the step."
    source: str = "Someone et al. 2017, arXiv:1706.05394"


EFFECTS = (
    Effect("dropout", "model", 0.9, 0.05),
    Effect(
        "mixup", "data", 0.8, 0.02, summary="Trains on convex pairs of examples and their labels."
    ),
    Effect("label-smoothing", "loss", 0.45, 0.01),
)


def manifest(
    effects: Iterable[Effect] = EFFECTS,
    *,
    tasks: tuple[str, ...] = ("mnist5k/mlp", "mnist5k/cnn"),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    suite: str = "quick",
    epochs: int = 40,
    levels: tuple[float, ...] = (0.4,),
    further: tuple[str, ...] = (),
) -> Manifest:
    """A suite over these regularizers, the low rate and the placebo."""
    signals = ("real", *(f"mixed@{p:g}" for p in levels), "randY", *further)
    entries = (
        Entry("none", "control", ((),), summary="The plain network.", origin="none.py"),
        *(
            Entry(
                e.name,
                e.group,
                tuple((s,) for s in GRID),
                ("hidden",),
                e.summary,
                e.source,
                f"{e.name}.py",
            )
            for e in effects
        ),
        Entry(
            "low-lr",
            "control",
            ((0.3333333,), (0.1,), (0.0333333,)),
            ("grads",),
            "A lower rate.",
            "",
            "low-lr.py",
        ),
        Entry(
            "placebo",
            "control",
            tuple((float(k),) for k in range(1, 6)),
            (),
            "Other draws.",
            "",
            "placebo.py",
        ),
    )
    cells = [
        Cell(*task.split("/"), entry.name, strength, signal, seed)
        for task in tasks
        for entry in entries
        for strength in dict.fromkeys((*entry.strengths, *entry.full))
        for signal in signals
        for seed in seeds
    ]
    return Manifest(
        suite=suite,
        version=1,
        tasks=tasks,
        signals=signals,
        seeds=seeds,
        recipes={
            task: {"optimizer": "sgd", "lr": 0.05, "batch": 100, "epochs": epochs} for task in tasks
        },
        datasets={task.split("/")[0]: digest(task.split("/")[0]) for task in tasks},
        entries=entries,
        cells={cell.id: digest(cell.id) for cell in cells},
    )


def records(plan: Manifest, effects: Iterable[Effect] = EFFECTS, images: int = 200) -> list[Record]:
    """One record a cell, from smooth curves and a little noise."""
    known = {e.name: e for e in effects}
    entries = {e.name: e for e in plan.entries}
    made = []
    for cell in _cells(plan):
        effect = known.get(cell.regularizer, Effect(cell.regularizer, "control", 0.0, 0.0))
        entry = entries[cell.regularizer]
        grid = entry.strengths if cell.strength in entry.strengths else entry.full
        force = (grid.index(cell.strength) + 1) / len(grid) if cell.strength else 0.0
        made.append(_record(plan, cell, effect, force, images))
    return made


def broken(
    record: Record, status: str = "failed", reason: str = "RuntimeError: out of luck"
) -> Record:
    """The same cell, as it looks when it did not end well."""
    return replace(
        record,
        status=status,
        reason=reason,
        epochs=(),
        train=(),
        loss=(),
        val=(),
        test=(),
        wrong=(),
        test_bits="",
    )


def _cells(plan: Manifest) -> list[Cell]:
    cells = []
    for task in plan.tasks:
        for entry in plan.entries:
            for strength in dict.fromkeys((*entry.strengths, *entry.full)):
                for signal in plan.signals:
                    cells += [
                        Cell(*task.split("/"), entry.name, strength, signal, seed)
                        for seed in plan.seeds
                    ]
    return cells


def _record(plan: Manifest, cell: Cell, effect: Effect, force: float, images: int) -> Record:
    budget = plan.recipes[cell.task]["epochs"]
    epochs = (
        control_epochs(budget) if cell.regularizer in ("none", "low-lr") else checkpoints(budget)
    )
    rng = np.random.default_rng(int(digest([cell.id])[:12], 16))
    name, level = parse_signal(cell.signal)
    slow = cell.strength[0] if cell.regularizer == "low-lr" else 1.0
    done = np.asarray(epochs) * slow / budget
    cnn = cell.architecture == "cnn"
    top = 0.955 if cnn else 0.915
    fitted = 0.1 + 0.9 * (1 - np.exp(-9 * done)) * (1 - effect.noise * force**1.3)
    learned = (
        (top - 0.1) * (1 - np.exp(-60 * done))
        + 0.1
        - effect.real * force**3
        + 0.01 * effect.noise * force
    )
    wrong = np.clip(fitted * (1.0 if name == "randY" else 0.99), 0.02, 0.999)
    hurt = learned - (level or 0.0) * 0.7 * wrong**1.5
    accuracy = {"randY": np.full(len(epochs), 0.1)}.get(name, hurt if level else learned)
    train = {"randY": fitted}.get(
        name, 1 - (level or 0) * (1 - wrong) if level else np.minimum(1, learned + 0.08)
    )
    jitter = rng.normal(0, 0.004)
    right = rng.permutation(np.linspace(0, 1, images)) < accuracy[-1] + jitter
    curve = np.clip(accuracy + jitter, 0, 1)
    return Record(
        key=plan.cells[cell.id],
        env=digest("env"),
        id=cell.id,
        dataset=cell.dataset,
        architecture=cell.architecture,
        regularizer=cell.regularizer,
        strength=cell.strength,
        signal=cell.signal,
        seed=cell.seed,
        status="ok",
        epochs=epochs,
        train=tuple(np.clip(train, 0, 1).tolist()),
        loss=tuple((2.3 * (1 - np.clip(train, 0, 1)) + 0.001).tolist()),
        val=tuple(np.round(curve, 3).tolist()),
        test=(*np.round(curve[:-1], 3).tolist(), float(right.mean())),
        wrong=tuple(np.clip(wrong, 0, 1).tolist()) if level else (None,) * len(epochs),
        train_bits="",
        test_bits=np.packbits(right).tobytes().hex(),
        num_classes=10,
        num_train=1000,
        num_test=images,
        num_wrong=round(1000 * level * 0.9) if level else 0,
        label_share=0.12,
        cost=effect.cost,
        steps=budget * 10,
        arrays=digest(cell.signal),
        pack=f"{cell.task}/{cell.regularizer} x15",
        seconds=1.0 + rng.random(),
        versions={
            "membench": "0.1.0",
            "torch": "2.9.1",
            "device": "cpu",
            "precision": "float32",
            "threads": 2,
        },
    )

"""Made-up manifests and records with the shape of real ones, for the tests of the report.

The records go through the real `score()`. Their curves are smooth, with a little noise that follows
from each cell's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs
from membench.records import Cell
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.records import parse_signal
from membench.scoring import choose
from membench.scoring.types import FULL
from support.records import make_record

GRID = (0.1, 0.2, 0.4, 0.6, 0.8)
STEPS = 10  #: an epoch

Floats = NDArray[np.float64]


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
    Effect("dropout", "model", noise=0.9, real=0.05),
    Effect(
        "mixup",
        "data",
        noise=0.8,
        real=0.02,
        summary="Trains on convex pairs of examples and their labels.",
    ),
    Effect("label-smoothing", "loss", noise=0.45, real=0.01),
)


@dataclass(frozen=True)
class Machine:
    """An environment in which a suite was run."""

    name: str = "one"  #: decides the environment's hash
    entries: tuple[str, ...] | None = None  #: those trained there, with `none`; None = all

    @property
    def versions(self) -> dict[str, object]:
        """What `Record.versions` holds."""
        return {
            "membench": "0.1.0",
            "torch": "2.9.1",
            "device": "cpu",
            "precision": "float32",
            "threads": 2,
            "instructions": self.name,
        }

    @property
    def env(self) -> str:
        """The hash of the environment."""
        return digest(self.versions)

    def trains(self, entry: str) -> bool:
        """Tell whether an entry is trained there."""
        return self.entries is None or entry in (*self.entries, "none")


MACHINE = Machine()


def manifest(
    effects: Sequence[Effect] = EFFECTS,
    *,
    tasks: tuple[str, ...] = ("mnist5k/mlp", "mnist5k/cnn"),
    choosing: tuple[int, ...] = (0, 1, 2),
    confirming: tuple[int, ...] = (3, 4, 5, 6, 7),
    suite: str = "quick",
    epochs: int = 40,
    levels: tuple[float, ...] = (0.4,),
    further: tuple[str, ...] = (),
    signals: tuple[str, ...] = (),
    noisy: tuple[str, ...] = (),
    images: int = 200,
    machines: Sequence[Machine] = (MACHINE,),
) -> Manifest:
    """Plan both phases over `none`, these regularizers, the low rate and the placebo.

    Args:
        effects: the regularizers.
        tasks: "data set/architecture".
        choosing: seeds of all strengths.
        confirming: seeds of the strengths that each machine's records choose.
        suite: its name.
        epochs: the budget.
        levels: of label noise.
        further: signals beside real, the label noise and randY.
        signals: all of them, in place of those.
        noisy: those of label noise that are scored, where none is mixed@p.
        images: in the test set, as for `records`.
        machines: that run the suite.
    """
    signals = signals or ("real", *(f"mixed@{level:g}" for level in levels), "randY", *further)
    entries = _entries(effects)
    recipe = {"optimizer": "sgd", "lr": 0.05, "batch": 100, "epochs": epochs}
    datasets = [task.partition("/")[0] for task in tasks]
    plan = Manifest(
        suite=suite,
        version=1,
        tasks=tasks,
        signals=signals,
        choosing=choosing,
        confirming=confirming,
        recipes=dict.fromkeys(tasks, recipe),
        datasets={name: digest(name) for name in datasets},
        entries=entries,
        cells={},
        envs=tuple(machine.env for machine in machines),
        noisy=noisy,
    )
    planned = [cell for cell in _cells(plan) if not cell.strength or cell.seed in choosing]
    first_phase = replace(plan, cells=_with_keys(planned))
    for machine in machines:
        choices = choose(first_phase, records(first_phase, effects, images, [machine]))
        for cell in _cells(plan):
            for name in (cell.regularizer, cell.regularizer + FULL):
                choice = choices.get((cell.task, name))
                if choice and cell.seed in confirming and cell.strength in choice.strengths:
                    planned.append(cell)
    return replace(plan, cells=_with_keys(planned))


def records(
    plan: Manifest,
    effects: Sequence[Effect] = EFFECTS,
    images: int = 200,
    machines: Sequence[Machine] = (MACHINE,),
) -> list[Record]:
    """Make one record for each cell of the plan, on each machine that trains its entry.

    Args:
        plan: the cells.
        effects: what the regularizers do; others do nothing.
        images: in the test set.
        machines: that run the suite.
    """
    effect_of = {effect.name: effect for effect in effects}
    entry_of = {entry.name: entry for entry in plan.entries}
    made = []
    for cell in _cells(plan):
        if cell.id not in plan.cells:
            continue
        nothing = Effect(cell.regularizer, "control", noise=0.0, real=0.0)
        effect = effect_of.get(cell.regularizer, nothing)
        entry = entry_of[cell.regularizer]
        grid = entry.strengths if cell.strength in entry.strengths else entry.full
        force = (grid.index(cell.strength) + 1) / len(grid) if cell.strength else 0.0
        for machine in machines:
            if machine.trains(cell.regularizer):
                made.append(_record(plan, cell, effect, force, images, machine))
    return made


def broken(
    record: Record, status: str = "failed", reason: str = "RuntimeError: out of luck"
) -> Record:
    """Return the record as it looks when its cell did not end well.

    Args:
        record: of the same cell, well ended.
        status: how it ended.
        reason: why.
    """
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


def _entries(effects: Sequence[Effect]) -> tuple[Entry, ...]:
    entries = [
        Entry(
            name="none",
            group="control",
            strengths=((),),
            summary="The plain network.",
            origin="none.py",
        )
    ]
    for effect in effects:
        entry = Entry(
            name=effect.name,
            group=effect.group,
            strengths=tuple((strength,) for strength in GRID),
            acts_on=("hidden",),
            summary=effect.summary,
            source=effect.source,
            origin=f"{effect.name}.py",
        )
        entries.append(entry)
    low_rate = Entry(
        name="low-lr",
        group="control",
        strengths=((80.0,), (40.0,), (24.0,), (16.0,), (10.0,)),  # plain steps
        acts_on=("grads",),
        summary="A lower rate.",
        origin="low-lr.py",
    )
    placebo = Entry(
        name="placebo",
        group="control",
        strengths=((1.0,), (2.0,), (3.0,), (4.0,), (5.0,)),
        summary="Other draws.",
        origin="placebo.py",
    )
    return (*entries, low_rate, placebo)


def _cells(plan: Manifest) -> list[Cell]:
    """List the cells of all strengths at all seeds, but not where an entry cannot act."""
    cells = []
    for task in plan.tasks:
        dataset, architecture = task.split("/")
        for entry in plan.entries:
            if task in entry.skipped:
                continue
            for strength in dict.fromkeys((*entry.strengths, *entry.full)):
                for signal in plan.signals:
                    for seed in plan.seeds:
                        cell = Cell(
                            dataset=dataset,
                            architecture=architecture,
                            regularizer=entry.name,
                            strength=strength,
                            signal=signal,
                            seed=seed,
                        )
                        cells.append(cell)
    return cells


def _with_keys(cells: Sequence[Cell]) -> dict[str, str]:
    return {cell.id: digest(cell.id) for cell in cells}


@dataclass(frozen=True)
class _Curves:
    """Accuracies at the checkpoints [e], as shares."""

    train: Floats  #: on the training labels as given
    clean: Floats  #: on clean images
    wrong: Floats  #: of the wrong labels predicted as given


def _curves(cell: Cell, done: Floats, effect: Effect, force: float) -> _Curves:
    """Make smooth curves of a cell.

    Args:
        cell: its architecture sets the top, its signal the noise.
        done: share of the budget that is spent at each checkpoint [e].
        effect: of the regularizer at full strength.
        force: the share of the full strength.
    """
    signal, level = parse_signal(cell.signal)
    noise_fit = 0.1 + 0.9 * (1 - np.exp(-9 * done)) * (1 - effect.noise * force**1.3)
    top = 0.955 if cell.architecture == "cnn" else 0.915
    learned = (
        (top - 0.1) * (1 - np.exp(-60 * done))
        + 0.1
        - effect.real * force**3
        + 0.01 * effect.noise * force
    )
    if signal == "randY":
        wrong = np.clip(noise_fit, 0.02, 0.999)
        return _Curves(train=noise_fit, clean=np.full(len(done), 0.1), wrong=wrong)
    wrong = np.clip(noise_fit * 0.99, 0.02, 0.999)
    if level:
        hurt = learned - level * 0.7 * wrong**1.5
        return _Curves(train=1 - level * (1 - wrong), clean=hurt, wrong=wrong)
    return _Curves(train=np.minimum(1, learned + 0.08), clean=learned, wrong=wrong)


def _record(
    plan: Manifest, cell: Cell, effect: Effect, force: float, images: int, machine: Machine
) -> Record:
    recipe = plan.recipes[cell.task]
    budget = recipe["epochs"]
    is_control = cell.regularizer in ("none", "low-lr")
    epochs = control_epochs(budget) if is_control else checkpoints(budget)
    if effect.cost > 1:  # where it has cost what `none` costs
        epochs = tuple(sorted({*epochs, max(1, round(budget / effect.cost))}))
    rate = 1.0  # as a share of the plain run's
    if cell.regularizer == "low-lr":
        rate = cell.strength[0] / (budget * STEPS)
    curves = _curves(cell, np.asarray(epochs) * rate / budget, effect, force)
    _, level = parse_signal(cell.signal)

    rng = np.random.default_rng(int(digest([cell.id, machine.name])[:12], 16))
    jitter = rng.normal(0, 0.004)
    right = rng.permutation(np.linspace(0, 1, images)) < curves.clean[-1] + jitter
    clean = np.round(np.clip(curves.clean + jitter, 0, 1), 3).tolist()
    # runs differ in how much noise they fit, where not all of them fit all of it
    spread = rng.normal(0, 0.02) * np.minimum(1, 5 * (1 - curves.wrong))
    train = np.clip(curves.train + spread * (level or 1 if cell.signal != "real" else 0), 0, 1)
    wrong = tuple(np.clip(curves.wrong + spread, 0, 1).tolist())
    return make_record(
        cell,
        key=plan.cells[cell.id],
        env=machine.env,
        epochs=epochs,
        train=tuple(train.tolist()),
        loss=tuple((2.3 * (1 - train) + 0.001).tolist()),
        val=tuple(clean),
        test=(*clean[:-1], float(right.mean())),
        wrong=wrong if level else (None,) * len(epochs),
        test_bits=np.packbits(right).tobytes().hex(),
        num_train=1000,
        num_test=images,
        num_wrong=round(1000 * level * 0.9) if level else 0,
        label_share=0.12,
        cost=effect.cost,
        steps=budget * STEPS,
        arrays=digest(cell.signal),
        pack=f"{cell.task}/{cell.regularizer} x15",
        seconds=1.0 + rng.random(),
        versions=machine.versions,
    )

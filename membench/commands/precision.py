"""Choose the precision of each task's matrix products, once per task and machine.

On a CPU with AVX512-BF16 and without AMX, a short trial tells whether bfloat16 is the faster one
(`membench.engine.matmul_trial`). All cells of a task must be trained at one precision, or `none`
and an entry could not be paired. So the choice is, in this order:

1. what an earlier run has decided, by the file beside the records (`membench.store.decisions`);
2. the precision of the task's records that this machine made;
3. the outcome of the trial, which is then written to that file.

The driver tells a worker the choice with each pack. On other machines nothing is chosen, and
workers train at the usual precision (`membench.engine.environment.PRECISION`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from membench.api import Recipe
from membench.commands.words import say
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import ImageSize
from membench.planning.inputs import Strangers
from membench.records import digest
from membench.registry.registry import Registry
from membench.store.decisions import machine_of
from membench.store.decisions import read_decisions
from membench.store.decisions import record_decision
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.engine.machine import Machine
    from membench.engine.matmul_trial import Timings
    from membench.engine.products import Product

BFLOAT16, FLOAT32 = "medium", "highest"  #: torch's names of the precisions to choose between
_MAX_NAMES = 6  #: tasks that the header lists; of more, it says how many


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set and an architecture on which compiled cells are planned."""

    dataset: str
    architecture: str
    recipe: Recipe
    registry: Registry  #: as the cells see it
    keys: set[str] = field(default_factory=set)  #: of the planned cells
    strangers: Strangers | None = None  #: asked about plugins that do not ship

    @property
    def name(self) -> str:
        """Data set and architecture, as `mnist5k/mlp`."""
        return f"{self.dataset}/{self.architecture}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The precision of one task's products."""

    precision: str  #: torch's name of it
    speed: float | None = None  #: of bfloat16, in multiples of float32's; None: was not measured

    @property
    def decision(self) -> dict[str, Any]:
        """The fields that are stored."""
        if self.speed is None:
            return {"precision": self.precision}
        return {"precision": self.precision, "bfloat16_speed": round(self.speed, 2)}

    @classmethod
    def from_decision(cls, decision: Mapping[str, Any]) -> Choice:
        """Return the choice that `decision` has stored."""
        return cls(precision=decision["precision"], speed=decision.get("bfloat16_speed"))


def choose_precisions(
    tasks: Iterable[Task],
    store: Store,
    contents: Contents,
    *,
    machine: Machine,
    time_products: Callable[[Mapping[Product, int]], Timings],
    accept_all: bool = False,
    data_folder: Path | None = None,
    measure: bool = True,
) -> dict[str, Choice]:
    """Choose the precision of tasks; measure and store what was never decided.

    Args:
        tasks: all on which compiled cells are planned. One may be there more than once.
        store: beside whose records decisions are kept.
        contents: of the store.
        machine: of the workers.
        time_products: makes a trial there, as `membench.engine.matmul_trial.time_products`.
        accept_all: whether records of every environment count: without `--fresh`, or with
            `--accept-env`.
        data_folder: where data sets are; None = the default.
        measure: whether a trial may be made; without it, an undecided task has no choice.

    Returns:
        The choices by the tasks' names. A task without one trains at the usual precision, or has
        nothing to train.
    """
    if not machine.needs_trial:
        return {}
    environments = {
        precision: machine.environments(compiled=True, precision=precision)[0]
        for precision in (BFLOAT16, FLOAT32)
    }
    place = machine_of(environments[BFLOAT16], machine.processor)
    decisions = read_decisions(store, place)
    recorded = precisions_of_records(environments, contents)
    measured = {key for (key, _), r in contents.records.items() if r.status in MEASURED}
    choices: dict[str, Choice] = {}
    for name, task in _joined(tasks).items():
        nothing_to_train = accept_all and task.keys <= measured
        if "precision" in decisions.get(name, {}):
            choices[name] = Choice.from_decision(decisions[name])
        elif name in recorded:
            choices[name] = Choice(precision=recorded[name])
        elif measure and not nothing_to_train:
            say(f"measuring at which precision {name} is multiplied fastest here")
            outcome = _measure(task, data_folder, time_products)
            if outcome is not None:
                kept = record_decision(store, place, name, outcome.decision)
                choices[name] = Choice.from_decision(kept)
    return choices


def compiled_environments(
    choices: Mapping[str, Choice], machine: Machine
) -> list[Mapping[str, Any]]:
    """Return the environments of the workers that train tasks with these choices.

    Args:
        choices: by task, from `choose_precisions`.
        machine: of the workers.

    Returns:
        Those of each precision, bfloat16 first; the usual ones if nothing was chosen.
    """
    precisions = {choice.precision for choice in choices.values()} or {""}
    environments: list[Mapping[str, Any]] = []
    for precision in sorted(precisions, key=lambda precision: precision == FLOAT32):
        environments += machine.environments(compiled=True, precision=precision)
    return environments


def precisions_of_records(
    environments: Mapping[str, Mapping[str, Any]], contents: Contents
) -> dict[str, str]:
    """Return at which precision the tasks were trained that have records of these environments.

    Args:
        environments: precision -> environment.
        contents: of the store.

    Returns:
        The precision by task; that of most records, if merging stores has mixed two.
    """
    precision_of = {digest(environment): name for name, environment in environments.items()}
    counts: dict[str, Counter[str]] = {}
    for (_, env), record in contents.records.items():
        if env in precision_of:
            counts.setdefault(record.cell.task, Counter())[precision_of[env]] += 1
    return {task: count.most_common(1)[0][0] for task, count in counts.items()}


def describe_choices(choices: Mapping[str, Choice]) -> list[str]:
    """Return the lines for the header of a run: `bfloat16 products: 1.9x fp32 here`."""
    lines = []
    for precision in (BFLOAT16, FLOAT32):
        chosen = {name: c for name, c in choices.items() if c.precision == precision}
        if not chosen:
            continue
        speeds = sorted(c.speed for c in chosen.values() if c.speed is not None)
        line = "bfloat16 products: " if precision == BFLOAT16 else "fp32 products: bfloat16 is "
        if speeds:
            low, high = f"{speeds[0]:.1f}x", f"{speeds[-1]:.1f}x"
            line += (low if low == high else f"{low} to {high}") + " fp32 here"
        else:
            line = line.partition(":")[0] + ": as in the records here"
        if len(chosen) < len(choices):
            names = ", ".join(chosen) if len(chosen) <= _MAX_NAMES else f"{len(chosen)} tasks"
            line += f" ({names})"
        lines.append(line)
    return lines


def _joined(tasks: Iterable[Task]) -> dict[str, Task]:
    """Return the tasks by name; of several with one name the first, with the keys of all."""
    joined: dict[str, Task] = {}
    for task in tasks:
        first = joined.setdefault(task.name, task)
        first.keys.update(task.keys)
    return joined


def _measure(
    task: Task,
    data_folder: Path | None,
    time_products: Callable[[Mapping[Product, int]], Timings],
) -> Choice | None:
    """Return the choice that a trial gives; None if the task's step cannot be made."""
    from membench.engine import matmul_trial

    try:
        datasets = DatasetLoader(task.registry, data_folder, strangers=task.strangers)
        size = datasets.image_size(task.dataset)
        if size is None:
            return None
        counts = _plain_products(task, size)
    except Exception:  # foreign code may raise anything, and will say so when a pack is trained
        return None
    speed = matmul_trial.bfloat16_speed(counts, time_products(counts))
    return Choice(precision=matmul_trial.chosen_precision(speed), speed=speed)


def _plain_products(task: Task, size: ImageSize) -> Mapping[Product, int]:
    """Count the matrix products of a task's plain step, for inputs and classes of a size."""
    from membench.engine.matmul_trial import plain_products
    from membench.engine.products import Product

    registry, recipe = task.registry, task.recipe
    architecture = registry.entry("architectures", task.architecture)
    optimizer = registry.entry("optimizers", recipe.optimizer)
    if task.strangers is None or not (architecture.foreign_files or optimizer.foreign_files):
        return plain_products(
            registry.architecture(task.architecture),
            recipe,
            registry.optimizer(recipe.optimizer),
            *size,
        )
    counts: dict[Product, int] = {}
    for batch, m, k, n, first, second, count in task.strangers.products(
        architecture, optimizer, recipe, size
    ):
        transposed = bool(first), bool(second)
        counts[Product(batch=batch, m=m, k=k, n=n, transposed=transposed)] = count
    return counts

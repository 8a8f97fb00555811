"""The rows of the board: means of an entry's tasks, before ranks and claims."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from membench.scoring.comparisons import weighted
from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import estimate
from membench.scoring.equal_compute import mean_at_equal_compute
from membench.scoring.image_sampling import TaskImages
from membench.scoring.image_sampling import image_half
from membench.scoring.outcomes import Outcome
from membench.scoring.outcomes import interval
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.tasks import Site
from membench.scoring.tasks import TaskResult
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Confirmed
from membench.scoring.types import Excess
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Row

#: field of a row -> the control and the question
EXCESSES = {
    "excess_H": (TRAINING_LESS, "H"),
    "excess_R": (TRAINING_LESS, "R"),
    "stopping_H": (EARLY_STOPPING, "H"),
    "stopping_R": (EARLY_STOPPING, "R"),
}


@dataclass(frozen=True, kw_only=True)
class MeasuredRow:
    """A row with its numbers, and what the tests between rows need."""

    row: Row
    outcomes: dict[str, Outcome]  #: valid task -> what was read there
    weights: list[float]  #: w_t, in the same order
    #: field of the row -> one-sided p of that excess, not adjusted
    p_excess: dict[str, float] = field(default_factory=dict)

    @property
    def fewest_seeds(self) -> int:
        """The fewest confirming seeds that count on a valid task."""
        return min(len(outcome.seeds) for outcome in self.outcomes.values())

    def readings(self, name: str) -> list[Reading]:
        """Return the readings of one quantity, one a task, with weights.

        Args:
            name: "H", "dA" and "S" at the strengths chosen by noise held back, "R" and
                "dA_recovery" at those chosen by recovery.
        """
        readings = []
        for outcome in self.outcomes.values():
            at_recovery = name in ("R", "dA_recovery")
            measured = outcome.recovery if at_recovery else outcome.held_back
            readings.append(getattr(measured.readings, name.removesuffix("_recovery")))
        return weighted(readings, self.weights)

    @property
    def place(self) -> tuple[float, float, str]:
        """Sort by H, each task's cut at 1, from the largest; then by R, then by name."""
        H = sum(reading.weight * min(float(reading.value), 1.0) for reading in self.readings("H"))
        R = sum(reading.weight * float(reading.value) for reading in self.readings("R"))
        return (-H, -R, self.row.entry)


def readings_by_task(rows: Sequence[MeasuredRow], name: str) -> list[tuple[Reading, ...]]:
    """Return the readings of one quantity by task, then by row.

    Args:
        rows: of one board, so that all have the same tasks.
        name: as `MeasuredRow.readings` takes it.
    """
    return list(zip(*(row.readings(name) for row in rows), strict=True))


def environments_by_task(rows: Sequence[MeasuredRow]) -> list[tuple[str, ...]]:
    """Return the rows' environments by task, then by row."""
    by_row = [[outcome.env for outcome in row.outcomes.values()] for row in rows]
    return list(zip(*by_row, strict=True))


@dataclass(frozen=True, kw_only=True)
class ScoredRow:
    """A row before it has a rank: its tasks, where they were read, and their means."""

    name: str  #: of the row
    sites: dict[str, Site]  #: task -> where it is read
    results: dict[str, TaskResult]  #: by task
    row: Row  #: without ranks
    measured: MeasuredRow | None  #: None if it has no numbers


def make_row(
    name: str,
    group: str,
    results: Mapping[str, TaskResult],
    sites: Mapping[str, Site],
    gates: Sequence[Gate],
) -> Row | MeasuredRow:
    """Average a row's tasks; a `Row` with a reason if it has no numbers.

    Args:
        name: of the row.
        group: of the entry.
        results: task -> what the row gave there, valid or not.
        sites: task -> where that was read.
        gates: of the reference environments, with weights.
    """
    row = _count(name, group, results)
    weights = {gate.task: gate.weight for gate in gates if gate.valid}
    reason = _why_without_numbers(row, results, sites, gates, list(weights))
    if reason is not None:
        return replace(row, reason=reason.text, incomplete=reason.incomplete)
    outcomes = {}
    for task in weights:
        outcome = results[task].outcome
        if outcome is None:
            return replace(row, reason=f"cannot be measured on {task}")
        outcomes[task] = outcome
    return _average(row, outcomes, results, weights)


def with_excess(measured: MeasuredRow, sites: Mapping[str, Site]) -> MeasuredRow:
    """Return the row with its excess over both controls, paired, each at its own strengths.

    A control must be complete in the environment of the row on every valid task; else there is no
    excess over it.

    Args:
        measured: the row.
        sites: task -> where the row was read.
    """
    excesses: dict[str, Any] = {}
    p_excess = {}
    for name_of_field, (control, name) in EXCESSES.items():
        differences = _minus_control(measured, sites, control, name)
        if differences is None:
            continue
        value = interval(differences)
        excesses[name_of_field] = Excess(value=value)
        if value.half is not None:
            p_excess[name_of_field] = float(estimate(differences).p_above)
    return replace(measured, row=replace(measured.row, **excesses), p_excess=p_excess)


def _minus_control(
    measured: MeasuredRow, sites: Mapping[str, Site], control: str, name: str
) -> list[Reading] | None:
    """Subtract a control from a row in H or R, task by task; None where it is not complete."""
    controls: dict[str, Outcome] = {}
    for task in measured.outcomes:
        outcome = sites[task].controls.get(control)
        if outcome is None:
            return None
        controls[task] = outcome
    of_control = replace(measured, outcomes=controls)
    differences = []
    for mine, its in zip(measured.readings(name), of_control.readings(name), strict=True):
        differences.append(mine - its)
    return differences


def edges_of_control(
    tasks: Iterable[str], sites: Mapping[str, Site], control: str, name: str
) -> list[tuple[str, str]]:
    """List where a control's choice is an end of its grid: (task, label).

    Args:
        tasks: the valid ones.
        sites: task -> where.
        control: `TRAINING_LESS` or `EARLY_STOPPING`.
        name: "H" or "R", of the question.
    """
    edges = []
    for task in tasks:
        outcome = sites[task].controls.get(control)
        if outcome is None:
            continue
        shown = (outcome.held_back if name == "H" else outcome.recovery).shown
        if shown.edge:
            edges.append((task, shown.label))
    return edges


@dataclass(frozen=True, kw_only=True)
class _Reason:
    text: str
    incomplete: bool = False


def _count(name: str, group: str, results: Mapping[str, TaskResult]) -> Row:
    """Make a row that holds nothing but the numbers of cells, and where they are from."""
    skipped, envs = {}, {}
    failed = diverged = done = cells = 0
    for task, result in results.items():
        envs[task] = result.score.env
        failed += result.score.failed
        diverged += result.score.diverged
        done += result.score.done
        cells += result.score.cells
        if result.score.skipped:
            skipped[task] = result.score.skipped
    return Row(
        entry=name,
        group=group,
        envs=envs,
        failed=failed,
        diverged=diverged,
        done=done,
        cells=cells,
        skipped=skipped,
    )


def _why_without_numbers(
    row: Row,
    results: Mapping[str, TaskResult],
    sites: Mapping[str, Site],
    gates: Sequence[Gate],
    valid: Sequence[str],
) -> _Reason | None:
    """Say why a row has no numbers; None if it has."""
    pending = [gate.task for gate in gates if gate.pending]
    if pending:
        text = f"`none` has not been run on all of {', '.join(pending)}"
        return _Reason(text=text, incomplete=True)
    if not valid:
        return _Reason(text="no task is valid")
    missing = []
    for task in valid:
        if not results[task].score.complete:
            missing.append(f"{task}, {results[task].missing}")
    if missing:
        return _Reason(text="; ".join(missing), incomplete=True)
    if all(task in row.skipped for task in valid):
        return _Reason(text="cannot act on any valid task")
    for task in valid:
        gate = sites[task].gate
        if not gate.valid:
            reasons = "; ".join(gate.reasons)
            text = f"{task} is not valid in its environment {gate.env[:8]}: {reasons}"
            return _Reason(text=text)
    if row.cells and row.failed == row.cells:
        return _Reason(text=_all_failed(row))
    return None


def _all_failed(row: Row) -> str:
    """Say how the runs of a row ended of which none did well: it was not measured at all."""
    ends = {row.cells: "diverged", 0: "failed"}
    return f"all {row.cells} runs {ends.get(row.diverged, 'failed or diverged')}"


def _average(
    row: Row,
    outcomes: dict[str, Outcome],
    results: Mapping[str, TaskResult],
    weights: Mapping[str, float],
) -> MeasuredRow:
    """Fill a row with the means over its valid tasks."""
    measured = MeasuredRow(row=row, outcomes=outcomes, weights=list(weights.values()))
    images = []
    shown: list[tuple[Confirmed, Confirmed]] = []
    chosen_held_back, chosen_recovery = {}, {}
    for task, outcome in outcomes.items():
        held_back, recovery = outcome.held_back.shown, outcome.recovery.shown
        shown.append((held_back, recovery))
        skipped = bool(results[task].score.skipped)
        chosen_held_back[task] = "skipped" if skipped else held_back.label
        chosen_recovery[task] = "skipped" if skipped else recovery.label
        images.append(
            TaskImages(
                dataset=dataset_of(task),
                weight=weights[task],
                terms=outcome.recovery.image_terms,
            )
        )
    runs = failed = 0
    for held_back, recovery in shown:
        settings = [held_back]
        if recovery.strength != held_back.strength:
            settings.append(recovery)
        runs += sum(setting.runs for setting in settings)
        failed += sum(setting.failed for setting in settings)
    held_back_at_equal_compute, recovery_at_equal_compute = [], []
    for weight, (held_back, recovery) in zip(measured.weights, shown, strict=True):
        by_H = (weight, held_back.cost, held_back.H.mean, held_back.H_equal)
        by_R = (weight, recovery.cost, recovery.R.mean, recovery.R_equal)
        held_back_at_equal_compute.append(by_H)
        recovery_at_equal_compute.append(by_R)
    fits = [outcome.held_back.readings.S for outcome in outcomes.values()]
    row = replace(
        row,
        H=interval(measured.readings("H")),
        S=None if None in fits else interval(measured.readings("S")),
        dA=interval(measured.readings("dA")),
        noisy=_noisy(measured, shown[0][0].noisy),
        R=interval(measured.readings("R")),
        dA_recovery=interval(measured.readings("dA_recovery")),
        H_edge=any(held_back.edge for held_back, _ in shown),
        R_edge=any(recovery.edge for _, recovery in shown),
        image_half=image_half(images),
        extra=_mean_of_common([recovery.extra for _, recovery in shown], measured.weights),
        cost=max(max(held_back.cost, recovery.cost) for held_back, recovery in shown),
        H_equal=mean_at_equal_compute(held_back_at_equal_compute),
        R_equal=mean_at_equal_compute(recovery_at_equal_compute),
        chosen_held_back=chosen_held_back,
        chosen_recovery=chosen_recovery,
        confirmed_runs=runs,
        confirmed_failed=failed,
    )
    return replace(measured, row=row)


def _noisy(measured: MeasuredRow, signals: Iterable[str]) -> dict[str, Interval]:
    """Average the changes of accuracy under noise over tasks, by signal."""
    noisy = {}
    for place, signal in enumerate(signals):
        readings = [o.held_back.readings.noisy[place] for o in measured.outcomes.values()]
        noisy[signal] = interval(weighted(readings, measured.weights))
    return noisy


def _mean_of_common(
    values: Sequence[Mapping[str, float]], weights: Sequence[float]
) -> dict[str, float]:
    """Compute the weighted mean of each value that all tasks have."""
    means = {}
    for key in values[0]:
        if all(key in of_task for of_task in values):
            means[key] = sum(
                weight * of_task[key] for weight, of_task in zip(weights, values, strict=True)
            )
    return means


def has_enough_seeds(measured: MeasuredRow) -> bool:
    """Tell whether a row has the confirming seeds that a rank needs."""
    return measured.fewest_seeds >= FEWEST_SEEDS


def dataset_of(task: str) -> str:
    """Return the data set of "dataset/architecture"."""
    return task.partition("/")[0]

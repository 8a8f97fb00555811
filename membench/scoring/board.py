"""Score a suite: from a manifest and its records to the board.

`score` is a pure function, which the report calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TypeVar

import numpy as np

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring.gate import evaluate_gate
from membench.scoring.image_sampling import TaskImages
from membench.scoring.image_sampling import image_half
from membench.scoring.readings import Baseline
from membench.scoring.record_index import RecordIndex
from membench.scoring.record_index import index_records
from membench.scoring.stats import ALPHA
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.stats import Stratum
from membench.scoring.stats import beats
from membench.scoring.stats import estimate
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals
from membench.scoring.stats import stack_entries
from membench.scoring.tasks import TaskOutcome
from membench.scoring.tasks import TaskResult
from membench.scoring.tasks import score_control
from membench.scoring.tasks import score_entry
from membench.scoring.tasks import with_excess
from membench.scoring.types import CONTROL
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import Board
from membench.scoring.types import Control
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Row
from membench.scoring.types import TaskScore

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class ScoredRow:
    """An entry's row, before it has a rank."""

    row: Row


@dataclass(frozen=True, kw_only=True)
class CompleteRow(ScoredRow):
    """An entry's row that has an R, with what the tests between rows need."""

    strata: tuple[Stratum, ...]  #: one a valid task
    recovery: float  #: R
    #: one-sided p of X <= 0, not adjusted; None if the control is not complete
    p_excess: float | None


def score(manifest: Manifest, records: Iterable[Record]) -> Board:
    """Score every entry of a suite (README of this folder).

    Neither the order of the records nor, but for ranks and Holm's correction, the other entries
    make a difference.

    Args:
        manifest: what the suite planned.
        records: of its cells; others are ignored.

    Raises:
        MembenchError: a record says `ok` and lacks what it was run for.
    """
    index = index_records(manifest, records)
    baselines: dict[str, Baseline | None] = {}
    unweighted = []
    for task in manifest.tasks:
        gate, baselines[task] = evaluate_gate(index, task)
        unweighted.append(gate)
    gates = _with_weights(unweighted)

    low_rate = _find_low_rate(manifest)
    control_results, controls = _score_controls(index, baselines, low_rate)
    scored_control = _score_row(CONTROL, CONTROL, control_results, gates, None)
    scores = {(CONTROL, task): result.score for task, result in control_results.items()}

    competing: list[ScoredRow] = []
    full_rows: list[Row] = []
    control_rows = [scored_control.row]
    for name, entry in _competing_entries(manifest):
        results = {}
        for task, baseline in baselines.items():
            results[task] = score_entry(index, baseline, entry, task, name)
            scores[name, task] = with_excess(results[task], control_results[task])
        scored = _score_row(name, entry.group, results, gates, scored_control)
        if name.endswith(FULL):
            full_rows.append(scored.row)
        elif entry.group == CONTROL:
            control_rows.append(scored.row)
        else:
            competing.append(scored)

    complete: list[CompleteRow] = []
    skipped: list[Row] = []
    unranked: list[Row] = []
    for scored in competing:
        if isinstance(scored, CompleteRow):
            complete.append(scored)
        elif len(scored.row.skipped) == len(manifest.tasks):
            skipped.append(_with_skip_reasons(scored.row))
        else:
            unranked.append(scored.row)
    seeds = min((len(gate.seeds) for gate in gates if gate.valid), default=0)
    enough_seeds = seeds >= FEWEST_SEEDS
    return Board(
        suite=manifest.suite,
        version=manifest.version,
        gates=gates,
        rows=_ranked(complete) if enough_seeds else _unranked(complete, seeds),
        unranked=tuple(unranked),
        skipped=tuple(skipped),
        control_rows=tuple(control_rows),
        full_rows=tuple(full_rows),
        scores=scores,
        controls=controls,
        seeds=seeds,
        ranked=enough_seeds and bool(complete),
        notes=tuple(_notes(gates, seeds, scored_control.row, low_rate)),
    )


def _with_weights(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Give each gate its w_t (README, Intervals).

    Data sets count the same, and within one its valid tasks.
    """
    tasks = Counter(_dataset(gate.task) for gate in gates if gate.valid)
    weighted = []
    for gate in gates:
        weight = 0.0
        if gate.valid:
            weight = 1 / (len(tasks) * tasks[_dataset(gate.task)])
        weighted.append(replace(gate, weight=weight))
    return tuple(weighted)


def _dataset(task: str) -> str:
    return task.partition("/")[0]


def _find_low_rate(manifest: Manifest) -> Entry | None:
    """Find the entry that joins `none` in the control, if the suite has it."""
    for entry in manifest.entries:
        if entry.name == LOW_RATE:
            return entry
    return None


def _score_controls(
    index: RecordIndex, baselines: Mapping[str, Baseline | None], low_rate: Entry | None
) -> tuple[dict[str, TaskResult], dict[str, Control]]:
    """Return the control's results and its points for the figures, by task."""
    results = {}
    controls = {}
    for task, baseline in baselines.items():
        results[task], control = score_control(index, baseline, low_rate, task)
        if control is not None:
            controls[task] = control
    return results, controls


def _competing_entries(manifest: Manifest) -> Iterator[tuple[str, Entry]]:
    """Yield (row's name, entry) for all entries but `none` and what joins it in the control.

    A composition's full grid is a second row, whose name ends with FULL.
    """
    for entry in manifest.entries:
        if entry.name in (NONE, LOW_RATE):
            continue
        if entry.strengths or not entry.full:
            yield entry.name, entry
        if entry.full:
            yield entry.name + FULL, replace(entry, strengths=entry.full)


def _score_row(
    name: str,
    group: str,
    results: Mapping[str, TaskResult],
    gates: Sequence[Gate],
    control: ScoredRow | None,
) -> ScoredRow:
    """Average an entry's tasks; a `CompleteRow` if it has an R.

    Args:
        name: of the row.
        group: of the entry.
        results: by task, valid or not.
        gates: with weights.
        control: the control's row; None while that row itself is made.
    """
    failed = done = cells = 0
    skipped = {}
    for task, result in results.items():
        failed += result.score.failed
        done += result.score.done
        cells += result.score.cells
        if result.score.skipped:
            skipped[task] = result.score.skipped

    weights = {gate.task: gate.weight for gate in gates if gate.valid}
    chosen = {}
    flags: set[str] = set()
    outcomes = {}
    lacking = []
    for task in weights:
        result = results[task]
        if result.score.folds:
            chosen[task] = _choice_label(result.score)
        flags.update(result.score.flags)
        if result.outcome is None:
            lacking.append(task)
        else:
            outcomes[task] = result.outcome

    row = Row(
        entry=name,
        group=group,
        chosen=chosen,
        flags=tuple(sorted(flags)),
        failed=failed,
        done=done,
        cells=cells,
        skipped=skipped,
    )
    pending = [gate.task for gate in gates if gate.pending]
    if pending:
        reason = f"`none` has not been run on all of {', '.join(pending)}"
        return ScoredRow(row=replace(row, reason=reason, incomplete=True))
    if not weights:
        return ScoredRow(row=replace(row, reason="no task is valid"))
    if lacking:
        reason = f"incomplete on {', '.join(lacking)}"
        return ScoredRow(row=replace(row, reason=reason, incomplete=True))
    if all(task in skipped for task in weights):
        return ScoredRow(row=replace(row, reason="cannot act on any valid task"))
    return _average(row, outcomes, weights, control)


def _average(
    row: Row,
    outcomes: Mapping[str, TaskOutcome],
    weights: Mapping[str, float],
    control: ScoredRow | None,
) -> CompleteRow:
    """Fill a row with the means over its valid tasks."""
    strata = tuple(
        replace(outcome.stratum, weight=weights[task]) for task, outcome in outcomes.items()
    )
    recovery = estimate(strata)
    images = []
    for task, outcome in outcomes.items():
        share = TaskImages(dataset=_dataset(task), weight=weights[task], terms=outcome.image_terms)
        images.append(share)
    tasks = list(outcomes.values())
    row = replace(
        row,
        R=Interval(float(recovery.mean), float(recovery.half)),
        image_half=image_half(images),
        S=_weighted_mean([task.S for task in tasks], weights),
        dA=_weighted_mean([task.dA for task in tasks], weights),
        S_mix=_weighted_mean([task.S_mix for task in tasks], weights),
        area=_weighted_mean([task.area for task in tasks], weights),
        S_at=_mean_of_common([task.S_at for task in tasks], weights),
        extra=_mean_of_common([task.extra for task in tasks], weights),
        cost=max(task.cost for task in tasks),
        equal_compute_R=_mean_equal_compute(tasks, weights),
        stability=float(np.mean([task.stability for task in tasks])),
    )
    p_excess = None
    if isinstance(control, CompleteRow):
        differences = [a - b for a, b in zip(strata, control.strata, strict=True)]
        excess = estimate(differences)
        row = replace(row, X=Interval(float(excess.mean), float(excess.half)))
        p_excess = float(excess.p_above)
    return CompleteRow(row=row, strata=strata, recovery=float(recovery.mean), p_excess=p_excess)


def _with_skip_reasons(row: Row) -> Row:
    """Return the row of an entry that is skipped on every task with the reasons, each once."""
    return replace(row, reason="; ".join(dict.fromkeys(row.skipped.values())), incomplete=False)


def _choice_label(task_score: TaskScore) -> str:
    """Spell the strength that most folds chose, and how many did if not all."""
    if task_score.skipped:
        return "skipped"
    folds = len(task_score.folds)
    count = sum(fold.label == task_score.modal for fold in task_score.folds)
    return task_score.modal if count == folds else f"{task_score.modal} ({count}/{folds})"


def _weighted_mean(values: Sequence[float], weights: Mapping[str, float]) -> float:
    return float(np.dot(values, list(weights.values())))


def _mean_of_common(
    values: Sequence[Mapping[Key, float]], weights: Mapping[str, float]
) -> dict[Key, float]:
    """Compute the weighted mean of each value that all tasks have."""
    means = {}
    for key in values[0]:
        if all(key in task_values for task_values in values):
            means[key] = _weighted_mean([task_values[key] for task_values in values], weights)
    return means


def _mean_equal_compute(
    outcomes: Sequence[TaskOutcome], weights: Mapping[str, float]
) -> float | None:
    """Compute the weighted mean of R at equal compute (README, Equal compute).

    R itself stands for a task that costs what `none` costs. None if no task costs more than `none`,
    or one that does lacks test accuracy at the epoch of equal compute.
    """
    values = []
    costly = False
    for outcome in outcomes:
        if outcome.cost > 1 and outcome.chosen.any():
            costly = True
            if outcome.equal_compute_R is None:
                return None
        values.append(
            outcome.R.mean if outcome.equal_compute_R is None else outcome.equal_compute_R
        )
    return _weighted_mean(values, weights) if costly else None


def _unranked(complete: Sequence[CompleteRow], seeds: int) -> tuple[Row, ...]:
    """Order the rows best first, without ranks and claims: there are too few seeds."""
    reason = f"{seeds} seeds: intervals, but no ranks and no claims"
    ordered = sorted(complete, key=lambda scored: (-scored.recovery, scored.row.entry))
    return tuple(replace(scored.row, reason=reason) for scored in ordered)


def _ranked(complete: Sequence[CompleteRow]) -> tuple[Row, ...]:
    """Order the rows best first, with ranks and claims (README, Ranks)."""
    if not complete:
        return ()
    strata = []
    for task in range(len(complete[0].strata)):
        strata.append(stack_entries([scored.strata[task] for scored in complete]))
    lowest, highest = rank_intervals(beats(strata))
    ranks = [(int(low), int(high)) for low, high in zip(lowest, highest, strict=True)]
    ties = {rank: number for number, rank in enumerate(sorted(set(ranks)), 1)}
    order = sorted(
        range(len(complete)),
        key=lambda i: (ranks[i], -complete[i].recovery, complete[i].row.entry),
    )
    claimed = _with_claims(complete)
    return tuple(replace(claimed[i], rank=ranks[i], tie=ties[ranks[i]]) for i in order)


def _with_claims(complete: Sequence[CompleteRow]) -> list[Row]:
    """Say which rows beat the control, by Holm's procedure over all ranked rows.

    Nothing is claimed if the control is not complete.
    """
    p_values = [scored.p_excess for scored in complete if scored.p_excess is not None]
    if len(p_values) < len(complete):
        return [scored.row for scored in complete]
    rows = []
    for scored, p in zip(complete, holm(np.array(p_values)), strict=True):
        rows.append(replace(scored.row, p_control=float(p), beats_control=bool(p < ALPHA)))
    return rows


def _notes(
    gates: Sequence[Gate], seeds: int, control: Row, low_rate: Entry | None
) -> Iterator[str]:
    """Sentences that the page must show."""
    for gate in gates:
        if not gate.valid:
            yield f"{gate.task} does not count: {'; '.join(gate.reasons)}."
        for seed, reason in gate.dropped.items():
            yield (
                f"{gate.task}: seed {seed} is dropped for every entry, "
                f"because `none` itself failed ({reason})."
            )
    if 0 < seeds < FEWEST_SEEDS:
        yield (
            f"{seeds} seeds: intervals are given, ranks and claims are not "
            f"(they need {FEWEST_SEEDS})."
        )
    if low_rate is None:
        yield f"The control is early stopping alone: `{LOW_RATE}` is not in this suite."
    elif not control.R and any(gate.valid for gate in gates):
        yield f"The control is not complete ({control.reason}): no excess and no claim is given."

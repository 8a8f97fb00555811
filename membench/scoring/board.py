"""`score`: from a manifest and its records to the board. A pure function; the report calls it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np

from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.scoring.gate import evaluate_gate
from membench.scoring.image_sampling import image_half
from membench.scoring.readings import index_records
from membench.scoring.stats import ALPHA
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.stats import Stratum
from membench.scoring.stats import beats
from membench.scoring.stats import estimate
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals
from membench.scoring.stats import stacked
from membench.scoring.tasks import Scored
from membench.scoring.tasks import score_control
from membench.scoring.tasks import score_entry
from membench.scoring.tasks import with_excess
from membench.scoring.types import CONTROL
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import Board
from membench.scoring.types import Gate
from membench.scoring.types import Interval
from membench.scoring.types import Row
from membench.scoring.types import TaskScore


@dataclass(frozen=True)
class Ranked:
    """A row with its strata: what tests between rows need."""

    row: Row
    parts: tuple[Stratum, ...]


def score(manifest: Manifest, records: Iterable[Record]) -> Board:
    """Score every entry of a suite (section 1).

    Neither the order of the records nor, but for ranks and Holm's correction, the other entries make a difference.

    Raises:
        MembenchError: a record says `ok` and lacks what it was run for.
    """
    data = index_records(manifest, records)
    inspected = {task: evaluate_gate(data, task) for task in manifest.tasks}
    gates = _weighted([gate for gate, _ in inspected.values()])
    low = next((entry for entry in manifest.entries if entry.name == LOW_RATE), None)
    controls = {
        task: score_control(data, plain, low, task) for task, (_, plain) in inspected.items()
    }
    own = Entry(CONTROL, CONTROL, ())
    ranked = {
        CONTROL: _row(own, {task: scored for task, (scored, _) in controls.items()}, gates, None)
    }
    scores = {(CONTROL, task): scored.score for task, (scored, _) in controls.items()}
    for name, entry in _competing(manifest):
        tasks = {
            task: score_entry(data, plain, entry, task, name)
            for task, (_, plain) in inspected.items()
        }
        ranked[name] = _row(replace(entry, name=name), tasks, gates, ranked[CONTROL])
        scores |= {
            (name, task): with_excess(scored, controls[task][0]) for task, scored in tasks.items()
        }
    seeds = min((len(gate.seeds) for gate in gates if gate.valid), default=0)
    claims = seeds >= FEWEST_SEEDS
    apart = [r for name, r in ranked.items() if name.endswith(FULL)]
    five = [r for name, r in ranked.items() if not name.endswith(FULL)]
    entered = [r for r in five if r.row.group != CONTROL]
    complete = [r for r in entered if r.row.R]
    nowhere = {r.row.entry for r in entered if len(r.row.skipped) == len(manifest.tasks)}
    return Board(
        manifest.suite,
        manifest.version,
        gates,
        _ordered(complete, claims, seeds),
        tuple(r.row for r in entered if not r.row.R and r.row.entry not in nowhere),
        tuple(_cannot_act(r.row) for r in entered if r.row.entry in nowhere),
        tuple(replace(r.row, p_control=None) for r in five if r.row.group == CONTROL),
        tuple(replace(r.row, p_control=None) for r in apart),
        scores,
        {task: control for task, (_, control) in controls.items() if control},
        seeds,
        claims and bool(complete),
        tuple(_notes(gates, seeds, ranked[CONTROL].row, low)),
    )


def _competing(manifest: Manifest) -> Iterator[tuple[str, Entry]]:
    """(row's name, entry) of all but `none` and what joins it in `control`; a full grid is an entry of its own."""
    for entry in manifest.entries:
        if entry.name not in (NONE, LOW_RATE):
            if entry.strengths or not entry.full:
                yield entry.name, entry
            if entry.full:
                yield entry.name + FULL, replace(entry, strengths=entry.full)


def _weighted(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """w_t: data sets count the same, and within one its valid tasks."""
    tasks = Counter(_dataset(gate.task) for gate in gates if gate.valid)
    return tuple(
        replace(gate, weight=1 / (len(tasks) * tasks[_dataset(gate.task)])) if gate.valid else gate
        for gate in gates
    )


def _dataset(task: str) -> str:
    return task.partition("/")[0]


def _row(
    entry: Entry, tasks: dict[str, Scored], gates: Sequence[Gate], control: Ranked | None
) -> Ranked:
    """An entry's means over the valid tasks; without ranks."""
    weights = {gate.task: gate.weight for gate in gates if gate.valid}
    valid = {task: tasks[task].score for task in weights}
    every = [scored.score for scored in tasks.values()]
    row = Row(
        entry.name,
        entry.group,
        chosen={task: _chosen(s) for task, s in valid.items() if s.folds},
        flags=tuple(sorted({flag for s in valid.values() for flag in s.flags})),
        failed=sum(s.failed for s in every),
        done=sum(s.done for s in every),
        cells=sum(s.cells for s in every),
        skipped={s.task: s.skipped for s in every if s.skipped},
    )
    reason, incomplete = _missing(valid, gates)
    if reason:
        return Ranked(replace(row, reason=reason, incomplete=incomplete), ())
    parts = tuple(replace(tasks[task].part, weight=weight) for task, weight in weights.items())
    total = estimate(parts)
    row = replace(
        row,
        R=Interval(float(total.mean), float(total.half)),
        image_half=image_half(
            [(_dataset(task), w, tasks[task].images) for task, w in weights.items()]
        ),
        cost=max(s.cost for s in valid.values()),
        equal_compute_R=_equal_compute(valid, weights),
        S_at={
            b: _mean([s.S_at[b] for s in valid.values()], weights)
            for b in next(iter(valid.values())).S_at
        },
        **{
            name: _mean([getattr(s, name) for s in valid.values()], weights)
            for name in ("S", "dA", "S_mix", "area")
        },
        extra=_extra([s.extra for s in valid.values()], weights),
        stability=float(np.mean([s.stability for s in valid.values()])),
    )
    return Ranked(_compared(row, parts, control), parts)


def _compared(row: Row, parts: Sequence[Stratum], control: Ranked | None) -> Row:
    """X and its raw p, which Holm's correction replaces."""
    if control is None or not control.parts:
        return row
    excess = estimate([part - other for part, other in zip(parts, control.parts, strict=True)])
    return replace(
        row, X=Interval(float(excess.mean), float(excess.half)), p_control=float(excess.p_above)
    )


def _missing(valid: dict[str, TaskScore], gates: Sequence[Gate]) -> tuple[str, bool]:
    """Why a row has no R, and whether more runs would give it one."""
    pending = [gate.task for gate in gates if gate.pending]
    lacking = [s for s in valid.values() if not s.complete]
    if pending:
        return f"`none` has not been run on all of {', '.join(pending)}", True
    if not valid:
        return "no task is valid", False
    if lacking:
        return f"incomplete on {', '.join(s.task for s in lacking)}", True
    if all(s.skipped for s in valid.values()):
        return "cannot act on any valid task", False
    return "", False


def _cannot_act(row: Row) -> Row:
    """The row of an entry that is skipped on every task."""
    return replace(row, reason="; ".join(dict.fromkeys(row.skipped.values())), incomplete=False)


def _chosen(score: TaskScore) -> str:
    if score.skipped:
        return "skipped"
    count = sum(fold.label == score.modal for fold in score.folds)
    return (
        score.modal if count == len(score.folds) else f"{score.modal} ({count}/{len(score.folds)})"
    )


def _mean(values: Sequence[float], weights: dict[str, float]) -> float:
    return float(np.dot(values, list(weights.values())))


def _extra(values: Sequence[dict[str, float]], weights: dict[str, float]) -> dict[str, float]:
    """Those of the further signals that every task has."""
    return {
        key: _mean([v[key] for v in values], weights)
        for key in values[0]
        if all(key in v for v in values)
    }


def _equal_compute(valid: dict[str, TaskScore], weights: dict[str, float]) -> float | None:
    """None if no task costs more than `none`, or one that does lacks test accuracy at the epoch of equal compute."""
    values = {task: s.equal_compute_R for task, s in valid.items()}
    costly = {
        task for task, s in valid.items() if s.cost > 1 and any(fold.strength for fold in s.folds)
    }
    if not costly or any(values[task] is None for task in costly):
        return None
    return _mean(
        [s.R.mean if values[task] is None else values[task] for task, s in valid.items()], weights
    )


def _ordered(full: Sequence[Ranked], claims: bool, seeds: int) -> tuple[Row, ...]:
    """The rows that have an R, best first, with ranks and claims if there are seeds enough."""
    if not claims or not full:
        text = f"{seeds} seeds: intervals, but no ranks and no claims"
        rows = [replace(r.row, reason=text, p_control=None) for r in full]
        return tuple(sorted(rows, key=lambda row: (-row.R.mean, row.entry)))
    low, high = rank_intervals(
        beats([stacked(parts) for parts in zip(*(r.parts for r in full), strict=True)])
    )
    rows = [replace(r.row, rank=(int(a), int(b))) for r, a, b in zip(full, low, high, strict=True)]
    rows = sorted(_claimed(rows), key=lambda row: (row.rank, -row.R.mean, row.entry))
    groups = {rank: number for number, rank in enumerate(sorted({row.rank for row in rows}), 1)}
    return tuple(replace(row, tie=groups[row.rank]) for row in rows)


def _claimed(rows: Sequence[Row]) -> list[Row]:
    """Who beats the control, by Holm over all ranked rows; nobody if the control is not complete."""
    if any(row.p_control is None for row in rows):
        return list(rows)
    pairs = zip(rows, holm(np.array([row.p_control for row in rows])), strict=True)
    return [replace(row, p_control=float(p), beats_control=bool(p < ALPHA)) for row, p in pairs]


def _notes(gates: Sequence[Gate], seeds: int, control: Row, low: Entry | None) -> Iterable[str]:
    for gate in gates:
        if not gate.valid:
            yield f"{gate.task} does not count: {'; '.join(gate.reasons)}."
        for seed, reason in gate.dropped.items():
            yield f"{gate.task}: seed {seed} is dropped for every entry, because `none` itself failed ({reason})."
    if 0 < seeds < FEWEST_SEEDS:
        yield f"{seeds} seeds: intervals are given, ranks and claims are not (they need {FEWEST_SEEDS})."
    if low is None:
        yield f"The control is early stopping alone: `{LOW_RATE}` is not in this suite."
    elif not control.R and any(gate.valid for gate in gates):
        yield f"The control is not complete ({control.reason}): no excess and no claim is given."

"""Score a suite: from a manifest and its records to the board.

`score` is a pure function, which the report calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from membench.records import Manifest
from membench.records import Record
from membench.scoring.environments import Environment
from membench.scoring.environments import environment_of
from membench.scoring.environments import find_references
from membench.scoring.environments import read_environments
from membench.scoring.environments import versions_of
from membench.scoring.notes import write_notes
from membench.scoring.pairs import pairs_of
from membench.scoring.ranking import rank
from membench.scoring.record_index import rows_of
from membench.scoring.rows import MeasuredRow
from membench.scoring.rows import ScoredRow
from membench.scoring.rows import dataset_of
from membench.scoring.rows import has_enough_seeds
from membench.scoring.rows import make_row
from membench.scoring.rows import with_excess
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.tasks import Site
from membench.scoring.tasks import TaskResult
from membench.scoring.tasks import make_control
from membench.scoring.tasks import make_site
from membench.scoring.tasks import score_early_stopping
from membench.scoring.tasks import score_row_on_task
from membench.scoring.tasks import score_training_less
from membench.scoring.types import CONTROL
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Gate
from membench.scoring.types import Row
from membench.scoring.types import TaskScore


class _Sites:
    """The sites that rows are read at, each made once."""

    def __init__(self, environments: Sequence[Environment], references: Mapping[str, str]) -> None:
        self._environments = environments
        self._references = references
        self._made: dict[tuple[str, str], Site] = {}

    def of_row(self, name: str) -> dict[str, Site]:
        """Find where a row is read: task -> site."""
        sites = {}
        for task, reference in self._references.items():
            environment = environment_of(self._environments, reference, task, name)
            sites[task] = self._at(environment, task)
        return sites

    def of_reference(self) -> dict[str, Site]:
        """Return the sites of the reference environments: task -> site."""
        by_hash = {environment.env: environment for environment in self._environments}
        sites = {}
        for task, reference in self._references.items():
            sites[task] = self._at(by_hash[reference], task)
        return sites

    def _at(self, environment: Environment, task: str) -> Site:
        key = environment.env, task
        if key not in self._made:
            self._made[key] = make_site(environment, task)
        return self._made[key]


@dataclass(frozen=True, kw_only=True)
class _AllRows:
    """Every row of a suite before any has a rank."""

    environments: Sequence[Environment]
    gates: tuple[Gate, ...]
    controls: list[ScoredRow]  #: `TRAINING_LESS` is the first
    competing: list[ScoredRow]
    full: list[ScoredRow]


def score(manifest: Manifest, records: Iterable[Record]) -> Board:
    """Score every entry of a suite (README of this folder).

    Neither the order of the records nor, but for ranks, the front and Holm's correction, the other
    entries make a difference, as long as they do not change the reference environment.

    Args:
        manifest: what the suite planned.
        records: of its cells, in all environments; others are ignored.

    Raises:
        MembenchError: a record says `ok` and lacks what it was run for.
    """
    read = _read_rows(manifest, records)
    gates = read.gates
    choosing = min((len(gate.choosing) for gate in gates if gate.valid), default=0)
    confirming = min((len(gate.confirming) for gate in gates if gate.valid), default=0)
    has_ranks = confirming >= FEWEST_SEEDS
    complete, unranked, skipped = _sort_out(read.competing, manifest, has_ranks)
    rows = _ranked(complete) if has_ranks else _with_reason(complete, confirming)
    all_rows = [*read.controls, *read.competing, *read.full]
    scores: dict[tuple[str, str], TaskScore] = {}
    for scored in all_rows:
        for task, result in scored.results.items():
            scores[scored.name, task] = result.score
    controls = {}
    for task, site in read.controls[0].sites.items():
        control = make_control(site)
        if control is not None:
            controls[task] = control
    return Board(
        suite=manifest.suite,
        version=manifest.version,
        gates=gates,
        rows=rows,
        unranked=unranked,
        skipped=skipped,
        control_rows=tuple(scored.row for scored in read.controls),
        full_rows=tuple(scored.row for scored in read.full),
        scores=scores,
        controls=controls,
        choosing=choosing,
        confirming=confirming,
        ranked=has_ranks and bool(rows),
        envs=versions_of(read.environments, _environments_of(gates, all_rows)),
        notes=tuple(write_notes(manifest, gates, all_rows, confirming)),
        pairs=pairs_of([scored.measured for scored in all_rows if scored.measured]),
    )


def measured_rows(manifest: Manifest, records: Iterable[Record]) -> dict[str, MeasuredRow]:
    """Read the rows of a suite that have numbers, controls too, for comparisons of two.

    Args:
        manifest: what the suite planned.
        records: of its cells, in all environments; others are ignored.
    """
    read = _read_rows(manifest, records)
    found = {}
    for scored in (*read.competing, *read.full, *read.controls):
        if scored.measured is not None:
            found[scored.name] = scored.measured
    return found


def _read_rows(manifest: Manifest, records: Iterable[Record]) -> _AllRows:
    """Read every row where it stands, with its excess over the controls."""
    environments = read_environments(manifest, records)
    sites = _Sites(environments, find_references(environments, manifest))
    reference = sites.of_reference()
    gates = _with_weights([reference[task].gate for task in manifest.tasks])

    training_less = _score_row(
        TRAINING_LESS, CONTROL, sites.of_row(LOW_RATE), score_training_less, gates
    )
    early_stopping = _score_row(
        EARLY_STOPPING, CONTROL, sites.of_row(NONE), score_early_stopping, gates
    )
    control_rows = [training_less, early_stopping]
    competing: list[ScoredRow] = []
    full_rows: list[ScoredRow] = []
    for entry in manifest.entries:
        if entry.name == LOW_RATE:
            continue
        for name, _ in rows_of(entry):
            scored = _score_entry(name, entry.group, sites.of_row(name), gates)
            if name.endswith(FULL):
                full_rows.append(scored)
            elif entry.group == CONTROL:
                control_rows.append(scored)
            else:
                competing.append(scored)

    return _AllRows(
        environments=environments,
        gates=gates,
        controls=control_rows,
        competing=competing,
        full=full_rows,
    )


def _score_entry(name: str, group: str, sites: dict[str, Site], gates: Sequence[Gate]) -> ScoredRow:
    """Score a row of an entry, with its excess over the controls."""

    def score_on_task(site: Site) -> TaskResult:
        return score_row_on_task(site, name)

    scored = _score_row(name, group, sites, score_on_task, gates)
    if scored.measured is None:
        return scored
    measured = with_excess(scored.measured, sites)
    return replace(scored, measured=measured, row=measured.row)


def _score_row(
    name: str,
    group: str,
    sites: dict[str, Site],
    score_on_task: Callable[[Site], TaskResult],
    gates: Sequence[Gate],
) -> ScoredRow:
    """Score a row on every task, and average.

    Args:
        name: of the row.
        group: of its entry.
        sites: task -> where it is read.
        score_on_task: scores it at a site.
        gates: of the reference environments, with weights.
    """
    results = {task: score_on_task(site) for task, site in sites.items()}
    made = make_row(name, group, results, sites, gates)
    if isinstance(made, MeasuredRow):
        return ScoredRow(name=name, sites=sites, results=results, row=made.row, measured=made)
    return ScoredRow(name=name, sites=sites, results=results, row=made, measured=None)


def _with_weights(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """Give each gate its w_t (README, Intervals).

    Data sets count the same, and within one its valid tasks.
    """
    tasks = Counter(dataset_of(gate.task) for gate in gates if gate.valid)
    weighted = []
    for gate in gates:
        weight = 0.0
        if gate.valid:
            weight = 1 / (len(tasks) * tasks[dataset_of(gate.task)])
        weighted.append(replace(gate, weight=weight))
    return tuple(weighted)


def _sort_out(
    competing: Sequence[ScoredRow], manifest: Manifest, has_ranks: bool
) -> tuple[list[ScoredRow], tuple[Row, ...], tuple[Row, ...]]:
    """Tell the rows that stand in the lists, in their order, from the others.

    Args:
        competing: all rows of entries that are not controls.
        manifest: whose tasks an entry may act on.
        has_ranks: the board has ranks, so that a row needs seeds enough for one.

    Returns:
        Complete rows; unranked ones; those that cannot act on any task.
    """
    complete = []
    unranked = []
    skipped = []
    for scored in competing:
        row = scored.row
        if len(row.skipped) == len(manifest.tasks):
            reasons = "; ".join(dict.fromkeys(row.skipped.values()))
            skipped.append(replace(row, reason=reasons, incomplete=False))
        elif scored.measured is None:
            unranked.append(row)
        elif has_ranks and not has_enough_seeds(scored.measured):
            seeds = scored.measured.fewest_seeds
            reason = f"only {seeds} confirming seeds count in its environment"
            unranked.append(replace(row, reason=reason))
        else:
            complete.append(scored)
    complete.sort(key=lambda scored: scored.measured.place if scored.measured else ())
    return complete, tuple(unranked), tuple(skipped)


def _ranked(complete: Sequence[ScoredRow]) -> tuple[Row, ...]:
    """Give the rows ranks and claims."""
    measured = [scored.measured for scored in complete if scored.measured]
    return rank(measured, [scored.sites for scored in complete])


def _with_reason(complete: Sequence[ScoredRow], seeds: int) -> tuple[Row, ...]:
    """Say of the rows why they have no ranks: there are too few seeds."""
    reason = f"{seeds} confirming seeds: intervals, but no ranks and no claims"
    if seeds == 1:
        reason = "1 confirming seed: no intervals, no ranks and no claims"
    return tuple(replace(scored.row, reason=reason) for scored in complete)


def _environments_of(gates: Sequence[Gate], rows: Sequence[ScoredRow]) -> list[str]:
    """List the environments of the board, those of the gates first."""
    envs = [gate.env for gate in gates]
    for scored in rows:
        envs += scored.row.envs.values()
    return list(dict.fromkeys(envs))

"""The sentences that the page of a board must show."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from membench.records import Manifest
from membench.scoring.confirmed import estimate
from membench.scoring.rows import EXCESSES
from membench.scoring.rows import MeasuredRow
from membench.scoring.rows import ScoredRow
from membench.scoring.rows import edges_of_control
from membench.scoring.stats import FEWEST_SEEDS
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import LOW_RATE
from membench.scoring.types import PLACEBO
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Gate

PLACEBO_ALPHA = 0.01  #: two-sided, at which it must tie with `none`
QUESTIONS = {"H": "noise held back", "R": "recovery"}
CONTROLS = (TRAINING_LESS, EARLY_STOPPING)
#: a short hash that people can compare
SHORT = 8


def write_notes(
    manifest: Manifest, gates: Sequence[Gate], rows: Sequence[ScoredRow], confirming: int
) -> Iterator[str]:
    """Say what a reader must know beside the numbers.

    Args:
        manifest: of the suite.
        gates: of the reference environments.
        rows: all rows, those of the controls first.
        confirming: the fewest confirming seeds that count on a valid task.
    """
    valid = [gate.task for gate in gates if gate.valid]
    for gate in gates:
        if not gate.valid:
            yield f"{gate.task} does not count: {'; '.join(gate.reasons)}."
    yield from _dropped_seeds(gates, rows)
    if confirming == 1:
        yield (
            "1 confirming seed: no intervals are given (they need 2), and neither ranks nor claims "
            f"(they need {FEWEST_SEEDS})."
        )
    elif 0 < confirming < FEWEST_SEEDS:
        yield (
            f"{confirming} confirming seeds: intervals are given, ranks and claims are not "
            f"(they need {FEWEST_SEEDS})."
        )
    yield from _missing_low_rate(manifest)
    if valid:
        yield from _missing_controls(rows)
        yield from _controls_at_an_edge(valid, rows)
        yield from _other_environments(gates, rows)
        yield from _placebo(rows)


def _missing_low_rate(manifest: Manifest) -> Iterator[str]:
    """Say where the first control is `none` read early alone."""
    low_rates = [entry for entry in manifest.entries if entry.name == LOW_RATE]
    if not low_rates:
        yield (
            f"`{LOW_RATE}` is not in this suite: the control `{TRAINING_LESS}` is `none` read at "
            "earlier epochs alone."
        )
    for entry in low_rates:
        for task, reason in entry.skipped.items():
            yield (
                f"{task}: `{LOW_RATE}` cannot act ({reason}), so the control `{TRAINING_LESS}` is "
                "`none` read at earlier epochs alone."
            )


def _dropped_seeds(gates: Sequence[Gate], rows: Sequence[ScoredRow]) -> Iterator[str]:
    """Name each seed at which `none` failed, in each environment that a row is of."""
    known = {(gate.env, gate.task): gate for gate in gates}
    references = set(known)
    for scored in rows:
        for task, site in scored.sites.items():
            known.setdefault((site.gate.env, task), site.gate)
    for (env, task), gate in known.items():
        where = "" if (env, task) in references else f" of environment {env[:SHORT]}"
        for seed, reason in gate.dropped.items():
            yield (
                f"{task}: seed {seed} is dropped for every entry{where}, because `none` itself "
                f"failed ({reason})."
            )


def _missing_controls(rows: Sequence[ScoredRow]) -> Iterator[str]:
    """Name the rows without an excess over a control."""
    for scored in rows[: len(CONTROLS)]:
        if scored.measured is None:
            yield f"The control `{scored.name}` has no numbers ({scored.row.reason})."
    for field, (control, name) in EXCESSES.items():
        lacking = []
        for scored in rows[len(CONTROLS) :]:
            if scored.measured is not None and getattr(scored.row, field) is None:
                lacking.append(scored.name)
        if lacking and name == "H":  # a control has numbers of both questions or of neither
            yield (
                f"No excess over `{control}` is given for {_names(lacking)}: that "
                "control is not complete in the environment of the row."
            )


def _controls_at_an_edge(valid: Sequence[str], rows: Sequence[ScoredRow]) -> Iterator[str]:
    """Say where a control might be stronger beyond its grid."""
    for control, name in EXCESSES.values():
        places: dict[str, None] = {}
        for scored in rows:
            if scored.measured is None:
                continue
            for task, label in edges_of_control(valid, scored.sites, control, name):
                places[f"{task} ({label})"] = None
        if places:
            yield (
                f"The control `{control}`, chosen by {QUESTIONS[name]}, is at an end of "
                f"its grid on {', '.join(places)}: no excess over it in {name} is claimed there."
            )


def _other_environments(gates: Sequence[Gate], rows: Sequence[ScoredRow]) -> Iterator[str]:
    """Name the rows that were not made in the reference environment."""
    references = {gate.task: gate.env for gate in gates if gate.valid}
    others = []
    for scored in rows:
        if scored.measured is None:
            continue
        if any(scored.row.envs[task] != env for task, env in references.items()):
            others.append(scored.name)
    if others:
        yield (
            f"Made in another environment than most rows: {_names(others)}. Each is paired with "
            "`none` and the controls of its own environment; two rows of different environments "
            "are compared unpaired, which is conservative, since they share their seeds."
        )


def _placebo(rows: Sequence[ScoredRow]) -> Iterator[str]:
    """Say if the placebo differs from `none`, which it is."""
    for scored in rows:
        if scored.name != PLACEBO or scored.measured is None or scored.measured.fewest_seeds < 2:
            continue
        differing = []
        for name in ("H", "R", "dA"):
            p = _two_sided(scored.measured, name)
            if p <= PLACEBO_ALPHA:
                differing.append(f"{name} (p = {p:.2g})")
        if differing:
            yield (
                f"`{PLACEBO}` does not tie with `none`, as it should, in {', '.join(differing)}: "
                "the intervals of this board are in doubt."
            )


def _two_sided(measured: MeasuredRow, name: str) -> float:
    """Test that a quantity is 0: two-sided p."""
    above = float(estimate(measured.readings(name)).p_above)
    return 2 * min(above, 1 - above)


def _names(rows: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in rows)

"""The tables of every strength on one task, in means over the choosing seeds."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Manifest
from membench.records import Record
from membench.report.columns import Column
from membench.report.columns import extra_title
from membench.report.columns import from_columns
from membench.report.columns import in_parts
from membench.report.columns import joined_cells
from membench.report.columns import keys_in_order
from membench.report.text import MISSING
from membench.report.text import code
from membench.report.text import escape_markdown
from membench.report.text import noise_index
from membench.report.text import number
from membench.report.text import percent
from membench.report.text import share
from membench.report.text import signed
from membench.report.text import unbroken
from membench.scoring.record_index import REAL
from membench.scoring.types import FULL
from membench.scoring.types import LOW_RATE
from membench.scoring.types import NONE
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Point
from membench.scoring.types import Strength
from membench.scoring.types import TaskScore

CHOSEN = "\N{BLACK LEFT-POINTING SMALL TRIANGLE}"  #: behind a strength that was chosen

ProbeSetting = tuple[str, Strength]  #: regularizer, strength
ProbeColumn = tuple[str, str, str]  #: probe, metric, signal
ProbeMeans = Mapping[ProbeSetting, Mapping[ProbeColumn, float]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A line of a task's table of strengths."""

    name: str  #: Markdown
    point: Point
    probe_setting: ProbeSetting


def settings(board: Board, plan: Manifest, task: str) -> list[Setting]:
    """List every strength of every entry on one task, with its name and the marks of choice.

    Args:
        board: the scores.
        plan: gives the order of the entries.
        task: the one task.
    """
    scores = [score for score in _task_scores(board, plan, task) if score.points]
    lines = []
    if scores:  # off is the same network for every entry: one line for all of them
        off = scores[0].points[0]
        lines.append(Setting(name="**none**", point=off, probe_setting=(NONE, ())))
    for score in scores:
        if score.entry in (NONE, LOW_RATE):  # the lower rates stand in the control's table
            continue
        for point in score.points[1:]:
            name = f"{escape_markdown(score.entry)} {escape_markdown(point.label)}"
            marks = _choice_marks(score, point.strength)
            line = Setting(
                name=_marked(name, marks),
                point=point,
                probe_setting=_probe_setting(score.entry, point.strength),
            )
            lines.append(line)
    return lines


def control_settings(board: Board, task: str) -> list[Setting]:
    """List what `TRAINING_LESS` chooses among: `none` read at each epoch, and each lower rate.

    Args:
        board: the scores.
        task: one that the board's `controls` has.
    """
    control = board.controls[task]
    score = board.scores.get((TRAINING_LESS, task))
    chosen: dict[str, str] = {}
    if score:
        for question, confirmed in (("*H*", score.held_back), ("*R*", score.recovery)):
            if confirmed:
                label = confirmed.label
                chosen[label] = f"{chosen[label]}, {question}" if label in chosen else question
    lines = []
    for point in (*control.early, *control.low_rate):
        name = escape_markdown(point.label)
        marks = chosen.get(point.label, "")
        line = Setting(
            name=_marked(name, marks),
            point=point,
            probe_setting=(NONE, ()),
        )
        lines.append(line)
    return lines


def setting_scores(lines: Sequence[Setting]) -> str:
    """Write the scores of each setting, and what the choices look at."""
    points = [line.point for line in lines]
    noisy = [signal for signal in keys_in_order(p.gain_val for p in points) if signal != REAL]
    real_gains = [signed(_points(point.gain_val.get(REAL))) for point in points]
    noisy_gains = []
    for point in points:
        noisy_gains.append(joined_cells([signed(_points(point.gain_val.get(p))) for p in noisy]))
    suppression = []
    if any(point.S is not None for point in points):
        suppression.append(Column("*S*", [share(point.S) for point in points]))
    columns = [
        Column("setting", [line.name for line in lines], left=True),
        Column("*H*", [share(point.H) for point in points]),
        *suppression,
        Column("*ΔA*", [signed(point.dA) for point in points]),
        Column("*R*", [signed(point.R) for point in points]),
        Column("validation gain, `real`", real_gains),
        Column(f"validation gain, {_code_names(noisy)}", noisy_gains),
        Column("failed", [_failures(point) for point in points]),
    ]
    return from_columns(columns)


def setting_accuracies(lines: Sequence[Setting], probe_means: ProbeMeans) -> str:
    """Write what the scores of each setting are made of, and what probes measured.

    Args:
        lines: the settings.
        probe_means: as the function of this name returns them.
    """
    points = [line.point for line in lines]
    noisy = keys_in_order(point.noisy_test for point in points)
    columns = [
        Column("setting", [line.name for line in lines], left=True),
        Column("`real` test acc. %", [percent(point.real) for point in points]),
    ]
    for signal in noisy:
        accuracies = [percent(point.noisy_test.get(signal)) for point in points]
        columns.append(Column(f"{code(signal)} test acc. %", accuracies))
    if any(point.fit is not None for point in points):
        columns.append(Column("`randY` fit *F* %", [percent(point.fit) for point in points]))
    for signal in noisy:
        memorized = [percent(point.wrong.get(signal)) for point in points]
        columns.append(Column(f"wrong labels *M*@{noise_index(signal)} %", memorized))
    for key in keys_in_order(point.extra for point in points):
        extras = [share(point.extra.get(key)) for point in points]
        columns.append(Column(extra_title(key), extras))
    columns += _probe_columns([line.probe_setting for line in lines], probe_means)
    return in_parts(columns)


def probe_means(records: Iterable[Record], plan: Manifest, board: Board, task: str) -> ProbeMeans:
    """Average over the choosing seeds what probes measured at the budget.

    Metrics of many numbers are left out, and records of other environments than the row's.

    Args:
        records: of the suite.
        plan: gives the choosing seeds.
        board: gives the rows' environments.
        task: whose records count.

    Returns:
        (regularizer, strength) -> (probe, metric, signal) -> mean.
    """
    values: dict[ProbeSetting, dict[ProbeColumn, list[float]]] = {}
    for record in records:
        if record.cell.task != task or record.seed not in plan.choosing:
            continue
        score = board.scores.get((record.regularizer, task))
        if score and score.env and record.env != score.env:
            continue
        for probe, metrics in record.probes.items():
            for metric, curve in metrics.items():
                if curve and isinstance(curve[-1], (int, float)):
                    columns = values.setdefault((record.regularizer, record.strength), {})
                    columns.setdefault((probe, metric, record.signal), []).append(curve[-1])
    means: dict[ProbeSetting, dict[ProbeColumn, float]] = {}
    for setting, columns in values.items():
        means[setting] = {column: sum(some) / len(some) for column, some in columns.items()}
    return means


def _marked(name: str, marks: str) -> str:
    """Set a chosen setting in bold, with the questions that chose it."""
    return unbroken(f"**{name}** {CHOSEN} {marks}" if marks else name)


def _choice_marks(score: TaskScore, strength: Strength) -> str:
    """Say by which question a strength was chosen: `*H*`, `*R*` or both."""
    questions = []
    if score.held_back and score.held_back.strength == strength:
        questions.append("*H*")
    if score.recovery and score.recovery.strength == strength:
        questions.append("*R*")
    return ", ".join(questions)


def _code_names(signals: Sequence[str]) -> str:
    return " · ".join(code(signal) for signal in signals)


def _points(gain: float | None) -> float | None:
    """Turn a difference of shares into percentage points."""
    return None if gain is None else 100 * gain


def _failures(point: Point) -> str:
    return f"{point.failed} of {point.cells}" if point.failed else ""


def _task_scores(board: Board, plan: Manifest, task: str) -> list[TaskScore]:
    """List the scores of the task in the manifest's order, each full grid behind its entry."""
    scores = []
    for entry in plan.entries:
        for name in (entry.name, entry.name + FULL):
            if (name, task) in board.scores:
                scores.append(board.scores[name, task])
    return scores


def _probe_setting(entry: str, strength: Strength) -> ProbeSetting:
    """Name the setting as its records do: off is `none`, a full grid's is the entry's."""
    return (entry.removesuffix(FULL), strength) if strength else (NONE, ())


def _probe_columns(settings: Sequence[ProbeSetting], means: ProbeMeans) -> list[Column]:
    """Make a column of each probe, metric and signal; a dash where nothing was measured."""
    columns = []
    for key in sorted(keys_in_order(means.values())):
        probe, metric, signal = (escape_markdown(part) for part in key)
        cells = []
        for setting in settings:
            mean = means.get(setting, {}).get(key)
            cells.append(MISSING if mean is None else number(mean))
        columns.append(Column(f"{probe} {metric}, {signal}", cells))
    return columns

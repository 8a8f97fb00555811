"""The caption and alternative text of a figure, in a few sentences of plain text.

A caption speaks of confirmed settings only: of strengths that were chosen on other seeds than those
that its numbers are read on. It names entries that hold the claim, in the order of the board; where
the claim is not tested, the first entries of the board.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.report.text import count
from membench.report.text import noise_words
from membench.report.text import percent
from membench.report.text import plain
from membench.report.text import signed
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Confirmed
from membench.scoring.types import Interval
from membench.scoring.types import TaskScore

MOST_NAMED = 3  #: entries that a caption names
MOST_ON_FRONT = 8  #: the same, of the front

_LESS = "the control, the plain network trained less"
_CONFIRMING = "Means over the tasks, read on the confirming seeds."
_CHOOSING = (
    "Dots and lines are means over the choosing seeds; a filled dot is the strength chosen by "
    "noise held back, a ring the one chosen by recovery."
)


def forest_caption(effects: Effects) -> str:
    """Say how many entries hold the claim, what the first of them do, and what the controls do."""
    holders = _holders(effects)
    total = count(len(effects.entries), "entry", "entries")
    if not effects.claims:
        claim = f"{total}, without claims"
    elif holders:
        claim = f"{len(holders)} of {total} {'holds' if len(holders) == 1 else 'hold'} the claim"
    else:
        claim = f"None of {total} holds the claim"
    if len(holders) > MOST_NAMED:
        claim += "; the most noise is held back by these"
    named = f": {_effects(holders[:MOST_NAMED])}" if holders else ""
    return f"{claim}{named}. {_controls(effects)}{_CONFIRMING}"


def front_caption(effects: Effects) -> str:
    """Say who is on the front, and what that means; the numbers are in the caption before it."""
    front = [one for one in effects.entries if one.on_front]
    if not effects.claims:
        text = "No front is given, since the claim is not tested."
    elif not front:
        text = "No entry holds the claim, so that there is no front."
    else:
        entries = count(len(front), "entry is", "entries are")
        names = [one.style.label for one in front[:MOST_ON_FRONT]]
        if len(front) > MOST_ON_FRONT:
            names.append(f"{len(front) - MOST_ON_FRONT} more")
        text = (
            f"{entries} on the front: {', '.join(names)}. No entry that holds the claim is "
            "significantly better than one of these in both noise held back and real accuracy."
        )
    return f"{text} {_CONFIRMING}"


def fit_caption(board: Board, task: str, scores: Sequence[TaskScore]) -> str:
    """Say how much of the fit of random labels is suppressed on a task, and at what real accuracy.

    Args:
        board: says who holds the claim, and has the control.
        task: the one task.
        scores: of its entries, in the board's order.
    """
    parts: list[str] = []
    for subject, setting in _named_settings(board, task, scores):
        if setting.S is not None:
            share, points = _share(setting.S, first=not parts), _points(setting.dA)
            if not parts:
                share = f"suppresses {share} of the fit of random labels"
                points += " of real accuracy"
            parts.append(f"{subject} {share} at {points}")
    return _settings_caption(parts)


def wrong_caption(board: Board, task: str, scores: Sequence[TaskScore], signal: str) -> str:
    """Say how many wrong labels are held back on a task, and at what accuracy on clean images.

    Args:
        board: says who holds the claim, and has the control.
        task: the one task.
        scores: of its entries, in the board's order.
        signal: of label noise, that the figure shows.
    """
    parts: list[str] = []
    for subject, setting in _named_settings(board, task, scores):
        if signal in setting.noisy:
            share = _at_least(setting.edge) + _share(setting.H, first=not parts)
            points = _points(setting.noisy[signal])
            if not parts:
                share = f"holds back {share} of the wrong labels"
                points += f" of accuracy on clean images after {noise_words(signal)} noisy labels"
            parts.append(f"{subject} {share} at {points}")
    return _settings_caption(parts)


def group_caption(groups: Iterable[str]) -> str:
    """Say what the panels of a figure by group are."""
    return (
        "Every entry, a group at a time on the same axes, the others in grey: "
        f"{', '.join(groups)}. {_CHOOSING}"
    )


def curves_caption(settings: Sequence[tuple[str, Confirmed]], of: int) -> str:
    """Say how far the fits of random labels lie apart at the settings whose curves are drawn.

    Args:
        settings: an entry, and one of its settings.
        of: how many entries have curves; only the first are drawn of more than are compared by eye.
    """
    last = []
    for entry, setting in settings:
        if setting.curve and setting.curve.rand_train:
            name = f"{plain(entry)}[{plain(setting.label)}]"
            last.append((setting.curve.rand_train[-1], name))
    text = (
        "Means over the confirming seeds, at the strength chosen by noise held back (R: where that "
        "is off, at the one chosen by recovery)."
    )
    if of > len(settings):
        text += f" Drawn are the first {len(settings)} of {of} entries."
    if not last:
        return text
    (low, lowest), (high, highest) = min(last), max(last)
    if len(last) == 1:
        return f"{text} The fit of random labels at the last epoch is {percent(low)}% ({lowest})."
    return (
        f"{text} The fit of random labels at the last epoch lies between {percent(low)}% "
        f"({lowest}) and {percent(high)}% ({highest})."
    )


def _holders(effects: Effects) -> list[Effect]:
    """List the entries that hold the claim; without claims, those that hold something back."""
    if effects.claims:
        return [one for one in effects.entries if not one.muted]
    return [one for one in effects.entries if one.held_back.mean > 0]


def _effects(effects: Sequence[Effect]) -> str:
    """List what entries do; the first is a whole sentence."""
    return _list([(one.style.label, one) for one in effects])


def _controls(effects: Effects) -> str:
    """Write the sentence on the controls, with a space behind it; "" if none has been run."""
    controls = []
    if effects.training_less:
        controls.append((f"{_LESS},", effects.training_less))
    if effects.early_stopping:
        controls.append(("early stopping on clean validation images", effects.early_stopping))
    text = _list(controls)
    return f"{text[0].upper()}{text[1:]}. " if text else ""


def _list(effects: Sequence[tuple[str, Effect]]) -> str:
    """List what is done by subjects: `a holds back 30.0% of ... at ... of ...; b 20.0% at ...`."""
    parts: list[str] = []
    for subject, one in effects:
        share = _at_least(one.edge) + _share(one.held_back, first=not parts)
        points = _points(one.real)
        if not parts:
            share = f"holds back {share} of the wrong labels"
            points += " of real accuracy"
        parts.append(f"{subject} {share} at {points}")
    return "; ".join(parts)


def _named_settings(
    board: Board, task: str, scores: Sequence[TaskScore]
) -> list[tuple[str, Confirmed]]:
    """List the settings by noise held back that a caption names on one task, the control last.

    Entries that are off there are left out: they do what `none` does.
    """
    holders = {row.entry for row in board.rows if row.claim and row.claim.holds}
    named = []
    for score in scores:
        setting = score.held_back
        if setting and setting.strength and (score.entry in holders or not board.ranked):
            named.append((f"{plain(score.entry)}[{plain(setting.label)}]", setting))
    named = named[:MOST_NAMED]
    control = board.scores.get((TRAINING_LESS, task))
    if control and control.held_back:
        named.append((f"{_LESS} ({plain(control.held_back.label)}),", control.held_back))
    return named


def _settings_caption(parts: Sequence[str]) -> str:
    if not parts:
        return _CHOOSING
    return f"Read on the confirming seeds, {'; '.join(parts)}. {_CHOOSING}"


def _at_least(edge: bool) -> str:
    return "at least " if edge else ""


def _share(value: Interval, *, first: bool = True) -> str:
    """Write a share with its interval: `30.2% (95% interval 25.0 to 35.4)`.

    Args:
        value: the share.
        first: say what the numbers in brackets are.
    """
    text = f"{percent(value.mean)}%"
    if value.low is None or value.high is None:
        return text
    words = "95% interval " if first else ""
    return f"{text} ({words}{percent(value.low)} to {percent(value.high)})"


def _points(value: Interval) -> str:
    """Write a change in points with its interval: `+1.1 points (+0.9 to +1.3)`."""
    text = f"{signed(value.mean, 1)} points"
    if value.low is None or value.high is None:
        return text
    return f"{text} ({signed(value.low, 1)} to {signed(value.high, 1)})"

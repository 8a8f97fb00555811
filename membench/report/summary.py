"""The first paragraphs of a suite: what was asked, how many entries do it, and which.

Frozen values for the sentences of `templates/suite.md.j2`: counts, and numbers in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Manifest
from membench.report.tables import anchor
from membench.report.text import code
from membench.report.text import escape_markdown
from membench.report.text import format_interval
from membench.report.text import joined
from membench.report.text import noise_words
from membench.report.text import percent
from membench.report.text import percent_interval
from membench.report.text import rounded_down
from membench.report.text import signed
from membench.scoring.record_index import noisy_signals
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Excess
from membench.scoring.types import Interval
from membench.scoring.types import Row

EXAMPLE = "dropout"  #: the regularizer of which Arpit et al. made their claim
NAMED = 5  #: entries that hold the claim and are named with their numbers, at most


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the plain network did, in words: "40%"; "97 to 100%" or "" where it has not run."""

    levels: str  #: of random labels
    others: str  #: names of the other signals of label noise that are scored
    memorized: str  #: of the wrong labels, by `none`
    damage: str  #: points of test accuracy that the noise costs `none`


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a row holds back at what cost, in words."""

    name: str  #: Markdown, linked
    held_back: str  #: "30%", or with its half-width where there is no claim
    held_back_bound: str = ""  #: "25%"
    real: str  #: "+1.1 points"
    real_bound: str = ""


@dataclass(frozen=True, kw_only=True)
class ClaimCounts:
    """The claim of a board, counted."""

    ranked: int  #: entries that are tested for the claim; 0 where no claims are made
    holding: int
    named: tuple[Held, ...]  #: those of `holding` with the most noise held back
    more: int  #: of `holding`, not named
    front: str  #: names, as in a sentence; "" if nothing is on it
    on_front: int
    training_less: Held | None
    early_stopping: Held | None
    beyond_training_less: int | None  #: entries; None if no excess is claimed
    beyond_early_stopping: int | None
    largest: Held | None  #: the largest H, where there are no claims


@dataclass(frozen=True, kw_only=True)
class InShort:
    """What to take away from a board, in words."""

    suite: str
    ranked: int  #: entries that are tested for the claim
    holding: int
    example: Held | None  #: the paper's own example; None where the board lacks it
    example_holds: bool
    most: Held | None  #: of those that hold the claim, the one with the most noise held back
    training_less: Held | None
    early_stopping: Held | None
    beyond_training_less: int | None  #: entries; None if no excess is claimed
    beyond_early_stopping: int | None


def in_short(board: Board) -> InShort | None:
    """Put the three things to take away into words; None where the board makes no claims."""
    counts = claim(board) if board.rows else None
    if not counts or not counts.ranked:
        return None
    example = next((row for row in board.rows if row.entry == EXAMPLE), None)
    holding = [row for row in board.rows if row.claim and row.claim.holds]
    return InShort(
        suite=board.suite,
        ranked=counts.ranked,
        holding=counts.holding,
        example=_read(example),
        example_holds=bool(example and example.claim and example.claim.holds),
        most=_read(holding[0]) if holding else None,
        training_less=counts.training_less,
        early_stopping=counts.early_stopping,
        beyond_training_less=counts.beyond_training_less,
        beyond_early_stopping=counts.beyond_early_stopping,
    )


def question(plan: Manifest, board: Board) -> Question:
    """Say what noise there is, and what it did to the plain network on the valid tasks.

    Args:
        plan: has the signals.
        board: the scores.
    """
    levels = []
    others = []
    for signal in noisy_signals(plan):
        if signal.startswith("mixed@"):
            levels.append(noise_words(signal))
        else:
            others.append(code(signal))
    memorized = []
    damage = []
    for gate in board.gates:
        for name, value in gate.values.items():
            if gate.valid and name.startswith("M0@"):
                memorized.append(value)
            if gate.valid and name.startswith("D@"):
                damage.append(value)
    return Question(
        levels=joined(levels, last="or"),
        others=joined(others, last="or"),
        memorized=_percent_range(memorized),
        damage=_percent_range(damage).removesuffix("%"),
    )


def claim(board: Board) -> ClaimCounts:
    """Count the entries that hold the claim, and put the best of them into words."""
    tested = [row for row in board.rows if row.claim]
    holding = [row for row in tested if row.claim and row.claim.holds]
    front = [row for row in holding if row.on_front]
    controls = {row.entry: row for row in board.control_rows}
    largest = board.rows[0]
    return ClaimCounts(
        ranked=len(tested),
        holding=len(holding),
        named=tuple(_bounded(row) for row in holding[:NAMED]),
        more=max(0, len(holding) - NAMED),
        front=joined([_link(row) for row in front]),
        on_front=len(front),
        training_less=_read(controls.get(TRAINING_LESS)),
        early_stopping=_read(controls.get(EARLY_STOPPING)),
        beyond_training_less=_significant([row.excess_H for row in tested]),
        beyond_early_stopping=_significant([row.stopping_H for row in tested]),
        largest=None if tested else _read(largest),
    )


def _link(row: Row) -> str:
    return f"[{escape_markdown(row.entry)}](#{anchor(row.entry)})"


def _bounded(row: Row) -> Held:
    """Describe a row that holds the claim, with its one-sided bounds."""
    assert row.H is not None and row.dA is not None and row.claim is not None
    return Held(
        name=_link(row),
        held_back=_whole_percent(row.H.mean),
        held_back_bound=_whole_percent(rounded_down(row.claim.H_bound, digits=2)),
        real=signed(row.dA.mean, digits=1),
        real_bound=signed(rounded_down(row.claim.dA_bound, digits=1), digits=1),
    )


def _read(row: Row | None) -> Held | None:
    """Describe a row with its intervals; None where it has no numbers."""
    if row is None or row.H is None or row.dA is None:
        return None
    return Held(
        name=escape_markdown(row.entry),
        held_back=percent_interval(Interval(mean=min(row.H.mean, 1.0), half=row.H.half)),
        real=format_interval(row.dA, digits=1),
    )


def _significant(excesses: Sequence[Excess | None]) -> int | None:
    """Count what is significant; None where nothing is claimed."""
    decided = [excess.significant for excess in excesses if excess]
    if not decided or None in decided:
        return None
    return decided.count(True)


def _whole_percent(share: float) -> str:
    """Write a share, as a part of the wrong labels: at most 100%."""
    return f"{percent(min(share, 1.0), digits=0)}%"


def _percent_range(shares: Sequence[float]) -> str:
    """Write the smallest and the largest share: `97 to 100%`, once where they look alike."""
    if not shares:
        return ""
    low, high = percent(min(shares), digits=0), percent(max(shares), digits=0)
    return f"{low}%" if low == high else f"{low} to {high}%"

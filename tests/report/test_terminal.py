"""The short board fits the terminal and prints strangers' text as text."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.boards import Effect
from support.boards import manifest
from support.boards import records

from membench.report import summary_table
from membench.scoring import Board
from membench.scoring import score

EFFECTS = (
    Effect("gradient-noise", "gradient", 0.9, 0.05),
    Effect("[red]x\x1b[2J", "data", 0.5, 0.1),
)


@pytest.fixture(scope="module")
def board() -> Board:
    plan = manifest(EFFECTS)
    return score(plan, records(plan, EFFECTS))


def printed(board: Board, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(summary_table(board, width))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160])
def test_every_row_is_one_line_that_fits(board: Board, width: int) -> None:
    lines = printed(board, width).splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert [
        name in line
        for name, line in zip(
            ("gradient-noise", "[red]x", "control", "placebo"), lines[1:5], strict=True
        )
    ]
    assert all("+" in line or "\N{MINUS SIGN}" in line for line in lines[1:5])
    assert "…" not in "".join(lines[:5])


def test_a_narrow_terminal_keeps_the_ranking(board: Board) -> None:
    assert "recovery R" in printed(board, 80)
    assert "strength" not in printed(board, 80)
    assert "strength" in printed(board, 100)


def test_names_are_neither_markup_nor_escape_sequences(board: Board) -> None:
    out = printed(board, 100)
    assert "[red]x[2J" in out
    assert "\x1b" not in out


def test_the_mark_of_a_claim_is_explained(board: Board) -> None:
    out = printed(board, 100)
    assert ("*" in out) == any(row.beats_control for row in board.rows)


def test_flags_are_letters_that_are_explained_and_a_row_stays_one_line(board: Board) -> None:
    marked = replace(
        board.rows[0],
        flags=("still fitting", "two-network only"),
        failed=3,
        chosen={"a": "0.3,0.3 (4/5)"},
    )
    out = printed(replace(board, rows=(marked, *board.rows[1:])), 100)
    assert re.search(r"0\.3,0\.3 +F2 3x\n", re.sub(" +\n", "\n", out))
    assert "F still fitting, 2 two-network only, 3x: 3 runs failed" in out
    assert "F still fitting" not in printed(replace(board, rows=(marked,)), 80)


def test_a_broad_terminal_has_the_flags_in_words_and_all_intervals(board: Board) -> None:
    marked = replace(board.rows[0], flags=("still fitting", "two-network only"), failed=3)
    lines = printed(replace(board, rows=(marked, *board.rows[1:])), 160).splitlines()
    assert lines[1].rstrip().endswith("still fitting, two-network only, 3 failed")
    assert lines[1].count("±") == 2
    assert not any(line.startswith("F ") for line in lines)


def test_a_board_without_ranks_has_no_column_of_them(board: Board) -> None:
    assert printed(board, 80).splitlines()[0].startswith("rank ")
    assert printed(replace(board, ranked=False), 80).splitlines()[0].startswith("regularizer")


def test_nothing_to_rank_is_one_sentence() -> None:
    plan = manifest(EFFECTS)
    out = printed(score(plan, []), 400)
    assert out.startswith("quick: nothing to rank yet, 0 of ")
    assert out.count("\n") == 1


def test_an_entry_that_cannot_act_anywhere_is_named_with_its_reason() -> None:
    plan = manifest(EFFECTS)
    skipped = dict.fromkeys(plan.tasks, "no branch")
    entries = tuple(
        replace(e, skipped=skipped) if e.name == "gradient-noise" else e for e in plan.entries
    )
    measured = [r for r in records(plan, EFFECTS) if r.regularizer != "gradient-noise"]
    out = printed(score(replace(plan, entries=entries), measured), 100)
    assert "gradient-noise cannot act: no branch." in out
    assert "not ranked yet" not in out
    alone = replace(plan, entries=tuple(e for e in entries if e.name != EFFECTS[1].name))
    out = printed(score(alone, measured), 400)
    assert out.startswith("quick: nothing to rank. gradient-noise cannot act: no branch.")


def test_entries_still_to_run_are_named() -> None:
    plan = manifest(EFFECTS)
    some = [r for r in records(plan, EFFECTS) if r.regularizer != "gradient-noise" or r.seed]
    assert "not ranked yet (1): gradient-noise" in printed(score(plan, some), 100)


def test_entries_that_will_never_be_ranked_are_not_called_unfinished(board: Board) -> None:
    idle = replace(
        board.rows[0], entry="idle", rank=None, R=None, reason="cannot act on any valid task"
    )
    later = replace(board.control_rows[-1], entry="oracle", R=None, incomplete=True)
    out = printed(replace(board, unranked=(idle,), control_rows=(*board.control_rows, later)), 100)
    assert "cannot act on any valid task (1): idle\n" in re.sub(" +\n", "\n", out)
    assert "controls, not complete yet (1): oracle" in out
    assert "not ranked yet" not in out

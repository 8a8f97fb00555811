"""The short board fits the terminal and prints strangers' text as text."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.board_objects import TASKS
from support.board_objects import made_board
from support.board_objects import made_gate
from support.board_objects import made_row

from membench.report import row_lines
from membench.report import summary_table
from membench.scoring.types import Board
from membench.scoring.types import Row


@pytest.fixture(scope="module")
def board() -> Board:
    return made_board()


def printed(board: Board, width: int, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Console(width=width, file=file).print(summary_table(board, width))
    file.seek(0)
    return file.read()


def line_of(out: str, name: str) -> str:
    (line,) = [line for line in out.splitlines() if f" {name} " in line]
    return line


@pytest.mark.parametrize("width", [80, 100, 160])
def test_every_row_is_one_line_that_fits(board: Board, width: int) -> None:
    longest = made_row(
        "input-gradient-penalty",
        -0.25,
        -12.25,
        rank=(10, 48),
        holds=True,
        front=True,
        beyond=(True, True),
        H_edge=True,
        confirmed_failed=1,
        recovery=-1.25,
        chosen_held_back=dict.fromkeys(TASKS, "0.5,0.25"),
        chosen_recovery=dict.fromkeys(TASKS, "0.5,0.25"),
    )
    out = printed(replace(board, rows=(longest, *board.rows)), width)
    lines = out.splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert "input-gradient-penalty" in lines[1]
    assert "CFTEgx" in lines[1]
    for line, row in zip(lines[2:6], board.rows, strict=True):
        assert row.entry in line
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_a_row_shows_rank_numbers_and_marks(board: Board) -> None:
    shown = line_of(printed(board, 80), "mixup")
    expected = "2\N{EN DASH}3 mixup 0.30 ± 0.05 +2.00 ± 0.30 +0.40 ± 0.06 CFT"
    assert shown.split() == expected.split()
    assert line_of(printed(board, 100), "mixup").rstrip().endswith(" 0.3 \N{MIDDLE DOT} 0.3")
    both = line_of(printed(board, 140), "mixup").rstrip()
    assert both.endswith(" 0.3|0.5 \N{MIDDLE DOT} 0.3|0.5")


def test_one_strength_is_named_once(board: Board) -> None:
    same = replace(board.rows[0], chosen_recovery=board.rows[0].chosen_held_back)
    out = printed(replace(board, rows=(same,)), 140)
    assert line_of(out, "dropout").rstrip().endswith(" 0.3 \N{MIDDLE DOT} 0.3")


def test_many_tasks_have_no_room_for_strengths(board: Board) -> None:
    gates = tuple(made_gate(f"data/{place}") for place in range(3))
    assert "strength " in printed(board, 120).splitlines()[0] + " "
    assert "strength" not in printed(replace(board, gates=gates), 120).splitlines()[0]


def test_the_claims_are_counted_and_the_marks_explained(board: Board) -> None:
    out = printed(board, 100)
    assert "3 of 4 entries hold noise back at no real cost, 2 on the front\n" in spaces_cut(out)
    assert (
        "C holds noise back at no real cost, F on the front, T holds back more than training less\n"
    ) in spaces_cut(out)
    assert "failed" not in out, "a mark that no row has is not explained"


def test_controls_come_last(board: Board) -> None:
    lines = printed(board, 80).splitlines()
    names = [line for line in lines if "±" in line]
    assert [
        name in line
        for name, line in zip(
            ["training less", "early stopping", "oracle", "placebo"], names[4:], strict=True
        )
    ] == [True] * 4


def test_a_terminal_without_unicode_gets_ascii(board: Board) -> None:
    out = printed(board, 100, encoding="ascii")
    assert out.isascii()
    assert line_of(out, "mixup").split()[:5] == ["2-3", "mixup", "0.30", "+-", "0.05"]
    assert line_of(out, "weight-decay").split()[5:8] == ["-2.30", "+-", "0.30"]


def test_names_are_neither_markup_nor_escape_sequences(board: Board) -> None:
    evil = replace(board.rows[0], entry="[red]x\x1b[2J")
    out = printed(replace(board, rows=(evil,)), 100)
    assert "[red]x[2J" in out
    assert "\x1b" not in out


def test_a_board_without_ranks_has_no_column_of_them_and_no_claims(board: Board) -> None:
    plain = replace(board, rows=(made_row("dropout", 0.9, 1.1),), ranked=False, control_rows=())
    lines = printed(plain, 80).splitlines()
    assert lines[0].split() == ["entry", "held", "back", "H", "real", "dA", "recovery", "R"]
    assert len([line for line in lines if line.strip()]) == 2


def test_nothing_to_rank_is_one_sentence(board: Board) -> None:
    late = Row(entry="dropout", group="model", incomplete=True, done=3, cells=90)
    out = printed(replace(board, rows=(), control_rows=(), unranked=(late,)), 400)
    assert out == "quick: nothing to rank yet, 3 of 90 runs of its entries are done.\n"


def test_a_board_without_a_valid_task_is_not_called_unfinished(board: Board) -> None:
    done = Row(entry="dropout", group="model", reason="no task is valid", done=90, cells=90)
    gates = tuple(replace(gate, valid=False, reasons=("too little",)) for gate in board.gates)
    empty = replace(board, gates=gates, rows=(), control_rows=(), unranked=(done,))
    assert printed(empty, 400) == "quick: nothing to rank, no task is valid.\n"


def test_an_entry_that_cannot_act_anywhere_is_named_with_its_reason(board: Board) -> None:
    idle = Row(entry="stochastic-depth", group="model", reason="no branch")
    out = printed(replace(board, skipped=(idle,)), 100)
    assert "stochastic-depth cannot act: no branch." in out
    assert "not complete yet" not in out
    out = printed(replace(board, rows=(), control_rows=(), skipped=(idle,)), 400)
    assert out == "quick: nothing to rank. stochastic-depth cannot act: no branch.\n"


def test_entries_and_controls_still_to_run_are_named_apart_from_those_that_never_rank(
    board: Board,
) -> None:
    late = Row(entry="sam", group="gradient", incomplete=True)
    idle = Row(entry="idle", group="model", reason="cannot act on any valid task")
    oracle = Row(entry="oracle", group="control", incomplete=True)
    out = spaces_cut(printed(replace(board, unranked=(late, idle), control_rows=(oracle,)), 100))
    assert "\nnot complete yet (1): sam\n" in out
    assert "\ncannot act on any valid task (1): idle\n" in out
    assert "\ncontrols, not complete yet (1): oracle\n" in out


def spaces_cut(out: str) -> str:
    return re.sub(" +\n", "\n", out)


def test_a_row_that_is_not_complete_has_a_line_and_is_no_row(board: Board) -> None:
    late = Row(entry="late", group="model", incomplete=True, reason="3 of 9 runs")
    both = replace(board, unranked=(late,))
    (line,) = row_lines(both, "late", seconds=1.0)
    assert line.row is None
    (line,) = row_lines(both, board.rows[0].entry, seconds=1.0)
    assert line.row is board.rows[0]

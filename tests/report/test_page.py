"""The page says what the board says, in the same bytes every time, whatever text plugins bring."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.board_objects import ENV
from support.board_objects import NOISY
from support.board_objects import OTHER_ENV
from support.board_objects import TASKS
from support.board_objects import VERSIONS
from support.board_objects import made_board
from support.board_objects import made_gate
from support.board_objects import made_plan
from support.board_objects import made_row
from support.boards import EFFECTS
from support.boards import manifest
from support.boards import records
from support.records import make_record

from membench.records import Cell
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.report import TIMING
from membench.report import render
from membench.report.columns import MAX_COLUMNS
from membench.report.figures import Drawing
from membench.report.markdown import fill_template
from membench.report.page import Section
from membench.report.page import page
from membench.report.provenance import scored_records
from membench.report.provenance import timing
from membench.scoring import score
from membench.scoring.types import EARLY_STOPPING
from membench.scoring.types import TRAINING_LESS
from membench.scoring.types import Board
from membench.scoring.types import Interval
from membench.scoring.types import Row

HOSTILE = "x|y`<script>alert(1)</script>[a](javascript:b)\n| --- |\x1b[31m$\\"
MINUS = "\N{MINUS SIGN}"
HELD_BACK = "noise held back *H*"
RECOVERY = "recovery *R*"


def run_of(name: str, seed: int, **fields: Any) -> Record:
    """The record of a run of `mnist5k/mlp` on real labels, at strength 0.3."""
    strength = () if name == "none" else (0.3,)
    cell = Cell("mnist5k", "mlp", name, strength, "real", seed)
    return make_record(cell, **{"env": ENV, "versions": VERSIONS[ENV], **fields})


def planned(board: Board, records: Sequence[Record], **changes: Any) -> Manifest:
    """The plan of a board with the cells of these records."""
    return made_plan(board, cells={record.id: record.key for record in records}, **changes)


def text(
    board: Board,
    records: Sequence[Record] | None = None,
    plan: Manifest | None = None,
    **drawings: Sequence[Drawing],
) -> str:
    """The page of one board, by default with the record of one run and without figures."""
    some = [run_of("none", 0)] if records is None else list(records)
    plan = plan or planned(board, some)
    counted = scored_records(plan, some)
    return page([Section(plan=plan, records=counted, board=board, drawings=drawings)], {})


def table_lines(markdown: str) -> list[list[str]]:
    """The tables of a page, each as its lines."""
    tables: list[list[str]] = []
    before = ""
    for line in markdown.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append(line)
        before = line
    return tables


def cells(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line)[1:-1]
    return [part.strip().replace("\xa0", " ") for part in parts]


def rows(markdown: str, head: str) -> list[list[str]]:
    """The cells of the first table whose header holds these words, without the header."""
    for lines in table_lines(markdown):
        if head in lines[0]:
            return [cells(line) for line in lines[2:]]
    raise AssertionError(f"no table with {head!r}")


def named(markdown: str, head: str) -> list[str]:
    """The second column of a list, without links and marks."""
    names = []
    for row in rows(markdown, head):
        names.append(re.sub(r"\]\([^)]*\)", "", row[1]).strip("*[]◆●○ "))
    return names


def with_row(board: Board, name: str, **changes: Any) -> Board:
    """The board with fields of one row changed."""
    changed = []
    for row in board.rows:
        changed.append(replace(row, **changes) if row.entry == name else row)
    return replace(board, rows=tuple(changed))


@pytest.fixture(scope="module")
def board() -> Board:
    return made_board()


@pytest.fixture(scope="module")
def markdown(board: Board) -> str:
    return text(board)


# --- in short ------------------------------------------------------------------------------------


def test_three_sentences_say_what_to_take_away(markdown: str) -> None:
    head = markdown.partition("<!-- in short: end -->")[0]
    assert "**In short**, on `quick`, with 95% intervals:\n\n1. Dropout, the example of" in head
    assert (
        "keeps 90 ± 5% of the wrong labels from being learned by heart and changes real accuracy "
        "by +1.1 ± 0.3 points: their claim holds here.\n"
        "2. 3 of 4 regularizers hold noise back at no real cost, and dropout holds back most: 90 "
        "± 5% at +1.1 ± 0.3 points.\n"
        "3. The plain network stopped in time needs no regularizer: by clean validation images it "
        f"holds back 95 ± 5% at {MINUS}0.4 ± 0.3 points (none of the 4 hold back significantly "
        f"more), without such images 15 ± 5% at {MINUS}0.6 ± 0.3 points (1 holds back more).\n"
    ) in head


def test_in_short_says_so_where_the_claim_is_not_shown_to_hold(board: Board) -> None:
    claim = board.rows[0].claim
    assert claim is not None
    page_text = text(with_row(board, "dropout", claim=replace(claim, holds=False)))
    assert "their claim is not shown to hold here.\n2. 2 of 4 regularizers hold noise" in page_text


def test_in_short_is_left_out_where_nothing_is_claimed(board: Board) -> None:
    rows = tuple(replace(row, claim=None) for row in board.rows)
    assert "In short" not in text(replace(board, rows=rows))


# --- the first paragraphs ------------------------------------------------------------------------


def test_the_question_is_put_in_words_that_are_explained(markdown: str) -> None:
    assert (
        "Of the training labels, 40% are replaced by random ones. The plain network ends up "
        "predicting 98% of those that are wrong just as they were given: it has learned them by "
        "heart, which costs it 25 points of test accuracy."
    ) in markdown
    claim = "entries hold noise back"
    assert markdown.index("*Noise held back*, *H*, is the share") < markdown.index(claim)


def test_the_claim_is_counted_and_the_best_are_named_with_their_bounds(markdown: str) -> None:
    assert "**3 of the 4 entries hold noise back at no real cost.**" in markdown
    assert "They are:\n\n- [dropout](#entry-dropout): 90% of the wrong labels are" in markdown
    assert (
        "- [dropout](#entry-dropout): 90% of the wrong labels are no longer memorized (at least "
        "86%), real accuracy +1.1 points (at least +0.8);\n"
    ) in markdown
    assert (
        "- [label-smoothing](#entry-label-smoothing): 25% of the wrong labels are no longer "
        "memorized (at least 21%), real accuracy +0.4 points (at least +0.1).\n"
    ) in markdown


def test_a_bound_is_rounded_down_so_that_it_stays_one(board: Board) -> None:
    claim = board.rows[0].claim
    assert claim is not None
    near = replace(claim, H_bound=0.8699, dA_bound=-0.81)
    page_text = text(with_row(board, "dropout", claim=near))
    assert f"(at least 86%), real accuracy +1.1 points (at least {MINUS}0.9)" in page_text


def test_more_than_all_wrong_labels_cannot_be_held_back(board: Board) -> None:
    page_text = text(with_row(board, "dropout", H=Interval(mean=1.02, half=0.01)))
    assert "[dropout](#entry-dropout): 100% of the wrong labels" in page_text
    assert rows(page_text, HELD_BACK)[0][2] == "1.02 ± 0.01", "the table shows it as it is"


def test_many_that_hold_the_claim_are_counted_after_the_fifth(board: Board) -> None:
    many = []
    for place in range(7):
        held_back = 0.9 - place / 10
        many.append(made_row(f"r{place}", held_back, 1.0, rank=(1, 7), holds=True, front=False))
    page_text = text(replace(board, rows=tuple(many)))
    assert "**7 of the 7 entries hold noise back at no real cost.**" in page_text
    assert "The most is held back by:\n" in page_text
    assert page_text.count("of the wrong labels are no longer memorized") == 5
    assert "; and 2 more, marked ● or ◆ below.\n" in page_text


def test_none_that_holds_the_claim_is_said_so(board: Board) -> None:
    page_text = text(replace(board, rows=board.rows[3:]))
    assert "**None of the 1 entry holds noise back at no real cost.**" in page_text
    assert "at least" not in page_text.partition("### Noise held back")[0]


def test_the_controls_are_compared_in_the_first_paragraphs(markdown: str) -> None:
    assert f"holds back 15 ± 5% at {MINUS}0.6 ± 0.3 points of real accuracy." in markdown
    assert f"holds back 95 ± 5% at {MINUS}0.4 ± 0.3 points." in markdown
    assert (
        "1 of the 4 entries holds back significantly more than training less (✓). None of them "
        "holds back significantly more than early stopping (★).\n"
    ) in markdown


def test_the_front_is_named(board: Board, markdown: str) -> None:
    assert (
        "**The front** (◆) is [dropout](#entry-dropout) and [mixup](#entry-mixup): no entry that "
        "holds noise back at no real cost is shown to beat one of these in both *H* and *ΔA*."
    ) in markdown
    alone = text(with_row(board, "mixup", on_front=False))
    assert "**The front** (◆) is [dropout](#entry-dropout): no entry that holds" in alone
    assert "shown to beat it in both" in alone


def test_without_five_seeds_there_is_no_rank_no_claim_and_no_mark(board: Board) -> None:
    why = "2 confirming seeds: no ranks"
    plain = (made_row("dropout", 0.9, 1.1, reason=why), made_row("mixup", 0.3, 2.0, reason=why))
    page_text = text(replace(board, rows=plain, ranked=False, confirming=2))
    assert (
        "No ranks are given and no claim is tested: that takes five confirming seeds that count, "
        "and here there are 2. The most noise is held back by dropout, 90 ± 5% at +1.1 ± 0.3 "
        "points."
    ) in page_text
    assert {row[0] for row in rows(page_text, HELD_BACK)} == {"—"}
    assert why not in page_text, "said once, above the lists"
    lists = page_text.partition("### Noise held back")[2].partition("## How to read")[0]
    assert re.findall("[◆●○✓★]", lists) == []
    assert "The claim, part by part" not in page_text


def test_a_board_on_which_no_row_has_a_rank_says_so(board: Board) -> None:
    page_text = text(replace(board, rows=(made_row("dropout", 0.9, 1.1, reason="its gate"),)))
    assert "No entry has a rank, so that no claim is tested; the notes of the rows say" in page_text
    assert rows(page_text, HELD_BACK)[1][-1] == "its gate"


def test_notes_of_the_scoring_are_shown(board: Board) -> None:
    assert "\n> No excess is claimed.  \n" in text(replace(board, notes=("No excess is claimed.",)))


# --- the two lists -------------------------------------------------------------------------------


def test_each_list_is_in_the_order_of_its_estimate_with_the_controls_in_their_places(
    markdown: str,
) -> None:
    assert named(markdown, HELD_BACK) == [
        "early stopping",
        "dropout",
        "mixup",
        "label-smoothing",
        "training less",
        "weight-decay",
    ]
    assert named(markdown, RECOVERY) == [
        "weight-decay",
        "early stopping",
        "dropout",
        "label-smoothing",
        "mixup",
        "training less",
    ]


def test_a_row_shows_rank_marks_and_numbers(markdown: str) -> None:
    first, *_ = [row for row in rows(markdown, HELD_BACK) if "mixup" in row[1]]
    assert first == [
        "2\N{EN DASH}3",
        "◆ [mixup](#entry-mixup)",
        "0.30 ± 0.05",
        "0.20",
        "+2.0 ± 0.3",
        "+0.15 ✓",
        "0.3 · 0.3",
        "",
    ]
    second, *_ = [row for row in rows(markdown, RECOVERY) if "mixup" in row[1]]
    assert second == [
        "2\N{EN DASH}3",
        "◆ [mixup](#entry-mixup)",
        "+0.40 ± 0.06",
        "+1.5 ± 0.4",
        "+0.10 ✓",
        "0.5 · 0.5",
        "",
    ]


def test_marks_tell_apart_the_front_the_claim_and_the_rest(markdown: str) -> None:
    marks = {row[1].partition(" ")[0] for row in rows(markdown, HELD_BACK)[1:4]}
    assert marks == {"◆", "●"}
    assert rows(markdown, HELD_BACK)[5][1] == "○ [weight-decay](#entry-weight-decay)"
    assert rows(markdown, HELD_BACK)[1][1] == "◆ **[dropout](#entry-dropout)**", "may be first"
    assert rows(markdown, HELD_BACK)[0][:2] == ["—", "*early stopping*"]


@pytest.mark.parametrize(
    ("beyond", "marks"), [((True, True), "✓★"), ((True, False), "✓"), ((False, True), "★")]
)
def test_an_excess_is_marked_for_each_control(
    board: Board, beyond: tuple[bool, bool], marks: str
) -> None:
    row = made_row("dropout", 0.9, 1.1, rank=(1, 1), holds=True, beyond=beyond)
    (line,) = [r for r in rows(text(replace(board, rows=(row,))), HELD_BACK) if "dropout" in r[1]]
    assert line[5] == f"+0.75 {marks}"


def test_an_edge_of_the_grid_is_noted_and_makes_the_number_a_lower_one(board: Board) -> None:
    page_text = text(with_row(board, "mixup", H_edge=True))
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert (line[2], line[7]) == ("≥ 0.30 ± 0.05", "edge of grid")
    (line,) = [row for row in rows(page_text, RECOVERY) if "mixup" in row[1]]
    assert (line[2], line[6]) == ("+0.40 ± 0.06", "")


def test_failures_and_other_notes_are_few_words(board: Board) -> None:
    changes = {
        "confirmed_failed": 2,
        "confirmed_runs": 60,
        "skipped": {"mnist5k/cnn": "no branch"},
        "reason": "its none does not pass the gate",
    }
    page_text = text(with_row(board, "mixup", **changes))
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert line[7] == (
        "its none does not pass the gate, 2 of 60 runs failed, cannot act on mnist5k/cnn"
    )
    assert "- mixup on mnist5k/cnn: no branch\n" in page_text


def test_failed_choosing_runs_are_counted_apart_from_the_confirming_ones(board: Board) -> None:
    changes = {"failed": 17, "cells": 150, "confirmed_failed": 2, "confirmed_runs": 60}
    page_text = text(with_row(board, "mixup", **changes))
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert line[7] == "2 of 60 runs failed, 15 of 90 choosing runs failed"


def test_many_tasks_have_their_strengths_by_task(board: Board) -> None:
    tasks = (*TASKS, "fashion/mlp")
    gates = tuple(made_gate(task) for task in tasks)
    page_text = text(replace(board, gates=gates))
    assert len(rows(page_text, HELD_BACK)[0]) == MAX_COLUMNS - 1
    assert rows(page_text, "*H* mnist5k/mlp")[0] == [
        "dropout",
        "0.90 ± 0.05",
        "+1.1 ± 0.3",
        "+0.40 ± 0.06",
        "0.3; 0.5",
    ]
    assert rows(page_text, "*H* fashion/mlp")[0] == ["dropout", "—", "—", "—", "—"]


def test_networks_stand_beside_each_other(markdown: str) -> None:
    assert rows(markdown, "*H* mlp")[1] == [
        "mixup",
        "0.30 ± 0.05",
        "+2.0 ± 0.3",
        "+0.40 ± 0.06",
        "0.30 ± 0.05",
        "+2.0 ± 0.3",
        "+0.40 ± 0.06",
    ]


# --- details -------------------------------------------------------------------------------------


def test_the_claim_is_shown_part_by_part(markdown: str) -> None:
    lines = rows(markdown, "claim")
    assert lines[0] == ["dropout", "holds", "0.002", "0.86", "+0.85", "+4.00", "+1.10 · +1.10"]
    assert lines[3] == [
        "weight-decay",
        "",
        "0.700",
        "0.01",
        f"{MINUS}2.55",
        "+4.00",
        f"{MINUS}2.30 · {MINUS}2.30",
    ]


def test_all_four_excesses_have_their_intervals(markdown: str) -> None:
    assert rows(markdown, "*R* beyond early stopping")[1] == [
        "mixup",
        "**+0.15 ± 0.07** (p &lt; 0.001)",
        f"{MINUS}0.60 ± 0.07 (p = 0.300)",
        "**+0.10 ± 0.07** (p &lt; 0.001)",
        f"{MINUS}0.10 ± 0.07 (p = 0.300)",
    ]


def test_an_excess_without_a_control_is_a_dash(board: Board) -> None:
    page_text = text(with_row(board, "mixup", excess_H=None, excess_R=None))
    assert rows(page_text, "*R* beyond early stopping")[1][1] == "—"
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert line[5] == "—"


def test_further_signals_have_columns_and_an_explanation(board: Board, markdown: str) -> None:
    extra = {"R pair-flip@0.4": 0.61, "S randX": 0.2}
    page_text = text(with_row(board, "dropout", extra=extra))
    assert rows(page_text, "± images")[0] == [
        "dropout",
        "model",
        "1.0\N{MULTIPLICATION SIGN}",
        "+5.00 ± 0.80",
        "0.02",
        "0.61",
        "0.20",
    ]
    assert "test images, further signals</summary>" in page_text
    assert "further signals" not in markdown


def test_rows_with_a_known_answer_have_a_table_and_their_summaries(markdown: str) -> None:
    part = markdown.partition("### Known answers")[2]
    assert [row[0] for row in rows(part, HELD_BACK)] == ["oracle", "placebo"]
    assert "- `placebo`: What placebo does.\n" in part


def test_full_grids_have_a_table_without_ranks(board: Board, markdown: str) -> None:
    full = made_row("dropout+mixup (full)", 0.5, 0.2)
    page_text = text(replace(board, full_rows=(full,)))
    part = page_text.partition("### Full grids (not ranked)")[2]
    assert [row[0] for row in rows(part, HELD_BACK)] == ["dropout+mixup (full)"]
    assert "Full grid" not in markdown


def test_every_strength_is_shown_and_the_chosen_ones_are_marked(markdown: str) -> None:
    lines = rows(markdown, "validation gain")
    assert [line[0] for line in lines[:4]] == [
        "**none**",
        "dropout 0.1",
        "**dropout 0.3** ◂ *H*",
        "**dropout 0.5** ◂ *R*",
    ]
    assert lines[2][1:] == ["0.27", "0.27", "+0.27", "+0.22", "+0.27", "+5.40", ""]
    assert len(lines) == 1 + 6 * 3, "four entries and two rows with a known answer"


def test_the_control_shows_every_epoch_and_rate(board: Board) -> None:
    score = board.scores[TRAINING_LESS, TASKS[0]]
    assert score.held_back is not None
    assert score.recovery is not None
    scores = dict(board.scores)
    scores[TRAINING_LESS, TASKS[0]] = replace(
        score,
        held_back=replace(score.held_back, label="epoch 12"),
        recovery=replace(score.recovery, label="epoch 12"),
    )
    part = text(replace(board, scores=scores)).partition("<i>training less</i>")[2]
    assert [line[0] for line in rows(part, "setting")] == [
        "off",
        "**epoch 12** ◂ *H*, *R*",
        "16 plain steps",
    ]


def test_failed_runs_of_the_choosing_phase_are_counted(board: Board) -> None:
    score = board.scores["dropout", TASKS[0]]
    failed = replace(score.points[1], failed=2)
    scores = dict(board.scores)
    scores["dropout", TASKS[0]] = replace(
        score, points=(score.points[0], failed, *score.points[2:])
    )
    assert rows(text(replace(board, scores=scores)), "validation gain")[1][-1] == "2 of 9"


def test_probes_are_averaged_over_the_choosing_seeds_of_the_rows_environment(board: Board) -> None:
    records = []
    for seed, value in ((0, 0.1), (1, 0.3), (7, 9.0)):
        records.append(run_of("dropout", seed, probes={"norms": {"weights": (5.0, value)}}))
    elsewhere = run_of("dropout", 2, env=OTHER_ENV, probes={"norms": {"weights": (8.0,)}})
    page_text = text(board, [*records, elsewhere])
    (line,) = [row for row in rows(page_text, "norms weights") if "dropout 0.3" in row[0]]
    assert line[-1] == "0.2"


# --- environments --------------------------------------------------------------------------------


def test_one_environment_is_one_sentence(markdown: str) -> None:
    part = markdown.partition("### Environments\n")[2].partition("### Validity")[0]
    assert part.strip() == (
        "All rows were measured in one environment: x86-64 avx512, torch 2.9.1, precision medium, "
        f"threads 1, hash `{ENV[:8]}`."
    )


def test_a_row_of_another_environment_is_noted_and_the_comparison_explained(board: Board) -> None:
    elsewhere = with_row(board, "mixup", envs=dict.fromkeys(TASKS, OTHER_ENV))
    page_text = text(replace(elsewhere, envs=VERSIONS))
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert line[7] == "[environment 2](#environment-quick-2)"
    (line,) = [row for row in rows(page_text, HELD_BACK) if "dropout" in row[1]]
    assert line[7] == ""
    assert "are compared unpaired (Welch's test)" in page_text
    assert '2. <a id="environment-quick-2"></a>x86-64 avx2, torch 2.9.1' in page_text
    assert f"threads 1, hash `{ENV[:8]}`: reference of mnist5k/mlp, mnist5k/cnn\n" in page_text


def test_an_environment_of_one_task_names_the_task(board: Board) -> None:
    elsewhere = with_row(board, "mixup", envs={TASKS[0]: ENV, TASKS[1]: OTHER_ENV})
    (line,) = [row for row in rows(text(elsewhere), HELD_BACK) if "mixup" in row[1]]
    assert line[7] == "[environment 2](#environment-quick-2) on mnist5k/cnn"


def test_where_a_task_does_not_count_the_environment_does_not_matter(board: Board) -> None:
    gates = (made_gate(TASKS[0]), made_gate(TASKS[1], valid=False))
    elsewhere = with_row(board, "mixup", envs={TASKS[0]: ENV, TASKS[1]: OTHER_ENV})
    page_text = text(replace(elsewhere, gates=gates))
    (line,) = [row for row in rows(page_text, HELD_BACK) if "mixup" in row[1]]
    assert line[-1] == ""


def test_facts_that_tell_environments_apart_are_named(board: Board) -> None:
    versions = {ENV: {"torch": "2.9.1", "compiled": True}, OTHER_ENV: {"torch": "2.9.1"}}
    gates = (made_gate(TASKS[0]), made_gate(TASKS[1], env=OTHER_ENV))
    rows_of_both = []
    for row in board.rows:
        rows_of_both.append(replace(row, envs={TASKS[0]: ENV, TASKS[1]: OTHER_ENV}))
    page_text = text(
        replace(board, gates=gates, envs=versions, rows=tuple(rows_of_both), control_rows=())
    )
    assert "All rows of a network were measured in one environment, its reference." in page_text
    assert f"</a>torch 2.9.1, compiled true, hash `{ENV[:8]}`: reference of mnist5k" in page_text
    assert f"</a>torch 2.9.1, hash `{OTHER_ENV[:8]}`: reference of mnist5k/cnn\n" in page_text


# --- partial and empty boards --------------------------------------------------------------------


def test_a_suite_without_records_says_how_to_begin(board: Board) -> None:
    waiting = replace(
        board,
        rows=(),
        control_rows=(),
        scores={},
        controls={},
        unranked=(Row(entry="dropout", group="model", incomplete=True, cells=90),),
    )
    plan = made_plan(waiting, cells={f"mnist5k/mlp/none/real/seed{s}": digest(s) for s in range(9)})
    markdown = text(waiting, [], plan)
    start = markdown.index("## quick")
    part = markdown[start : markdown.index("\n## ", start)]
    assert (
        "No entry is complete yet: 9 runs of those planned so far are missing. "
        "`membench run --suite quick --all` does the rest."
    ) in part
    assert rows(part, "runs done") == [["dropout", "0 of 90", ""]]
    assert "### Validity" not in part


def test_an_incomplete_entry_has_no_row_and_says_why(board: Board) -> None:
    late = Row(
        entry="sam",
        group="gradient",
        incomplete=True,
        reason="incomplete on mnist5k/cnn",
        done=45,
        cells=90,
    )
    none = [run_of("none", seed) for seed in range(3)]
    plan = planned(board, none)
    page_text = text(replace(board, unranked=(late,)), none[:2], plan)
    assert rows(page_text, "why it has no numbers") == [
        ["sam", "45 of 90", "incomplete on mnist5k/cnn"]
    ]
    assert (
        "1 run of those planned so far is missing. `membench run --suite quick -k '/sam['` does "
        "the rest. The runs that confirm a strength are planned once it has been chosen."
    ) in page_text
    assert "1 row has [no numbers yet](#unfinished-quick)." in page_text
    assert "sam" not in named(page_text, HELD_BACK)


def test_a_custom_suite_names_no_command(board: Board) -> None:
    late = Row(entry="sam", group="gradient", incomplete=True, cells=90)
    none = [run_of("none", seed) for seed in range(2)]
    custom = replace(board, suite="quick-custom-1a2b", unranked=(late,))
    page_text = text(custom, none[:1], planned(custom, none))
    assert "The command that was run does the rest." in page_text
    assert "membench run" not in page_text


def test_a_task_that_does_not_count_says_so(board: Board) -> None:
    reasons = ("F0(E) = 0.5 is below 0.99",)
    gates = (made_gate(TASKS[0], valid=False, reasons=reasons), made_gate(TASKS[1]))
    page_text = text(replace(board, gates=gates))
    assert rows(page_text, "half-way")[0][:2] == ["mnist5k/mlp", "**no**"]
    assert "### quick: mnist5k/mlp (does not count)\n" in page_text
    assert rows(page_text, "*F*⁰ %, end")[0] == [
        "mnist5k/mlp",
        "**no**",
        "100.0",
        "99.0",
        "90.0",
        "10.0",
        "98.0",
        "25.0",
    ]


def test_without_a_valid_task_there_is_nothing_to_rank(board: Board) -> None:
    gates = tuple(made_gate(task, valid=False) for task in TASKS)
    unranked = tuple(replace(row, reason="no task is valid", H=None) for row in board.rows)
    page_text = text(replace(board, gates=gates, rows=(), control_rows=(), unranked=unranked))
    assert "No task of this suite is valid, so there is nothing to rank" in page_text


def test_entries_that_cannot_act_anywhere_are_listed_and_not_called_incomplete(
    board: Board,
) -> None:
    idle = Row(entry="stochastic-depth", group="model", reason="no branch")
    page_text = text(replace(board, skipped=(idle,)))
    assert (
        "Cannot act on any task of this suite, and has no row:\n\n- stochastic-depth: no branch\n"
    ) in page_text
    assert "### Without numbers" not in page_text
    alone = replace(board, rows=(), control_rows=(), skipped=(idle,))
    assert "No entry can act on the tasks of this board" in text(alone)


# --- links, width and bytes ----------------------------------------------------------------------


def every_part(board: Board) -> Board:
    """A board with all that a page can show."""
    levels = {"M0@0.2": 0.97, "D@0.2": 0.12, "M0@0.6": 0.99, "D@0.6": 0.4}
    tasks = (*TASKS, "fashion/mlp", "fashion/cnn")
    gates = []
    for task in tasks:
        gate = made_gate(task)
        gates.append(replace(gate, values={**gate.values, **levels}))
    noisy = {level: Interval(mean=1.0, half=0.2) for level in ("mixed@0.2", NOISY, "mixed@0.6")}
    extra = {f"S signal-{place}": 0.5 for place in range(9)}
    wide = with_row(board, "dropout", noisy=noisy, extra=extra)
    late = Row(entry="sam", group="gradient", incomplete=True)
    full = made_row("dropout+mixup (full)", 0.5, 0.2)
    return replace(
        wide, gates=tuple(gates), full_rows=(full,), unranked=(late,), skipped=(late,), notes=("n",)
    )


def test_no_table_has_more_columns_than_fit_the_page(board: Board) -> None:
    probes = {"norms": {f"layer{place}": (1.0,) for place in range(9)}}
    page_text = text(every_part(board), [run_of("dropout", 0, probes=probes)])
    widths = [len(cells(lines[0])) for lines in table_lines(page_text)]
    assert max(widths) == MAX_COLUMNS
    assert len(widths) > 20


def test_links_inside_the_page_lead_to_its_anchors(board: Board) -> None:
    drawing = Drawing(name="figures/a.svg", title="A", finding="What is seen.", svg=b"")
    page_text = text(every_part(board), **{TASKS[0]: [drawing]})
    anchors = re.findall(r'<a id="([^"]+)">', page_text)
    links = re.findall(r"\]\(#([^)]+)\)", page_text)
    assert len(links) > 20
    assert set(links) <= {*anchors, "entry-sam"}
    assert len(set(anchors)) == len(anchors)
    sections = [name for name in anchors if not name.startswith(("entry", "environment"))]
    assert set(sections) <= set(links), "the contents list has every section"


def test_figures_of_the_board_stand_before_the_lists_and_those_of_a_task_in_its_section(
    board: Board,
) -> None:
    hero = Drawing(name="figures/hero.svg", title="Hero", finding="The best.", svg=b"")
    curve = Drawing(name="figures/curve.svg", title="Curves", finding="A curve.", svg=b"")
    page_text = text(board, **{"": [hero], TASKS[1]: [curve]})
    assert "**Hero.** The best.\n\n![The best.](figures/hero.svg)\n" in page_text
    assert page_text.index("hero.svg") < page_text.index("### Noise held back")
    assert page_text.index("curve.svg") > page_text.index("### quick: mnist5k/cnn")


def test_pages_beside_are_linked(board: Board) -> None:
    section = Section(plan=made_plan(board), records=(), board=board, drawings={})
    boards = {"fashion/README.md": "board of fashion", "paper/README.md": "the experiments"}
    assert (
        "Other pages: [board of fashion](fashion/README.md) · [the experiments](paper/README.md).\n"
    ) in page([section], {}, boards=boards)
    assert "Other pages" not in page([section], {})


def test_the_page_says_hidden_how_many_complete_rows_it_has(markdown: str) -> None:
    assert markdown.splitlines()[1] == "<!-- complete rows: quick 4 -->"


def test_the_page_does_not_depend_on_the_order_of_the_records(board: Board) -> None:
    records = [run_of("dropout", seed) for seed in range(3)]
    plan = planned(board, records)
    assert text(board, records, plan) == text(board, records[::-1], plan)


def test_wall_clock_is_on_the_page_of_timings_only(board: Board) -> None:
    fast, slow = [[run_of("none", 0, seconds=seconds)] for seconds in (1.0, 1000.0)]
    plan = planned(board, fast)
    assert text(board, slow, plan) == text(board, fast, plan)
    assert "1000.000" in timing([(plan, slow)])
    assert "1000.000" not in timing([(plan, fast)])


def test_entries_link_their_sources(markdown: str) -> None:
    assert (
        '- <a id="entry-mixup"></a>**mixup** (model, acts on hidden). What mixup does. Someone et '
        "al. 2017, [arXiv:1706.05394](https://arxiv.org/abs/1706.05394). Strengths 0.1; 0.3; 0.5. "
        "From mixup.py.\n"
    ) in markdown


# --- provenance ----------------------------------------------------------------------------------


def test_machines_and_versions_are_listed_with_their_numbers_of_runs(board: Board) -> None:
    records = [run_of("none", seed) for seed in range(3)]
    other = {**VERSIONS[ENV], "torch": "2.8.0"}
    records[0] = replace(records[0], versions=other)
    assert ["torch", "2.9.1 (2 runs), 2.8.0 (1 run)"] in rows(text(board, records), "value")


def test_runs_of_two_environments_are_counted_once(board: Board) -> None:
    records = [run_of("none", seed) for seed in range(2)]
    again = replace(records[0], env=OTHER_ENV, status="failed")
    shown = rows(text(board, [*records, again]), "value")
    assert ["runs", "2 of 2 planned so far"] in shown
    assert ["records", "2 ok, 1 failed"] in shown


def test_records_of_other_plans_and_of_environments_that_do_not_count_are_left_out(
    board: Board,
) -> None:
    records = [run_of("none", 0)]
    strange = replace(records[0], key="0" * 64)
    elsewhere = replace(records[0], env=OTHER_ENV)
    plan = planned(board, records, alone=(records[0].env,))
    assert scored_records(plan, [strange, elsewhere, *records]) == records
    assert scored_records(replace(plan, alone=()), [elsewhere, *records]) == sorted(
        [*records, elsewhere], key=lambda record: record.env
    )


def test_a_run_that_ended_well_with_a_remark_is_named(board: Board, markdown: str) -> None:
    note = "ran uncompiled: KeyError: 'buf49'"
    records = [run_of("dropout", seed, reason=note) for seed in range(2)]
    assert ["measured, but", f"dropout {note} (2 runs)"] in rows(text(board, records), "what")
    assert "measured, but" not in markdown


def test_facts_of_the_caller_are_part_of_the_page(board: Board) -> None:
    section = Section(plan=made_plan(board), records=(), board=board, drawings={})
    shown = page([section], {"commit": "abc|d"}).partition("### This report")[2]
    assert rows(shown, "value") == [["commit", r"abc\|d"]]


# --- text of strangers ---------------------------------------------------------------------------


def hostile() -> str:
    """A page on which all text that a plugin or a machine brings is hostile."""
    board = made_board()
    # The registry refuses such a name, but the manifest is a file that anyone can write.
    plan = made_plan(board)
    foreign = {"summary": HOSTILE, "source": HOSTILE, "origin": HOSTILE, "group": HOSTILE}
    entries = tuple(replace(entry, **foreign, acts_on=(HOSTILE,)) for entry in plan.entries)
    record = run_of("none", 0, versions={HOSTILE: HOSTILE}, reason=HOSTILE)
    plan = replace(
        plan, entries=entries, datasets={HOSTILE: HOSTILE}, cells={record.id: record.key}
    )
    idle = Row(entry=HOSTILE, group=HOSTILE, reason=HOSTILE)
    evil = replace(board.rows[1], entry=HOSTILE, skipped={TASKS[0]: HOSTILE}, reason=HOSTILE)
    changed = replace(
        board,
        rows=(board.rows[0], evil, *board.rows[2:]),
        unranked=(idle,),
        skipped=(idle,),
        envs={ENV: {"device": HOSTILE, HOSTILE: 1}, OTHER_ENV: {}},
        notes=(HOSTILE,),
    )
    return text(changed, [record], plan)


def test_hostile_text_does_not_break_tables() -> None:
    for lines in table_lines(hostile()):
        assert len({len(cells(line)) for line in lines}) == 1


def test_hostile_text_brings_no_markup_onto_the_page() -> None:
    tokens: list[Token] = []
    for block in MarkdownIt("commonmark").enable("table").parse(hostile()):
        tokens += [block, *(block.children or ())]
    html = {token.content for token in tokens if token.type == "html_inline"}
    ours = re.compile(r'<a id="[A-Za-z0-9._+-]+">|</a>|<!-- -->')
    assert {tag for tag in html if not ours.fullmatch(tag)} == set()
    blocks = [token.content for token in tokens if token.type == "html_block"]
    assert not any("script" in block for block in blocks)
    links = [str(token.attrs["href"]) for token in tokens if token.type == "link_open"]
    ours_too = ("#", "https://", "timing.md", "scores.json", "index.html")
    assert all(link.startswith(ours_too) for link in links)


# --- from records to files -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> tuple[Manifest, list[Record]]:
    effects = EFFECTS[:2]
    plan = manifest(effects, tasks=TASKS[:1])
    return plan, records(plan, effects)


@pytest.fixture(scope="module")
def files(whole: tuple[Manifest, list[Record]]) -> dict[str, bytes]:
    plan, results = whole
    return render([(plan, results, score(plan, results))])


def test_every_relative_link_leads_to_a_file_and_every_figure_is_shown(
    files: dict[str, bytes],
) -> None:
    links = re.findall(r"\]\((?!#|https://)([^)]+)\)", files["README.md"].decode())
    assert set(links) == set(files) - {"README.md"}
    assert links[0] == "index.html"
    assert links[1].startswith("figures/")


def test_the_files_are_the_same_whatever_the_order_of_the_records(
    whole: tuple[Manifest, list[Record]], files: dict[str, bytes]
) -> None:
    plan, results = whole
    again = render([(plan, results[::-1], score(plan, results[::-1]))])
    assert {name for name in files if files[name] != again[name]} <= {TIMING}
    assert list(again) == list(files)


def test_the_lists_of_a_scored_board_are_in_its_order(
    whole: tuple[Manifest, list[Record]], files: dict[str, bytes]
) -> None:
    board = score(*whole)
    shown = files["README.md"].decode()
    controls = {TRAINING_LESS, EARLY_STOPPING}
    by_noise = [name for name in named(shown, HELD_BACK) if name not in controls]
    assert by_noise == [row.entry for row in board.rows]
    by_recovery = [name for name in named(shown, RECOVERY) if name not in controls]
    assert by_recovery == [row.entry for row in board.by_recovery]
    assert controls <= set(named(shown, HELD_BACK))


# --- the package ---------------------------------------------------------------------------------


def test_the_report_needs_no_torch_and_loads_matplotlib_only_to_draw() -> None:
    code = "import sys, membench.report; print({'torch', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_template_that_reads_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="suites"):
        fill_template("timing.md.j2")

"""The interactive page is one file that loads nothing, whatever text plugins bring."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from support.board_objects import made_board
from support.board_objects import made_plan
from support.board_objects import made_row
from support.cli import REPO
from support.interactive_board import HOSTILE
from support.interactive_board import planned
from support.interactive_board import scored
from support.web_pages import Parts
from support.web_pages import data_of

from membench.report import differences
from membench.report import foreign_pages
from membench.report import render
from membench.report import write
from membench.report.interactive import KIND
from membench.report.interactive import interactive_page
from membench.report.interactive import suite_data
from membench.report.text import plain
from membench.report.web_page import STYLE
from membench.report.web_page import TEMPLATES
from membench.report.web_page import encode
from membench.scoring.types import Board

MOST_BYTES = 600_000
BOARDS = sorted((REPO / "leaderboard").glob("**/index.html"))


def page_of(board: Board) -> str:
    return interactive_page([(made_plan(board), board)])


@pytest.fixture(scope="module")
def text() -> str:
    pages = {"fashion/README.md": "board of fashion", "paper/README.md": "the paper's experiments"}
    return interactive_page([scored()], pages)


@pytest.fixture(scope="module")
def suite(text: str) -> dict[str, Any]:
    return data_of(text)["suites"][0]


@pytest.mark.parametrize("page", BOARDS, ids=lambda page: page.parent.name)
def test_a_committed_page_is_small(page: Path) -> None:
    assert page.stat().st_size <= MOST_BYTES


def test_nothing_is_loaded(text: str) -> None:
    parts = Parts(text)
    assert not {tag for tag, _ in parts.elements} & {"link", "img", "iframe", "object", "base"}
    assert not any("src" in attributes for _, attributes in parts.elements)
    addresses = {attributes["href"] for tag, attributes in parts.elements if tag == "a"}
    assert addresses == {
        "README.md",
        "fashion/index.html",
        "fashion/README.md",
        "paper/index.html",
        "paper/README.md",
    }
    code = "".join((TEMPLATES / name).read_text() for name in KIND.scripts)
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "eval(", "innerHTML"):
        assert word not in code
    assert not re.search(r"url\(|@import", (TEMPLATES / STYLE).read_text())


def test_scripts_and_style_keep_to_the_width_of_the_code() -> None:
    for name in (*KIND.scripts, STYLE):
        lines = (TEMPLATES / name).read_text("utf-8").splitlines()
        assert max(map(len, lines)) <= 100, name


def test_the_policy_allows_this_script_and_this_style_only(text: str) -> None:
    assert Parts(text).is_only_what_its_policy_names()


def test_a_row_has_its_numbers_its_ranks_and_its_claim(suite: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in suite["rows"]}
    assert [row["kind"] for row in suite["rows"]] == [
        *["ranked"] * 5,
        *["control"] * 2,
        "known answer",
        "without numbers",
    ]
    row, mixup = next(row for row in scored()[1].rows if row.entry == "mixup"), rows["mixup"]
    assert row.H and row.H.half
    assert mixup["values"]["H"] == pytest.approx([row.H.mean, row.H.half], rel=1e-3)
    assert set(mixup["values"]) == {
        *("H", "S", "dA", "R", "dA-R", "dA mixed@0.4"),
        *("H-less", "H-stop", "R-less", "R-stop", "H-equal", "R-equal"),
    }
    assert mixup["ranks"]["H"] == [1, 2]
    assert (mixup["claim"]["holds"], mixup["front"], mixup["beats"]["H"][0]) == (True, True, True)
    idle = rows["stochastic-depth"]
    assert (idle["reason"], "values" in idle) == ("the network has no residual branch", False)
    environments = {task["env"] for task in rows["weight-decay"]["tasks"]}
    assert environments == {2}
    assert [one["name"] for one in suite["environments"]] == ["cpu", "cpu"]


def test_a_row_has_readings_at_equal_compute(suite: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in suite["rows"]}
    sam = next(row for row in scored()[1].rows if row.entry == "sam")
    assert (sam.cost, sam.H_equal is not None) == (2.0, True)
    assert rows["sam"]["values"]["H-equal"] == [pytest.approx(sam.H_equal, rel=1e-5), None]
    assert rows["sam"]["tasks"][0]["R"]["R-equal"][0] != rows["sam"]["tasks"][0]["R"]["R"][0]
    # what costs no more is read at the budget
    mixup = rows["mixup"]["values"]
    assert (mixup["H-equal"], mixup["R-equal"]) == (mixup["H"], mixup["R"])


def test_a_row_has_readings_under_further_signals() -> None:
    plan, board = scored()
    extra = {"R pair-flip@0.4": 0.25, "S randX": 0.5}
    first = replace(board.rows[0], extra=extra)
    scores = dict(board.scores)
    for task in plan.tasks:
        score = scores[first.entry, task]
        assert score.recovery
        recovery = replace(score.recovery, extra={"S randX": 0.75})
        scores[first.entry, task] = replace(score, recovery=recovery)
    data = suite_data(plan, replace(board, rows=(first, *board.rows[1:]), scores=scores), {})
    assert data["further"] == ["R pair-flip@0.4", "S randX"]
    row = data["rows"][0]
    assert row["values"]["R pair-flip@0.4"] == [0.25, None]
    assert row["tasks"][0]["R"]["S randX"] == [0.75, None]
    assert "S randX" not in data["rows"][1]["values"]


def test_a_network_has_readings_strengths_and_curves(suite: dict[str, Any]) -> None:
    (one, _) = next(row for row in suite["rows"] if row["name"] == "dropout")["tasks"]
    assert [point[0] for point in one["points"]] == ["off", "0.1", "0.2", "0.4", "0.6", "0.8"]
    assert one["H"]["strength"] in {point[0] for point in one["points"]}
    curve = one["curve"]
    assert {len(curve[name]) for name in ("epochs", "real_val", "real_train", "rand_train")} == {
        len(curve["epochs"])
    }
    assert len(curve["noisy_wrong"]) == len(suite["noisy"]) == 1
    assert suite["plain"][0]["rand_train"][-1] > 0.99


def test_an_entry_says_where_it_is_from(suite: dict[str, Any]) -> None:
    sam = suite["entries"]["sam"]
    assert sam["file"] == "sam.py"
    assert ["arXiv:2010.01412", "https://arxiv.org/abs/2010.01412"] in sam["source"]
    # an address of another kind is no link
    assert {address for _, address in sam["source"]} == {"", "https://arxiv.org/abs/2010.01412"}
    assert sam["bibtex"].startswith("@misc{foret2021,")
    assert suite["commit"] == "0123456789ab"


def test_the_pairs_are_in_the_order_of_their_names(suite: dict[str, Any]) -> None:
    pairs, board = suite["pairs"], scored()[1]
    assert pairs["names"] == [row["name"] for row in suite["rows"] if "values" in row]
    values = {row["name"]: row["values"] for row in suite["rows"] if "values" in row}
    for reading in ("H", "dA", "R"):
        both = list(combinations(pairs["names"], 2))
        for (first, second), mean, half in zip(both, *pairs[reading], strict=True):
            of_rows = values[first][reading][0] - values[second][reading][0]
            assert mean / 1e4 == pytest.approx(of_rows, abs=1e-4)
            either = board.pairs[reading]
            found = either.get((first, second)) or either[second, first]
            assert half / 1e4 == pytest.approx(found.half, abs=1e-4)


def test_hostile_text_stays_text() -> None:
    row = made_row(HOSTILE, 0.5, 0.1, rank=(1, 1), holds=True, reason=HOSTILE, group=HOSTILE)
    board = made_board(rows=(row,), suite=HOSTILE, notes=(HOSTILE,), envs={"e": {HOSTILE: HOSTILE}})
    page = interactive_page([(made_plan(board), board)], {"a/README.md": HOSTILE})
    assert "<img" not in page
    assert [tag for tag, _ in Parts(page).elements].count("script") == 2
    assert "\N{LINE SEPARATOR}" not in page
    (suite,) = data_of(page)["suites"]
    assert (suite["rows"][0]["name"], suite["name"]) == (plain(HOSTILE), plain(HOSTILE))


def test_json_cannot_end_its_script() -> None:
    data = {"a": "</script><!--&", "b": [{"c": "\N{PARAGRAPH SEPARATOR}"}]}
    assert not re.search("[<>&\N{PARAGRAPH SEPARATOR}]", encode(data, 1))
    assert json.loads(encode(data, 1)) == data


def test_a_board_without_numbers_has_a_page() -> None:
    board = made_board(rows=(), control_rows=(), full_rows=(), scores={}, controls={}, ranked=False)
    assert data_of(page_of(board))["suites"][0]["pairs"] == {"names": []}


def test_a_check_finds_one_changed_byte(tmp_path: Path) -> None:
    plan, made = planned()
    files = render([(plan, made, scored()[1])])
    write(tmp_path, files)
    assert differences(tmp_path, files) == []
    page = tmp_path / "index.html"
    content = page.read_bytes()
    page.write_bytes(content.replace(b'"mixup"', b'"mixuq"', 1))
    (line,) = differences(tmp_path, files)
    assert line.startswith("index.html:")
    page.unlink()
    assert differences(tmp_path, files) == ["index.html: missing"]


def test_a_page_of_others_is_not_replaced(tmp_path: Path, text: str) -> None:
    page = tmp_path / "index.html"
    page.write_text("<!DOCTYPE html>\n<title>My site</title>")
    assert foreign_pages(tmp_path) == [page]
    page.write_text(text)
    assert foreign_pages(tmp_path) == []

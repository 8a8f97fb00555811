"""The studies' interactive page: what it knows, that it loads nothing, and that it stays small."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.cli import REPO
from support.interactive_board import HOSTILE
from support.study_rows import SOURCE
from support.study_rows import TESTS
from support.study_rows import study_rows
from support.web_pages import Parts
from support.web_pages import data_of

from membench.report import foreign_pages
from membench.report import paper
from membench.report.studies_page import KIND
from membench.report.text import plain
from membench.report.web_page import TEMPLATES
from membench.report.web_page import script_of

MOST_BYTES = 1_200_000
BOARDS = {"../README.md": "board of quick", "../fashion/README.md": "board of fashion"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return paper.pages(study_rows(), BOARDS)


@pytest.fixture(scope="module")
def text(files: dict[str, bytes]) -> str:
    return files["index.html"].decode()


@pytest.fixture(scope="module")
def studies(text: str) -> dict[str, Any]:
    return {study["title"]: study for study in data_of(text)["studies"]}


def test_the_committed_page_is_small() -> None:
    assert (REPO / "leaderboard/paper/index.html").stat().st_size <= MOST_BYTES


def test_nothing_is_loaded(text: str) -> None:
    parts = Parts(text)
    assert not {tag for tag, _ in parts.elements} & {"link", "img", "iframe", "object", "base"}
    assert not any("src" in attributes for _, attributes in parts.elements)
    code = script_of(KIND)
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "eval(", "innerHTML"):
        assert word not in code
    assert parts.is_only_what_its_policy_names()


def test_it_links_to_the_boards_and_to_its_text_and_they_to_it(
    text: str, files: dict[str, bytes]
) -> None:
    addresses = {attributes["href"] for tag, attributes in Parts(text).elements if tag == "a"}
    assert addresses == {
        "https://arxiv.org/abs/1706.05394",
        "README.md",
        "../README.md",
        "../index.html",
        "../fashion/README.md",
        "../fashion/index.html",
    }
    page = files["README.md"].decode()
    assert "[index.html](index.html)" in page
    assert "Other pages: [board of quick](../README.md) · [board of fashion](../fash" in page


def test_studies_are_in_the_order_of_the_page_as_text(text: str, files: dict[str, bytes]) -> None:
    stems = [study["stem"] for study in data_of(text)["studies"]]
    anchors = re.findall(r'<a id="study-(.*?)"></a>', files["README.md"].decode())
    assert stems == anchors
    assert stems[0] == "easy"


def test_a_study_has_its_claims_tests_figure_and_table(studies: dict[str, Any]) -> None:
    study = studies["csr"]
    assert {claim["claim"]: claim["verdict"] for claim in study["claims"]} == {
        "higher": "holds",
        "rises": "does not hold",
        "levels off": "undecided at this scale",
    }
    tests = [test for claim in study["claims"] for test in claim["tests"]]
    assert [test["name"] for test in tests] == [test.name for test in TESTS]
    assert tests[1] == {
        "name": "ratio, at the end",
        "value": 0.9,
        "low": 0.8,
        "high": 1.0,
        "threshold": 0.5,
        "p": pytest.approx(TESTS[1].p, rel=1e-5),
        "method": "t",
        "verdict": "holds",
    }
    assert tests[3]["low"] is None  # an interval that is open there
    assert study["table"][2] == ["random", "1"]
    assert study["drawing"]["parts"]
    assert study["bibtex"].startswith("@misc{arpit2017,")
    assert "".join(words for words, _ in study["source"]) == SOURCE
    assert (study["planned"], study["measured"], study["seconds"]) == (60, 60, 1692.0)


def test_a_study_without_a_finding_says_how_far_it_is(studies: dict[str, Any]) -> None:
    easy, broken, larger = studies["easy"], studies["broken"], studies["csr (paper)"]
    assert (easy["verdict"], easy["measured"], easy["failed"]) == ("not finished", 160, 2)
    assert easy["claims"] == [] and easy["drawing"] is None
    assert (broken["verdict"], broken["problem"]) == ("failed", "ValueError: no such luck")
    assert (larger["scale"], larger["scaled"]) == ("paper", "")


def test_hostile_text_stays_text(text: str, studies: dict[str, Any]) -> None:
    assert "<img" not in text
    assert [tag for tag, _ in Parts(text).elements].count("script") == 2
    assert "\N{LINE SEPARATOR}" not in text
    assert studies[plain(HOSTILE)]["notes"] == [plain(HOSTILE)]


def test_scripts_keep_to_the_width_of_the_code() -> None:
    for name in KIND.scripts:
        lines = (TEMPLATES / name).read_text("utf-8").splitlines()
        assert max(map(len, lines)) <= 100, name


def test_it_is_known_as_our_own_page(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name in ("README.md", "index.html"):
        (tmp_path / name).write_bytes(files[name])
    assert foreign_pages(tmp_path) == []


def test_a_page_without_studies_can_be_read() -> None:
    page = paper.pages([])["index.html"].decode()
    assert data_of(page)["studies"] == []

"""The studies' page in a browser: every interaction, without an error and without a request."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import chromium
from support.chromium import Opened
from support.interactive_board import HOSTILE
from support.study_rows import TESTS
from support.study_rows import study_rows

from membench.report import paper
from membench.report.text import plain

pytestmark = chromium.MARKS
MINUS = "\N{MINUS SIGN}"
DOWNLOADED = "Download all tests (CSV)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("paper")
    pages = paper.pages(study_rows(), {"../README.md": "board of quick"})
    (folder / "index.html").write_bytes(pages["index.html"])
    return (folder / "index.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Opened]:
    """Open the page; at the end it has made no error and no request but for itself."""
    one = Opened(browser, address)
    yield one
    assert one.errors == []
    assert {url.partition("#")[0] for url in one.requests} == {address}
    one.context.close()


def column(one: Opened, title: str) -> list[str]:
    return [text.replace("\N{NO-BREAK SPACE}", " ") for text in one.column(title)]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["", "list=tests&sort=-value", "study=csr", "study=easy"])
def test_axe_finds_nothing_and_the_page_fits(
    browser: Any, address: str, scheme: str, view: str
) -> None:
    one = Opened(browser, f"{address}#{view}", color_scheme=scheme)
    for width in (360, 1024, 1600):
        one.page.set_viewport_size({"width": width, "height": 900})
        assert one.page.evaluate("document.documentElement.scrollWidth") == width
        if one.page.get_by_role("dialog").count():
            dialog = one.page.get_by_role("dialog")
            assert dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
        assert one.broken_rules() == []
    assert one.errors == []
    one.context.close()


def test_claims_are_listed_filtered_sorted_and_linked(opened: Opened) -> None:
    page = opened.page
    assert column(opened, "verdict") == [
        "… not finished",  # Fig. 1
        "… not finished",  # the larger scale
        *("● holds", "✕ does not hold", "○ undecided at this scale"),
        "● holds",  # hostile
        "! failed",
    ]
    plot = page.get_by_role("img", name="ratio, random - real: 0.33 [0.31, 0.35], above 0: holds")
    assert plot.locator(".test").count() == 2
    assert (
        page.locator("#summary")
        .inner_text()
        .startswith("2 of 5 studies finished. 4 claims tested: 2 hold, 1 undecided at this scale, ")
    )
    page.get_by_role("button", name="verdict").click()
    assert column(opened, "verdict")[:2] == ["● holds", "● holds"]
    page.get_by_label("Verdict", exact=True).select_option("does not hold")
    assert opened.column("claim") == ["rises: The ratio is higher after noise."]
    assert opened.hash == "#sort=verdict&verdict=does+not+hold"
    page.get_by_role("button", name="Show all again").click()
    page.get_by_label("Text", exact=True).fill("LEVELS off")
    assert opened.names() == ["csr"]
    assert opened.hash == "#q=LEVELS+off"


def test_all_tests_are_a_table_with_intervals(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("button", name="All tests", exact=True).click()
    assert column(opened, "value")[:4] == ["0.33", "0.9", f"{MINUS}0.2", "0.01"]
    assert column(opened, "95% interval")[3] == f"[{MINUS}∞, 0.05]"
    page.get_by_role("button", name="value").click()
    assert column(opened, "value") == ["1", "0.9", "0.33", "0.01", f"{MINUS}0.2"]
    # on one axis the shorter interval is drawn shorter
    lines = "[...document.querySelectorAll('.interval')].map(one => one.getBBox().width)"
    page.get_by_label("Text", exact=True).fill("ratio, random")
    own = page.evaluate(lines)
    page.get_by_label("one axis for all tests of a claim").check()
    assert page.evaluate(lines)[0] < own[0]
    assert opened.hash == "#list=tests&sort=-value&q=ratio%2C+random&common=1"


def test_a_study_opens_with_all_that_is_known_of_it(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("link", name="csr", exact=True).first.click()
    dialog = page.get_by_role("dialog", name="csr")
    said = dialog.inner_text()
    for words in (
        "What does noise change?",
        "60 of 60 cells measured, 0 to go, 1 diverged",
        "28.2 minutes of one worker",
        "cpu AVX512, torch 2.14",
        "membench reproduce csr",
        "Scaled down: ten iterations instead of 100",
        "Chaotic runs are left out.",
    ):
        assert words in said, words
    link = dialog.get_by_role("link", name="arXiv:1706.05394")
    assert link.get_attribute("href") == "https://arxiv.org/abs/1706.05394"
    tests = dialog.get_by_role("table", name="Tests of “higher”")
    assert tests.get_by_role("row").count() == 3
    numbers = dialog.get_by_role("table", name="csr: its numbers")
    assert numbers.get_by_role("cell", name="0.052").count() == 1
    figure = dialog.get_by_role("img", name="Ratio over epochs. Look at the height.")
    assert figure.get_by_text("0.4").count() and figure.locator("use").count() > 10
    for one in figure.locator("use").all():
        assert page.locator(one.get_attribute("href")).count() == 1
    dialog.get_by_role("link", name="→").click()
    page.get_by_role("dialog", name=plain(HOSTILE)).wait_for()
    page.go_back()
    page.get_by_role("dialog", name="csr").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_function("location.hash === ''")
    assert page.evaluate("document.activeElement.textContent") == "csr"


@pytest.mark.slow
def test_colours_follow_the_scheme_but_those_of_data_do_not(browser: Any, address: str) -> None:
    found = {}
    for scheme in ("light", "dark"):
        one = Opened(browser, f"{address}#study=csr", color_scheme=scheme)
        found[scheme] = one.page.evaluate(
            """() => {
                const of = (selector, name) => [...document.querySelectorAll(selector)]
                    .map(part => getComputedStyle(part)[name]);
                return [of('.drawing path', 'fill'), of('.drawing path', 'stroke'),
                    of('.drawing g[shape-rendering] path', 'fill')];
            }"""
        )
        assert one.errors == []
        one.context.close()
    (fills, strokes, pixels), (dark_fills, dark_strokes, dark_pixels) = found.values()
    assert pixels == dark_pixels
    assert "rgb(0, 114, 178)" in strokes and "rgb(0, 114, 178)" not in dark_strokes
    assert fills[0] != dark_fills[0]  # the paper


def test_an_unfinished_study_says_how_to_finish_it(browser: Any, address: str) -> None:
    one = Opened(browser, f"{address}#study=easy")
    said = one.page.get_by_role("dialog", name="easy").inner_text()
    assert "160 of 400 cells measured, 238 to go, 2 failed" in said
    assert "membench reproduce easy trains only these." in said
    assert "about 2.38 minutes to go" in said
    one.page.evaluate("location.hash = 'study=csr-paper'")
    dialog = one.page.get_by_role("dialog", name="csr (paper)")
    assert "membench reproduce csr --scale paper" in dialog.inner_text()
    one.page.evaluate("location.hash = 'study=broken'")
    assert "no such luck" in one.page.get_by_role("dialog", name="broken").inner_text()
    assert one.errors == []
    one.context.close()


def test_citation_link_and_downloads_can_be_taken_away(
    browser: Any, address: str, tmp_path: Path
) -> None:
    one = Opened(browser, f"{address}#study=csr", color_scheme="dark")
    page = one.page
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@misc{arpit2017,")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download figure (SVG)").click()
    assert download.value.suggested_filename == "membench-csr.svg"
    download.value.save_as(tmp_path / "figure.svg")
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    assert svg[0].get("fill") == "rgb(20, 23, 27)"
    assert not [part for part in svg.iter() if "var(" in "".join(part.attrib.values())]
    page.keyboard.press("Escape")
    page.get_by_label("Verdict", exact=True).select_option("holds")
    page.get_by_role("button", name="Copy link to this view").click()
    page.locator("#status", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{address}#verdict=holds"
    with page.expect_download() as download:
        page.get_by_role("button", name=DOWNLOADED).click()
    assert download.value.suggested_filename == "membench-studies.csv"
    download.value.save_as(tmp_path / "tests.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "tests.csv").read_text("utf-8"))))
    assert [line["test"] for line in lines[:4]] == [test.name for test in TESTS]
    assert (lines[2]["value"], lines[2]["verdict"]) == ("-0.2", "does not hold")
    assert lines[3]["low"] == ""
    assert lines[4]["test"] == plain(HOSTILE)
    assert one.errors == []
    one.context.close()


def test_the_print_has_the_list_or_the_open_study(opened: Opened) -> None:
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert not opened.page.locator("#controls").is_visible()
    assert opened.page.locator("#table table").is_visible()
    background = "getComputedStyle(document.body).backgroundColor"
    assert opened.page.evaluate(background) == "rgb(255, 255, 255)"
    opened.page.goto(f"{opened.page.url}#study=csr")
    assert opened.page.get_by_role("dialog").is_visible()
    assert not opened.page.locator("main").is_visible()


def test_what_strangers_write_never_runs(opened: Opened) -> None:
    opened.page.evaluate(
        "name => { location.hash = new URLSearchParams({study: name}) }",
        study_rows()[1].stem,
    )
    dialog = opened.page.get_by_role("dialog", name=plain(HOSTILE))
    assert plain(HOSTILE) in dialog.get_by_role("listitem").last.inner_text()
    assert opened.page.locator("img, script:not(body > script)").count() == 0

"""The interactive page in a browser: every interaction, without an error and without a request."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import chromium
from support.board_objects import made_board
from support.board_objects import made_plan
from support.board_objects import made_row
from support.chromium import Opened
from support.interactive_board import HOSTILE
from support.interactive_board import planned
from support.interactive_board import scored

from membench.report.confirmations import Confirmation
from membench.report.interactive import interactive_page
from membench.scoring import measured_rows
from membench.scoring.differences import differences_of
from membench.scoring.types import Interval

pytestmark = chromium.MARKS
SCHEMES = ("light", "dark")
WIDTHS = (360, 1024, 1600)
MINUS = "\N{MINUS SIGN}"
BOTH = "1\N{EN DASH}2"  #: the rank of each of two rows that the seeds do not tell apart


CONFIRMED = Confirmation(
    date="2026-11-29",
    seeds=(20_000_000, 30_000_000),
    readings={"H": Interval(0.5, 0.1), "dA": Interval(1.0, 0.3), "R": Interval(0.4, 0.2)},
    code="",
    commit="",
    environments={},
    records="",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "index.html"
    plan, board = scored()
    further = tuple(replace(row, extra={"R pair-flip@0.4": 0.25}) for row in board.rows)
    board = replace(board, rows=further)
    smoke = replace(plan, suite="smoke"), replace(board, suite="smoke", rows=board.rows[:2])
    confirmed = {board.suite: {"sam": CONFIRMED}}
    file.write_text(interactive_page([(plan, board), smoke], None, confirmed), "utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Opened]:
    """Open the page; at the end it has made no error and no request but for itself."""
    one = Opened(browser, address)
    yield one
    assert one.errors == []
    assert [url.partition("#")[0] for url in one.requests] == [address]
    one.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_fits_in_either_scheme(browser: Any, address: str, scheme: str) -> None:
    one = Opened(browser, f"{address}#pins=sam,dropout,mixup,label-smoothing", color_scheme=scheme)
    one.page.locator("#columns summary").click()
    background = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    for width in WIDTHS:
        one.page.set_viewport_size({"width": width, "height": 900})
        assert one.page.evaluate("document.documentElement.scrollWidth") == width
        assert one.page.evaluate("document.body.scrollWidth") <= width
    one.page.evaluate("location.hash = 'entry=sam'")
    dialog = one.page.get_by_role("dialog", name="sam")
    for width in WIDTHS:
        one.page.set_viewport_size({"width": width, "height": 900})
        assert dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
    assert one.errors == []
    assert len(one.requests) == 1
    one.context.close()


@pytest.mark.parametrize("view", ["pins=sam,dropout&sort=-S", "entry=sam", "list=front"])
def test_axe_finds_nothing_in_either_scheme(browser: Any, address: str, view: str) -> None:
    one = Opened(browser, f"{address}#{view}", color_scheme="light")
    assert one.broken_rules() == []
    one.page.emulate_media(color_scheme="dark")
    assert one.broken_rules(["color-contrast"]) == []
    one.context.close()


# --- the lists ------------------------------------------------------------------------------------


def test_the_lists_have_the_board_s_order_with_the_controls_in_between(opened: Opened) -> None:
    assert opened.names() == [
        "early stopping",
        "mixup",
        "sam",
        "training less",
        "label-smoothing",
        "dropout",
        "weight-decay",
        "placebo",
        "stochastic-depth",
    ]
    assert opened.column("rank")[1:3] == [BOTH, BOTH]
    opened.page.get_by_role("button", name="Recovery R").click()
    board = scored()[1]
    ranked = [name for name in opened.names() if name in {row.entry for row in board.rows}]
    assert ranked == [row.entry for row in board.by_recovery]
    opened.page.get_by_role("button", name="The front", exact=True).click()
    assert opened.names() == ["mixup", "sam"]
    assert opened.hash == "#list=front"


def test_every_column_sorts_with_missing_values_last(opened: Opened) -> None:
    opened.page.goto(f"{opened.page.url}#columns=group,H,S,cost,failed,env,file,claim,notes")
    opened.page.reload()
    opened.requests.pop()
    headers = opened.page.locator("#table thead th button")
    for place in range(headers.count()):
        header = headers.nth(place)
        title = re.sub(r"\s*[▲▼]", "", header.inner_text())
        cell = opened.page.locator("#table thead th").nth(place + 1)
        directions = []
        for _ in range(2):
            header.click()
            directions.append(cell.get_attribute("aria-sort"))
            values = opened.column(title)
            missing = [value in ("", "—") for value in values]
            assert missing == sorted(missing), title
        assert set(directions) == {"ascending", "descending"}
        header.click()
        assert cell.get_attribute("aria-sort") == "none"


def test_sorting_keeps_the_rank_and_is_called_no_ranking(opened: Opened) -> None:
    before = dict(zip(opened.names(), opened.column("rank"), strict=True))
    header = opened.page.get_by_role("button", name="ΔA", exact=True)
    header.click()
    assert opened.hash == "#sort=-dA"
    shown = opened.column("ΔA")
    numbers = [float(text.split()[0].replace(MINUS, "-")) for text in shown if text != "—"]
    assert numbers == sorted(numbers, reverse=True)
    assert dict(zip(opened.names(), opened.column("rank"), strict=True)) == before
    assert "no ranking" in opened.page.locator("#table caption").inner_text()
    assert "To sort by an estimate is no ranking" in opened.page.locator("main").inner_text()
    assert header.evaluate("button => button === document.activeElement")


def test_filters_narrow_the_list_and_are_named_in_the_address(opened: Opened) -> None:
    page = opened.page
    page.get_by_label("controls and rows without rank too").uncheck()
    assert opened.names() == ["mixup", "sam", "label-smoothing", "dropout", "weight-decay"]
    page.get_by_label("hold the claim", exact=True).check()
    assert opened.names() == ["mixup", "sam", "label-smoothing", "dropout"]
    page.get_by_label("beat training less").check()
    assert opened.names() == ["mixup", "sam"]
    page.get_by_label("Group", exact=True).select_option("data")
    assert opened.names() == ["mixup"]
    assert opened.hash == "#group=data&claim=1&less=1&others="
    page.get_by_label("beat early stopping").check()
    assert opened.names() == []
    page.get_by_role("button", name="Show all again").click()
    assert len(opened.names()) == 9
    page.get_by_label("Environment", exact=True).select_option("2")
    assert opened.names() == ["weight-decay"]
    page.get_by_label("Environment", exact=True).select_option("")
    page.get_by_label("Text", exact=True).fill("Convex PAIRS")
    assert opened.names() == ["mixup"]
    assert page.get_by_role("status").first.inner_text() == "1 row shown"


def test_a_network_shows_its_own_readings(opened: Opened) -> None:
    opened.page.get_by_label("Network", exact=True).select_option("mnist5k/cnn")
    score = scored()[1].scores["mixup", "mnist5k/cnn"]
    assert score.held_back and score.held_back.H.half
    H = score.held_back.H
    place = opened.names().index("mixup")
    assert opened.column("H")[place] == f"{H.mean:.2f} ± {H.half:.2f}"
    # what cannot act there is not listed, and the rank is that of the whole board
    assert "stochastic-depth" not in opened.names()
    assert opened.column("rank")[place] == BOTH


def test_columns_are_chosen(opened: Opened) -> None:
    opened.page.locator("#columns summary").click()
    opened.page.locator("#columns").get_by_label("suppression S").uncheck()
    opened.page.locator("#columns").get_by_label("file").check()
    headers = opened.page.locator("#table thead th").all_inner_texts()
    assert headers == [
        *("pin", "rank", "entry", "H", "ΔA", "H beyond training less", "strength", "file", "notes")
    ]
    assert opened.column("file")[1] == "mixup.py"


def test_a_view_is_a_link(browser: Any, address: str) -> None:
    url = f"{address}#list=R&sort=cost&group=loss&columns=cost,env&x=cost&y=R&pins=sam,dropout"
    one = Opened(browser, url)
    assert one.names() == ["label-smoothing"]
    headers = one.page.locator("#table thead th").all_inner_texts()
    assert [text.strip(" ▲") for text in headers] == ["pin", "rank", "entry", "cost", "environment"]
    assert one.page.locator("#x").input_value() == "cost"
    assert one.page.locator("#bar").inner_text().startswith("Pinned: sam, dropout")
    one.page.evaluate("location.hash = 'list=front&x=nonsense&suite=unknown&group=none'")
    one.page.wait_for_function("document.querySelectorAll('#table tbody tr').length === 2")
    assert one.errors == []
    one.context.close()


def test_suites_are_shown_one_at_a_time(opened: Opened) -> None:
    opened.page.get_by_label("Suite").select_option("smoke")
    assert "smoke" in opened.page.locator("h1").inner_text()
    assert "label-smoothing" not in opened.names()
    assert opened.hash == "#suite=smoke"


# --- the figure -----------------------------------------------------------------------------------


def test_pointing_and_focus_show_an_entry_and_a_click_pins_it(opened: Opened) -> None:
    page = opened.page
    dot = page.get_by_role("button", name=re.compile(r"^mixup: H 0\.54"))
    dot.hover()
    assert page.locator("#readout").inner_text().startswith("mixup: H 0.54 ± 0.01, ΔA ")
    assert page.locator("#figure .pointed").text_content() == "mixup"
    page.mouse.move(5, 5)
    assert page.locator("#figure .pointed").count() == 0
    dot.click()
    assert dot.get_attribute("aria-pressed") == "true"
    assert opened.hash == "#pins=mixup"
    assert page.get_by_label("pin mixup").is_checked()
    dot.click()
    assert opened.hash == ""


def test_arrow_keys_go_from_dot_to_dot_and_enter_pins(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("button", name="Download figure (SVG)").focus()
    page.keyboard.press("Tab")
    first = page.locator("#readout").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#readout").inner_text()
    assert first.partition(":")[0] != second.partition(":")[0]
    page.keyboard.press("Enter")
    assert opened.hash == f"#pins={second.partition(':')[0]}".replace(" ", "+")
    # the focus stays on the dot although the figure was drawn anew
    assert page.locator("#readout").inner_text() == second
    page.keyboard.press("Home")
    assert page.locator("#readout").inner_text() == first


def test_any_two_readings_are_axes_with_their_intervals(opened: Opened) -> None:
    page = opened.page
    crosses = page.locator("#figure .cross")
    before = crosses.first.get_attribute("d")
    assert before
    assert (before.count("H"), before.count("V")) == (1, 1)
    page.get_by_label("Up", exact=True).select_option("cost")
    page.get_by_label("Across", exact=True).select_option("R-stop")
    label = page.locator("#figure svg").get_attribute("aria-label")
    assert label == "cost, steps of the plain network against R beyond early stopping, 6 entries"
    assert opened.hash == "#x=R-stop&y=cost"
    page.get_by_label("Up", exact=True).select_option("H-equal")
    page.get_by_label("Across", exact=True).select_option("R pair-flip@0.4")
    label = page.locator("#figure svg").get_attribute("aria-label")
    assert label == "H at equal compute against recovery R, pair-flip@0.4, 5 entries"
    sam = next(row for row in scored()[1].rows if row.entry == "sam")
    dot = page.get_by_role("button", name=re.compile("^sam: "))
    said = dot.get_attribute("aria-label")
    assert said.startswith(f"sam: H, equal compute {sam.H_equal:.2f}, R pair-flip@0.4 +0.25 (")
    cross = dot.locator(".cross").get_attribute("d")
    assert (cross.count("H"), cross.count("V")) == (0, 0)  # neither has an interval


# --- entries --------------------------------------------------------------------------------------


def test_an_entry_opens_with_all_that_is_known_of_it(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("link", name="sam").click()
    dialog = page.get_by_role("dialog", name="sam")
    said = dialog.inner_text()
    assert "</script><script>alert(1)</script>" in said
    assert "sam.py" in said
    assert "0123456789ab" in said
    assert "instructions one" in said
    assert "2.0\N{MULTIPLICATION SIGN}" in said
    assert "0 failed" in said
    assert "on 2026-11-29, on 2 fresh seeds: H 0.50 ± 0.10" in said
    link = dialog.get_by_role("link", name="arXiv:2010.01412")
    assert link.get_attribute("href") == "https://arxiv.org/abs/2010.01412"
    assert dialog.get_by_role("link").count() == 1
    tried = dialog.get_by_role("table", name=re.compile("strengths tried"))
    assert tried.count() == 2
    assert tried.first.get_by_role("row").count() == 7
    assert dialog.get_by_role("table", name=re.compile("read on 5 confirming seeds")).count() == 2
    for panel in ("real labels", "noisy labels, mixed@0.4", "random labels"):
        assert dialog.get_by_role("img", name=re.compile(panel)).count() == 2
    page.keyboard.press("Escape")
    assert opened.hash == ""
    assert page.get_by_role("link", name="sam").evaluate("link => link === document.activeElement")


def test_the_browser_s_way_back_closes_an_entry(opened: Opened) -> None:
    opened.page.get_by_role("link", name="stochastic-depth").click()
    dialog = opened.page.get_by_role("dialog")
    assert "the network has no residual branch" in dialog.inner_text()
    opened.page.go_back()
    opened.page.wait_for_function("!document.querySelector('dialog').open")
    opened.page.go_forward()
    opened.page.wait_for_function("document.querySelector('dialog').open")
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_bibtex_is_copied(browser: Any, address: str) -> None:
    one = Opened(browser, f"{address}#entry=dropout")
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    box = one.page.get_by_label("BibTeX of the source")
    assert box.input_value().startswith("@misc{dropout,")
    one.page.get_by_role("button", name="Copy", exact=True).click()
    one.page.get_by_text("copied").wait_for()
    assert one.page.evaluate("navigator.clipboard.readText()") == box.input_value()
    assert one.errors == []
    one.context.close()


# --- side by side ---------------------------------------------------------------------------------


def test_pinned_entries_are_compared_as_the_command_does(opened: Opened) -> None:
    page = opened.page
    for name in ("weight-decay", "sam", "early stopping"):
        page.get_by_label(f"pin {name}").check()
    page.locator("#bar").get_by_role("button", name="Side by side").click()
    assert page.evaluate("document.activeElement.id") == "compare-title"
    pairs = page.get_by_role("table", name="The first minus the second")
    lines = [row.inner_text().split("\t") for row in pairs.get_by_role("row").all()]
    assert [line[0] for line in lines] == [
        "pair",
        f"weight-decay {MINUS} sam",
        f"weight-decay {MINUS} early stopping",
        f"sam {MINUS} early stopping",
    ]
    rows = measured_rows(*planned())
    for line in lines[1:]:
        first, second = line[0].split(f" {MINUS} ")
        found = {one.reading: one.value for one in differences_of(rows[second], rows[first])}
        for text, reading, digits in zip(line[1:], ("H", "dA", "R"), (2, 1, 2), strict=True):
            mean, half = text.replace(MINUS, "-").split()[:3:2]
            value = found[reading]
            assert float(mean) == pytest.approx(value.mean, abs=0.51 * 10**-digits)
            assert float(half) == pytest.approx(value.half, abs=0.51 * 10**-digits)
            assert ("differs" in text) == (abs(value.mean) > (value.half or 0))
    page.get_by_role("button", name="Unpin all").click()
    assert page.locator("#compared table").count() == 0
    assert not page.locator("#bar").is_visible()


def test_four_entries_are_pinned_at_most(opened: Opened) -> None:
    page = opened.page
    for name in ("mixup", "sam", "dropout", "label-smoothing"):
        page.get_by_label(f"pin {name}").check()
    assert page.get_by_label("pin placebo").is_disabled()
    page.get_by_role("button", name=re.compile("^placebo: ")).focus()
    page.keyboard.press("Enter")
    assert "unpin one first" in page.get_by_role("status").first.inner_text()
    assert page.locator("#compared table").first.get_by_role("columnheader").count() == 5


# --- downloads, print, strangers ------------------------------------------------------------------


def test_the_list_is_downloaded_as_csv(opened: Opened, tmp_path: Path) -> None:
    opened.page.get_by_label("hold the claim", exact=True).check()
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download table (CSV)").click()
    assert download.value.suggested_filename == "membench-quick-H.csv"
    download.value.save_as(tmp_path / "list.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "list.csv").read_text("utf-8"))))
    assert [line["entry"] for line in lines] == ["mixup", "sam", "label-smoothing", "dropout"]
    row = scored()[1].rows[0]
    assert row.H
    assert float(lines[0]["H"]) == pytest.approx(row.H.mean, rel=1e-3)
    assert float(lines[0]["H half-width"]) == pytest.approx(row.H.half, rel=1e-3)
    opened.requests[:] = [url for url in opened.requests if not url.startswith("blob:")]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_figure_is_downloaded_as_svg(
    browser: Any, address: str, tmp_path: Path, scheme: str
) -> None:
    one = Opened(browser, f"{address}#pins=sam", color_scheme=scheme)
    with one.page.expect_download() as download:
        one.page.get_by_role("button", name="Download figure (SVG)").click()
    assert download.value.suggested_filename == "membench-quick-H-dA.svg"
    download.value.save_as(tmp_path / "figure.svg")
    svg = ElementTree.parse(tmp_path / "figure.svg").getroot()
    texts = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "sam" in texts
    assert "noise held back H" in texts
    paper = "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)"
    assert svg[0].get("fill") == paper
    assert one.errors == []
    one.context.close()


def test_the_print_has_the_tables_and_no_controls(opened: Opened) -> None:
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#controls").is_visible()
    assert not opened.page.locator("#bar").is_visible()
    assert opened.page.locator("#table table").is_visible()
    opened.page.emulate_media(media="screen")
    opened.page.get_by_role("link", name="sam").click()
    opened.page.emulate_media(media="print")
    assert opened.page.get_by_role("dialog").is_visible()
    assert not opened.page.locator("main").is_visible()


def test_tables_have_captions_and_headers(opened: Opened) -> None:
    opened.page.goto(f"{opened.page.url}#pins=sam,mixup&entry=sam")
    tables = opened.page.locator("table")
    assert tables.count() == 7
    for table in tables.all():
        assert table.locator("caption").text_content()
        assert table.locator("thead th:not([scope=col])").count() == 0
        rows = table.locator("tbody tr").count()
        assert table.locator("tbody th[scope=row]").count() == rows


def test_what_strangers_write_never_runs(browser: Any, tmp_path: Path) -> None:
    rows = (
        made_row(HOSTILE, 0.5, 0.1, rank=(1, 2), holds=True, group=HOSTILE, reason=HOSTILE),
        made_row("mixup", 0.3, 2.0, rank=(1, 2), holds=True, front=True),
    )
    board = made_board(rows=rows, suite=HOSTILE, notes=(HOSTILE,), envs={"e": {"x": HOSTILE}})
    file = tmp_path / "index.html"
    file.write_text(
        interactive_page([(made_plan(board), board)], {"a/README.md": HOSTILE}), "utf-8"
    )
    one = Opened(browser, file.as_uri())
    one.page.locator("#table tbody th a").first.click()
    one.page.get_by_role("dialog").wait_for()
    one.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(4)>')"
    )
    assert one.page.locator("img").count() == 1  # ours: none is of the board
    blocked = [error for error in one.errors if "Content Security Policy" in error]
    assert blocked == one.errors
    assert one.errors
    assert [url for url in one.requests if url != file.as_uri()] in ([], [f"{tmp_path.as_uri()}/x"])
    one.context.close()

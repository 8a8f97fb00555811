"""Strangers' text comes out as text, wherever it is printed; numbers have one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from membench.report import text
from membench.scoring.types import Interval

MARKDOWN = MarkdownIt("commonmark").enable("table")
MINUS = "\N{MINUS SIGN}"
anything = st.text(st.characters(exclude_categories=[]), max_size=40)
markup = st.text("|`<>[]()!*_~&$#\\@:/ \n\tax0.-", max_size=40)


def cell(source: str) -> list[Token]:
    """What a reader sees in the only cell of a table's row."""
    rows = MARKDOWN.parse(f"| head |\n| --- |\n| {source} |\n")
    inline = [token for token in rows if token.type == "inline"]
    assert len(inline) == 2
    return inline[1].children or []


@given(st.one_of(anything, markup))
@settings(max_examples=60, deadline=None)
def test_markdown_shows_the_text_and_nothing_else(raw: str) -> None:
    shown = "".join(
        token.content
        for token in cell(text.escape_markdown(raw))
        if token.type in ("text", "code_inline", "text_special")
    )
    assert shown.replace("`", "").split() == text.plain(raw).replace("`", "").split()


@given(st.one_of(anything, markup))
@settings(max_examples=60, deadline=None)
def test_escaped_text_brings_no_link_image_or_html(raw: str) -> None:
    tokens = cell(text.escape_markdown(raw))
    assert {token.type for token in tokens} <= {
        "text",
        "code_inline",
        "html_inline",
        "text_special",
    }
    assert {token.content for token in tokens if token.type == "html_inline"} <= {"<!-- -->"}


@given(st.one_of(anything, markup, st.just("see https://a.org/x|y and javascript://b <script>")))
@settings(max_examples=60, deadline=None)
def test_links_of_a_citation_are_http(raw: str) -> None:
    links = [token.attrs["href"] for token in cell(text.cite(raw)) if token.type == "link_open"]
    assert all(link.startswith(("http://", "https://")) for link in links)


@given(anything)
@settings(max_examples=60, deadline=None)
def test_plain_text_is_one_line_that_encodes(raw: str) -> None:
    line = text.plain(raw)
    assert line == line.strip()
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line


def test_plain_text_has_no_escape_sequences_and_does_not_run_backwards() -> None:
    assert text.plain("a\x1b[31mred\u202eback\u2066\x00\r\nb") == "a[31mredback b"


def test_long_text_is_cut() -> None:
    assert len(text.plain("x" * 10**6)) == text.LIMIT
    assert text.plain("abcdef", limit=4) == "abc…"


def test_citations_link_arxiv_numbers_and_addresses() -> None:
    source = "Arpit et al. 2017, arXiv:1706.05394; see https://a_b.org/x_y."
    assert text.cite(source) == (
        "Arpit et al. 2017, [arXiv:1706.05394](https://arxiv.org/abs/1706.05394); "
        "see <https://a_b.org/x_y>."
    )


def test_citations_link_dois() -> None:
    assert text.cite("Zhang et al. 2021, doi:10.1145/3446776. Strength: s.") == (
        "Zhang et al. 2021, [doi:10.1145/3446776](<https://doi.org/10.1145/3446776>). Strength: s."
    )
    assert text.cite("DOI: 10.1/x") == "DOI: 10.1/x", "too short for one"


@given(st.from_regex(r"doi:10\.1234/[!-~]{1,20}", fullmatch=True))
@settings(max_examples=60, deadline=None)
def test_links_of_a_doi_lead_to_its_resolver(raw: str) -> None:
    links = [token.attrs["href"] for token in cell(text.cite(raw)) if token.type == "link_open"]
    assert all(link.startswith("https://doi.org/10.1234/") for link in links)


@pytest.mark.parametrize("address", ["javascript://x", "ftp://x.org", "mail@x.org", "data://x"])
def test_github_does_not_link_other_addresses(address: str) -> None:
    # GitHub links what looks like an address, unless an empty comment is inside.
    assert "<!-- -->" in text.cite(address)


def test_quoted_words_stay_code() -> None:
    assert text.escape_markdown("`none` failed, `a|b` too") == r"`none` failed, \`a\|b\` too"
    assert text.escape_markdown("see `mixed@0.4`") == "see `mixed@0.4`"
    assert text.code("mixed@0.4") == "`mixed@0.4`"
    assert text.code("a`b") == r"a\`b"


def test_figures_get_letters_that_every_font_has() -> None:
    assert text.ascii_only("naïve 😀\x1b") == "na?ve ?"


def test_file_names_stay_in_their_folder() -> None:
    assert text.filename("../../etc/passwd") == "_.._etc_passwd"
    assert text.filename("quick-mnist5k-mlp") == "quick-mnist5k-mlp"


def test_changes_are_signed_and_zero_is_not() -> None:
    assert [text.signed(v) for v in (0.421, -0.03, 0.001, -0.001, None)] == [
        "+0.42",
        f"{MINUS}0.03",
        "0.00",
        "0.00",
        "—",
    ]


def test_shares_are_unsigned() -> None:
    assert [text.share(v) for v in (0.871, -0.03, -0.001, None)] == [
        "0.87",
        f"{MINUS}0.03",
        "0.00",
        "—",
    ]
    assert text.percent(0.91349) == "91.3"


def test_an_interval_without_spread_is_its_mean() -> None:
    assert text.format_interval(Interval(0.4, 0.081)) == "+0.40 ± 0.08"
    assert text.format_interval(Interval(-0.4)) == f"{MINUS}0.40"
    assert text.format_interval(None) == "—"


def test_a_share_has_no_plus_sign() -> None:
    assert text.share_interval(Interval(0.4, 0.081)) == "0.40 ± 0.08"
    assert text.share_interval(Interval(-0.4)) == f"{MINUS}0.40"
    assert text.share_interval(None) == "—"


def test_percentages_in_sentences_are_whole() -> None:
    assert text.percent_interval(Interval(0.421, 0.081)) == "42 ± 8%"
    assert text.percent_interval(Interval(-0.021)) == f"{MINUS}2%"


def test_a_lower_bound_is_rounded_down() -> None:
    assert text.rounded_down(0.2599, digits=2) == 0.25
    assert text.rounded_down(-0.81, digits=1) == -0.9
    assert text.rounded_down(0.29, digits=2) == 0.29, "0.29 * 100 is a little less than 29"


def test_small_p_values_are_bounded() -> None:
    shown = [text.p_value(value) for value in (0.0004, 0.0123, None)]
    assert shown == ["&lt; 0.001", "0.012", "—"]


def test_lists_read_as_in_a_sentence() -> None:
    lists = [text.joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])]
    assert lists == ["", "a", "a and b", "a, b and c"]
    assert text.joined(["1", "2"], last="or") == "1 or 2"


def test_ranks_are_ranges() -> None:
    assert [text.ranks(r) for r in ((1, 3), (4, 4), None)] == ["1\N{EN DASH}3", "4", "—"]


def test_counts_agree_with_their_noun() -> None:
    assert [text.count(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]

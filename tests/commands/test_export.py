"""`membench export`: rows as data, both lists for a paper, citations, a folder for a keeper."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support import boards
from support.cli import Cli

from membench import load
from membench.records import Entry
from membench.report.bibtex import bibliography
from membench.report.latex import escape_latex
from membench.report.latex import latex
from membench.scoring import Board
from membench.scoring import score
from membench.store.store import Store

PLAN = boards.manifest(tasks=("mnist5k/mlp",))
RECORDS = boards.records(PLAN)


@pytest.fixture(scope="module")
def board() -> Board:
    return score(PLAN, RECORDS)


@pytest.fixture
def _folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "leaderboard" / "records")
    with store.writer() as writer:
        writer.append(RECORDS)
    store.write_manifest(PLAN)


@pytest.mark.usefixtures("_folder")
def test_csv_and_json_have_a_line_for_each_row_and_the_board_s_numbers(
    cli: Cli, board: Board
) -> None:
    code, out, err = cli("export")
    assert (code, err) == (0, "")
    lines = list(csv.DictReader(io.StringIO(out)))
    names = [row.entry for row in (*board.rows, *board.unranked, *board.control_rows)]
    assert [line["entry"] for line in lines] == names
    first, row = lines[0], board.rows[0]
    assert float(first["H"]) == row.H.mean
    assert float(first["dA mixed@0.4_half"]) == row.noisy["mixed@0.4"].half
    assert (int(first["rank_H_low"]), int(first["rank_H_high"])) == row.rank_H
    assert first["claim"] == str(row.claim.holds)
    assert lines[-1]["rank_H_low"] == ""
    of_json = json.loads(cli("export", "--format", "json", "--entry", row.entry)[1])
    assert of_json[0]["entry"] == row.entry
    assert of_json[0]["R_half"] == row.R.half
    assert "nan" not in out.lower()


@pytest.mark.usefixtures("_folder")
def test_the_columns_are_those_of_the_data_frame(cli: Cli) -> None:
    pytest.importorskip("pandas")
    frame = load("leaderboard").to_pandas()
    header, *_ = csv.reader(io.StringIO(cli("export")[1]))
    assert header == list(frame.columns)
    first, *_ = json.loads(cli("export", "--format", "json")[1])
    assert set(first) <= set(header)
    shown = frame.iloc[0]
    assert (shown.suite, shown.entry, shown.H_half) == (
        first["suite"],
        first["entry"],
        first["H_half"],
    )
    assert first["excess_H_p"] == shown.excess_H_p


@pytest.mark.usefixtures("_folder")
def test_a_file_is_written_where_it_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("export", "--format", "latex", "--to", "board.tex")
    assert (code, out) == (0, "wrote board.tex\n")
    assert (tmp_path / "board.tex").read_text().startswith("% needs ")
    code, _, err = cli("export", "--to", "there-is/no-such-folder.csv")
    assert code == 11
    assert "cannot write" in err


def test_latex_has_both_lists_with_controls_in_their_places(board: Board) -> None:
    text = latex(board)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {4}
    assert len(lines) == 2 * (1 + len(board.rows) + 2)
    assert r"\emph{training less}" in text
    _, _, tables = text.partition("\n")  # the first line is a comment
    assert not re.search(r"(?<!\\)[%#_]", re.sub(r"\\label\{[^}]*\}", "", tables))
    assert not re.search("[^\x00-\x7f]", text)
    assert text.count("{") == text.count("}")


def test_a_few_entries_keep_the_ranks_and_counts_of_the_whole_board(board: Board) -> None:
    one = board.rows[0]
    text = latex(board, [one.entry])
    assert f"for all {len(board.rows)} entries together" in text
    assert text.count(r"\\") == 2 * (1 + 1 + 2)
    assert len(set(re.findall(r"\\label\{(.*)\}", text + latex(replace(board, suite="b"))))) == 4


def test_names_of_strangers_are_literal_in_latex() -> None:
    assert escape_latex(r"a_b\input{x}%$&#^~") == (
        r"a\_b\textbackslash{}input\{x\}\%\$\&\#\textasciicircum{}\textasciitilde{}"
    )


def test_a_work_that_several_entries_cite_stands_once() -> None:
    entry = Entry("one", "other", (), source='Hinton, "T", 2015, arXiv:1503.02531')
    text = bibliography([entry, replace(entry, name="two"), Entry("three", "other", ())], {})
    assert text.count("@misc{") == 1
    assert text.startswith(
        "% one, two\n@misc{hinton2015,\n  title = {{T}},\n  author = {Hinton},\n"
    )


def test_two_works_of_one_author_and_year_have_two_keys() -> None:
    first = Entry("one", "other", (), source='Hinton, "T", 2015')
    text = bibliography([first, Entry("two", "other", (), source='Hinton, "U", 2015')], {})
    assert re.findall(r"@misc\{(\w+),", text) == ["hinton2015", "hinton2015b"]


@pytest.mark.usefixtures("_folder")
def test_the_records_of_an_entry_are_a_board_with_the_same_row(
    cli: Cli, board: Board, tmp_path: Path
) -> None:
    name = board.rows[0].entry
    code, out, err = cli("export", "--format", "records", "--entry", name, "--to", "mine")
    assert (code, err) == (0, "")
    assert f"records of {name} and its baseline: mine" in out
    (plan,) = Store(tmp_path / "mine" / "records").manifests().values()
    assert {entry.name for entry in plan.entries} == {"none", "low-lr", name}
    code, out, _ = cli("compare", "leaderboard", "mine", "--json")
    assert code == 0
    alike = {one["first"]: one["readings"]["H"]["difference"]["mean"] for one in json.loads(out)}
    assert alike == {name: 0.0, "training less": 0.0, "early stopping": 0.0}
    assert cli("report", "--check", "--out", "mine")[0] == 0


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--entry", "nobody"), "unknown entry in leaderboard 'nobody': "),
        (("--suite", "fashion"), "unknown suite in leaderboard 'fashion': "),
        (("--format", "records"), "say whose and where to, as in --entry my-idea --to"),
        (
            ("--format", "records", "--entry", "dropout", "--to", "leaderboard"),
            "leaderboard is there already: give a folder that is not, or move it",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line(cli: Cli, words: tuple[str, ...], said: str) -> None:
    code, out, err = cli("export", *words)
    assert (code, out) == (4, "")
    assert said in err
    assert len(err.splitlines()) == 1

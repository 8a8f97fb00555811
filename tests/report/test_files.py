"""The report's files appear whole, and `--check` names what differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from membench.errors import MembenchError
from membench.report import TIMING
from membench.report import differences
from membench.report import foreign_pages
from membench.report import other_page
from membench.report import pages_beside
from membench.report import write
from membench.report.files import PAGE_MARK
from membench.report.files import PAGE_STARTS
from membench.report.files import row_counts
from membench.report.files import row_counts_mark

FILES = {
    "README.md": b"# Leaderboard\n\nrank 1 is mine\n",
    "figures/a.svg": f"<svg><!-- {PAGE_MARK} --></svg>\n".encode(),
    TIMING: b"3 s\n",
}


def test_what_was_written_has_no_differences(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert differences(tmp_path, FILES) == []
    assert (tmp_path / "figures" / "a.svg").read_bytes() == FILES["figures/a.svg"]


def test_writing_twice_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    write(tmp_path, FILES)
    assert sorted(
        str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()
    ) == sorted(FILES)


@pytest.mark.parametrize("place", range(len(FILES["README.md"])))
def test_every_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    write(tmp_path, FILES)
    changed = bytearray(FILES["README.md"])
    changed[place] ^= 1
    (tmp_path / "README.md").write_bytes(changed)
    assert len(differences(tmp_path, FILES)) == 1


def test_the_first_line_that_differs_is_shown(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "README.md").write_bytes(FILES["README.md"].replace(b"mine", b"yours"))
    assert differences(tmp_path, FILES) == [
        "README.md:3: has 'rank 1 is yours', should be 'rank 1 is mine'"
    ]


def test_a_difference_far_into_a_line_is_shown_where_it_is(tmp_path: Path) -> None:
    files = {"README.md": b"x" * 500 + b"old\n"}
    write(tmp_path, {"README.md": b"x" * 500 + b"new\n"})
    (line,) = differences(tmp_path, files)
    assert line == f"README.md:1: has '…{'x' * 20}new', should be '…{'x' * 20}old'"


def test_lines_that_are_missing_or_too_many_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": b"a\nb"})
    assert differences(tmp_path, {"README.md": b"a"}) == [
        "README.md:2: has 'b', should be no such line"
    ]
    assert differences(tmp_path, {"README.md": b"a\nb\nc"}) == [
        "README.md:3: has no such line, should be 'c'"
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert differences(tmp_path / "nowhere", FILES) == [
        "README.md: missing",
        "figures/a.svg: missing",
    ]


def test_wall_clock_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / TIMING).write_bytes(b"4 s\n")
    assert differences(tmp_path, FILES) == []


def test_figures_that_are_no_longer_drawn_are_named_and_removed(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    fewer = {name: FILES[name] for name in ("README.md", TIMING)}
    assert differences(tmp_path, fewer) == ["figures/a.svg: no longer part of the report"]
    write(tmp_path, fewer)
    assert not (tmp_path / "figures" / "a.svg").exists()


def test_svg_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").write_bytes(b"<svg/>")
    write(tmp_path, FILES)
    assert (tmp_path / "figures" / "mine.svg").exists()
    assert differences(tmp_path, FILES) == []


def test_a_write_that_fails_keeps_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, {"README.md": b"half"})
    assert differences(tmp_path, FILES) == []
    assert not list(tmp_path.glob(".*"))


# --- never with fewer rows -----------------------------------------------------------------------


def board_page(**rows: int) -> bytes:
    """The page of a board with these numbers of complete rows."""
    return f"<!-- Written by `membench report` -->\n{row_counts_mark(rows)}\n# Board\n".encode()


def test_the_mark_says_how_many_complete_rows_each_suite_has() -> None:
    page = board_page(smoke=3, quick=48)
    assert b"<!-- complete rows: quick 48, smoke 3 -->" in page
    assert row_counts(page) == {"quick": 48, "smoke": 3}
    assert row_counts(b"# Notes\n") == {}


def test_the_name_of_a_suite_cannot_end_the_mark() -> None:
    assert row_counts_mark({"a --> b, c 9": 1}) == "<!-- complete rows: a_--__b__c_9 1 -->"


@pytest.mark.parametrize(
    ("after", "number"), [({"quick": 5}, 5), ({"smoke": 9}, 0), ({"quick": 0, "smoke": 9}, 0)]
)
def test_a_page_with_fewer_complete_rows_is_refused_and_nothing_is_written(
    tmp_path: Path, after: dict[str, int], number: int
) -> None:
    before = {**FILES, "README.md": board_page(quick=6)}
    write(tmp_path, before)
    with pytest.raises(MembenchError) as refused:
        write(tmp_path, {"README.md": board_page(**after), "figures/b.svg": b"<svg/>"})
    assert str(refused.value) == (
        f"{tmp_path / 'README.md'} has 6 complete rows of quick and would be replaced by a page "
        f"with {number}: it was left as it is; run again the rows whose code or grid has changed, "
        "give another folder with --out, or replace it with --force"
    )
    assert differences(tmp_path, before) == []
    assert not (tmp_path / "figures" / "b.svg").exists()


def test_force_replaces_a_page_by_one_with_fewer_rows(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": board_page(quick=6)})
    fewer = {"README.md": board_page(quick=5)}
    write(tmp_path, fewer, force=True)
    assert differences(tmp_path, fewer) == []


@pytest.mark.parametrize("rows", [{"quick": 6}, {"quick": 7}, {"quick": 6, "smoke": 1}])
def test_a_page_with_as_many_rows_or_more_is_written(tmp_path: Path, rows: dict[str, int]) -> None:
    write(tmp_path, {"README.md": board_page(quick=6)})
    files = {"README.md": board_page(**rows)}
    write(tmp_path, files)
    assert differences(tmp_path, files) == []


def test_figures_come_first_and_the_page_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FILES)
    replace = os.replace
    order = []

    def note(source: Path, target: Path) -> None:
        order.append(str(Path(target).relative_to(tmp_path)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    write(tmp_path, FILES)
    assert order == ["figures/a.svg", "README.md", TIMING]


def test_figures_are_removed_only_with_a_page_that_was_written(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    write(tmp_path, {TIMING: b"# Wall-clock\n"})
    assert (tmp_path / "figures" / "a.svg").exists()


def test_a_page_that_someone_else_wrote_is_named(tmp_path: Path) -> None:
    assert foreign_pages(tmp_path) == []
    (tmp_path / "README.md").write_bytes(board_page(quick=1))
    assert foreign_pages(tmp_path) == []
    (tmp_path / "README.md").write_bytes(b"# My notes\n")
    assert foreign_pages(tmp_path) == [tmp_path / "README.md"]


# --- pages beside --------------------------------------------------------------------------------


def leaderboard(folder: Path) -> Path:
    """A board with another one, the paper's experiments and strange folders inside."""
    board = folder / "leaderboard"
    pages = {
        ".": board_page(quick=4, smoke=1),
        "fashion": board_page(fashion=2),
        "paper": b"# The paper, reproduced\n",
        "notes": b"# Notes\n",
    }
    for name, page in pages.items():
        (board / name).mkdir(parents=True, exist_ok=True)
        (board / name / "README.md").write_bytes(page)
    (board / "records").mkdir()
    return board


def test_pages_inside_are_found(tmp_path: Path) -> None:
    assert pages_beside(leaderboard(tmp_path)) == {
        "fashion/README.md": "board of fashion",
        "paper/README.md": "the paper's experiments",
    }


def test_the_page_above_and_those_beside_are_found(tmp_path: Path) -> None:
    assert pages_beside(leaderboard(tmp_path) / "fashion") == {
        "../README.md": "boards of quick and smoke",
        "../paper/README.md": "the paper's experiments",
    }


def test_a_board_alone_links_to_nothing(tmp_path: Path) -> None:
    assert pages_beside(tmp_path / "nowhere") == {}
    (tmp_path / "README.md").write_bytes(b"# My project\n")
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_bytes(board_page(quick=1))
    assert pages_beside(tmp_path / "mine") == {}


def test_a_board_s_page_is_no_place_for_the_paper_s_and_the_other_way_round(tmp_path: Path) -> None:
    assert other_page(tmp_path, is_paper=True) == ""
    (tmp_path / "README.md").write_bytes(board_page(quick=3))
    assert other_page(tmp_path, is_paper=True) == "board of quick"
    assert other_page(tmp_path, is_paper=False) == ""
    (tmp_path / "README.md").write_bytes(PAGE_STARTS["README.md"][1])
    assert other_page(tmp_path, is_paper=True) == ""
    assert other_page(tmp_path, is_paper=False) == "the paper's experiments"

"""The report's files appear whole, and `--check` names what differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from membench.report import TIMING
from membench.report import differences
from membench.report import write
from membench.report.files import PAGE_MARK

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

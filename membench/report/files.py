"""Rendered files on disk: writing them, and comparing what is there (`membench report --check`).

A page is never replaced by one with fewer complete rows unless its writer insists: the page says in
a hidden mark how many it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from membench.errors import MembenchError
from membench.files import replace_file
from membench.report.text import count
from membench.report.text import filename
from membench.report.text import joined
from membench.report.text import plain

TIMING = "timing.md"
#: Wall-clock differs between runs; everything else follows from the records alone, byte by byte.
UNCHECKED = frozenset({TIMING})
FIGURES = "figures"
PAGE = "README.md"
INTERACTIVE = "index.html"
#: How the pages begin that membench writes. A file that begins otherwise is not ours.
PAGE_STARTS = {
    PAGE: (b"<!-- Written by `membench report`", b"# The paper, reproduced\n"),
    INTERACTIVE: (
        b"<!DOCTYPE html>\n<!-- Written by `membench report`",
        b"<!DOCTYPE html>\n<!-- Written by `membench reproduce`",
    ),
    TIMING: (b"# Wall-clock\n",),
}
BOARD_TITLE = "board"  #: how the title of a board's page begins, or of the page of several
#: Near the head of every figure that we drew; no other file is ever removed or called stale.
PAGE_MARK = "drawn by membench report"
_HEAD = 2000  #: bytes at the beginning of a page, among which its mark is
_ROW_COUNTS = re.compile(rb"^<!-- complete rows: ([^\n]*) -->$", re.MULTILINE)


def row_counts_mark(rows: Mapping[str, int]) -> str:
    """Write the hidden mark of a board's page that says how many complete rows each suite has.

    Args:
        rows: suite -> complete rows.
    """
    counts = [f"{filename(suite)} {number}" for suite, number in sorted(rows.items())]
    return f"<!-- complete rows: {', '.join(counts)} -->"


def row_counts(page: bytes) -> dict[str, int]:
    """Read the mark that `row_counts_mark` wrote: suite -> complete rows; {} without one."""
    found = _ROW_COUNTS.search(page[:_HEAD])
    if found is None:
        return {}
    counts = {}
    for part in found[1].decode(errors="replace").split(", "):
        suite, _, number = part.rpartition(" ")
        if number.isdigit():
            counts[suite] = int(number)
    return counts


def write(out: Path, files: Mapping[str, bytes], *, force: bool = False) -> None:
    """Write the files under `out`, and remove figures of an earlier report that are not among them.

    Figures come first and the page last, so that a page never shows a figure that is not there.

    Args:
        out: the folder.
        files: the contents, by path below it.
        force: replace a page also by one with fewer complete rows.

    Raises:
        MembenchError: the page that is there has more complete rows of a suite; nothing is written.
        OSError: a file cannot be written; those that were written before it are whole.
    """
    if PAGE in files and not force:
        _refuse_fewer_rows(out / PAGE, files[PAGE])
    for name in sorted(files, key=lambda name: (name in PAGE_STARTS, name)):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, files[name], durable=False)
    if PAGE in files:
        for name in _stale_figures(out, files):
            (out / name).unlink()


def foreign_pages(out: Path) -> list[Path]:
    """List the files under `out` that a page would replace and that membench has not written."""
    foreign = []
    for name, starts in PAGE_STARTS.items():
        path = out / name
        if path.is_file() and not path.read_bytes().startswith(starts):
            foreign.append(path)
    return foreign


def other_page(out: Path, *, is_paper: bool) -> str:
    """Name what the page in `out` is about, if it is of the other kind than one that is to come.

    Args:
        out: the folder.
        is_paper: the page to come is of the paper's experiments, not of a board.

    Returns:
        Its title; "" if there is none, or one of the same kind.
    """
    head = _head(out / PAGE)
    _, paper = PAGE_STARTS[PAGE]
    return _title(head) if head.startswith(paper) != is_paper else ""


def pages_beside(out: Path) -> dict[str, str]:
    """Find the pages of other boards and of the paper's experiments that one here can link to.

    They are looked for in the folders of `out`; where the folder above holds a board too, that
    board and the folders beside `out` count as well. Only pages that membench has written do.

    Returns:
        The address of each, seen from the page of `out`, -> its title.
    """
    folders = {folder: f"{folder.name}/" for folder in _folders(out)}
    above = out.resolve().parent
    if row_counts(_head(above / PAGE)):
        folders[above] = "../"
        for folder in _folders(above):
            if folder != out.resolve():
                folders[folder] = f"../{folder.name}/"
    titles = {}
    for folder, address in folders.items():
        title = _title(_head(folder / PAGE))
        if title:
            titles[quote(f"{address}{PAGE}")] = title
    return titles


def files_below(out: Path, name: str) -> dict[Path, bytes]:
    """Read the file of this name beside each page of a board in a folder of `out`.

    Returns:
        Path -> content, by the folders' names.
    """
    contents = {}
    for folder in _folders(out):
        if row_counts(_head(folder / PAGE)) and (folder / name).is_file():
            contents[folder / name] = (folder / name).read_bytes()
    return contents


def differences(out: Path, files: Mapping[str, bytes]) -> list[str]:
    """Describe in a line each file under `out` that is not what would be rendered now."""
    lines = []
    for name in sorted(files):
        path = out / name
        if name in UNCHECKED:
            continue
        if not path.is_file():
            lines.append(f"{name}: missing")
        elif path.read_bytes() != files[name]:
            lines.append(f"{name}:{_first_difference(path.read_bytes(), files[name])}")
    for name in _stale_figures(out, files):
        lines.append(f"{name}: no longer part of the report")
    return lines


def _refuse_fewer_rows(path: Path, page: bytes) -> None:
    """Compare the page with the one that it would replace.

    Raises:
        MembenchError: the one that is there has more complete rows of a suite.
    """
    after = row_counts(page)
    for suite, before in row_counts(_head(path)).items():
        now = after.get(suite, 0)
        if now < before:
            raise MembenchError(
                f"{path} has {count(before, 'complete row')} of {plain(suite)} and would be "
                f"replaced by a page with {now}: it was left as it is; run again the rows whose "
                "code or grid has changed, give another folder with --out, or replace it with "
                "--force"
            )


def _head(path: Path) -> bytes:
    """Read the beginning of a file; b"" if there is none."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD)


def _folders(folder: Path) -> list[Path]:
    """List the folders in a folder, by name."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def _title(head: bytes) -> str:
    """Name what a page is about by its first bytes; "" if it is none of ours."""
    board, paper = PAGE_STARTS[PAGE]
    if head.startswith(paper):
        return "the paper's experiments"
    if head.startswith(board):
        suites = list(row_counts(head))
        boards = BOARD_TITLE if len(suites) == 1 else f"{BOARD_TITLE}s"
        return f"{boards} of {joined(suites)}" if suites else ""
    return ""


def _stale_figures(out: Path, files: Mapping[str, bytes]) -> list[str]:
    names = []
    for path in sorted((out / FIGURES).glob("*.svg")):
        name = f"{FIGURES}/{path.name}"
        if name not in files and PAGE_MARK.encode() in path.read_bytes()[:2000]:
            names.append(name)
    return names


def _first_difference(actual: bytes, expected: bytes) -> str:
    """Describe the first line that differs, cut to where it does: `12: has 'x', should be 'y'`."""
    actual_lines, expected_lines = actual.split(b"\n"), expected.split(b"\n")
    place = _common_length(actual_lines, expected_lines)
    has = actual_lines[place] if place < len(actual_lines) else None
    should = expected_lines[place] if place < len(expected_lines) else None
    start = max(0, _common_length(has or b"", should or b"") - 20)
    return f"{place + 1}: has {_quote(has, start)}, should be {_quote(should, start)}"


def _common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Count the items at the start that are the same in both."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def _quote(line: bytes | None, start: int) -> str:
    if line is None:
        return "no such line"
    text = plain(line[start:].decode(errors="replace"), limit=60)
    return repr(f"…{text}" if start else text)

"""Rendered files on disk: writing them, and comparing what is there (`membench report --check`)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

from membench.files import replace_file
from membench.report.text import plain

TIMING = "timing.md"
#: Wall-clock differs between runs; everything else follows from the records alone, byte by byte.
UNCHECKED = frozenset({TIMING})
FIGURES = "figures"
#: How the pages begin that membench writes. A file that begins otherwise is not ours.
PAGE_STARTS = {
    "README.md": (b"<!-- Written by `membench report`", b"# The paper, reproduced\n"),
    TIMING: (b"# Wall-clock\n",),
}
#: Near the head of every figure that we drew; no other file is ever removed or called stale.
PAGE_MARK = "drawn by membench report"


def write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files under `out`, and remove figures of an earlier report that are not among them.

    Raises:
        OSError: a file cannot be written; those that were written before it are whole.
    """
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, durable=False)
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

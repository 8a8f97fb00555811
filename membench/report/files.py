"""Rendered files to disk, and what is on disk compared with what would be rendered (`membench report --check`)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from membench.files import replace_file
from membench.report.text import plain

TIMING = "timing.md"
#: Wall-clock differs from run to run; everything else follows from the records alone, byte by byte.
UNCHECKED = frozenset({TIMING})
FIGURES = "figures"
#: Found near the head of every figure that we drew; no other file is ever removed or called stale.
MARK = "drawn by membench report"


def write(out: Path, files: Mapping[str, bytes]) -> None:
    """Put the files under `out`, each in one step, and remove the figures of an earlier report that it no longer has.

    Raises:
        OSError: a file cannot be written; those that were written before it are whole.
    """
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, durable=False)
    for name in _stale(out, files):
        (out / name).unlink()


def differences(out: Path, files: Mapping[str, bytes]) -> list[str]:
    """One line for each file under `out` that is not what would be rendered now; empty if the report is up to date."""
    found = [
        _difference(out / name, name, files[name])
        for name in sorted(files)
        if name not in UNCHECKED
    ]
    return [line for line in found if line] + [
        f"{name}: no longer part of the report" for name in _stale(out, files)
    ]


def _difference(path: Path, name: str, expected: bytes) -> str:
    if not path.is_file():
        return f"{name}: missing"
    actual = path.read_bytes()
    return "" if actual == expected else f"{name}:{_first(actual, expected)}"


def _first(actual: bytes, expected: bytes) -> str:
    """`12: has 'x', should be 'y'`: the first line that differs, cut to where it does."""
    old, new = actual.split(b"\n"), expected.split(b"\n")
    line = next(
        (i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]),
        min(len(old), len(new)),
    )
    has, should = (lines[line] if line < len(lines) else None for lines in (old, new))
    same = sum(
        1
        for _ in takewhile(
            lambda pair: pair[0] == pair[1], zip(has or b"", should or b"", strict=False)
        )
    )
    start = max(0, same - 20)
    return f"{line + 1}: has {_quoted(has, start)}, should be {_quoted(should, start)}"


def _quoted(line: bytes | None, start: int) -> str:
    if line is None:
        return "no such line"
    text = plain(line[start:].decode(errors="replace"), limit=60)
    return repr(("…" if start else "") + text)


def _stale(out: Path, files: Mapping[str, bytes]) -> list[str]:
    names = sorted(f"{FIGURES}/{path.name}" for path in (out / FIGURES).glob("*.svg"))
    return [
        name
        for name in names
        if name not in files and MARK.encode() in (out / name).read_bytes()[:2000]
    ]

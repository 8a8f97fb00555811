"""Text that came with a plugin or a machine, made safe to print; numbers, in the one spelling of the board.

Every string of a manifest or a record passes through `plain`, `md` or `cite` before it reaches a page, a figure or a
terminal: names, summaries, citations, origins, reasons and versions are all written by strangers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from math import isnan
from urllib.parse import quote

from membench.scoring import Interval
from membench.text import one_line

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EM DASH}"  #: not run, not defined, or no claim is made
LIMIT = 400  #: characters of one text; a citation fits, a flood does not
LONG = 2000  #: of a caption, a claim, a note
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&$#!]")
_CODE = re.compile(
    r"\\`([A-Za-z0-9@./+-]+)\\`"
)  #: what scoring quotes; nothing in there can end the span
_FOREIGN_LINK = re.compile(r"(?i)(?<![a-z])(?!https?://)([a-z][a-z0-9+.-]*)(://)|(?<=\S)@(?=\S)")
_URL = r"https?://[^\s<>|\"'`\\\[\]{}]+[^\s<>|\"'`\\\[\]{}.,;:!?()]"
_REFERENCE = re.compile(rf"(?P<url>{_URL})|arXiv:(?P<arxiv>\d{{4}}\.\d{{4,5}})")


def plain(text: object, limit: int = LIMIT) -> str:
    """Collapse foreign text to one line of at most `limit` visible characters, cut with "…"."""
    line = one_line(text, replacement="")
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape_markdown(text: object, limit: int = LIMIT) -> str:
    """Text for a Markdown paragraph, list or table cell, taken literally: no markup, no cell border, no link."""
    return _literal(plain(text, limit))


def markdown_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Of cells that are Markdown, the header first, in no set width; short rows are filled up."""
    width = max(map(len, rows))
    lines = [f"| {' | '.join([*row, *[''] * (width - len(row))])} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def code(text: object) -> str:
    """A code span; text that could end one stays text."""
    line = plain(text)
    return f"`{line}`" if re.fullmatch(r"[A-Za-z0-9@._+-]+", line) else _literal(line)


def cite(text: object) -> str:
    """Like `md`, and the http(s) addresses and arXiv numbers in it are links."""
    line, parts, end = plain(text), [], 0
    for found in _REFERENCE.finditer(line):
        parts += [_literal(line[end : found.start()]), _link(found)]
        end = found.end()
    return "".join([*parts, _literal(line[end:])])


def ascii_only(text: object, limit: int = 60) -> str:
    """Text for a figure, whose font has no other letters for certain."""
    return plain(text, limit).encode("ascii", "replace").decode()


def filename(text: str) -> str:
    """A name without separators or dots in front, for a file of the report."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", text).lstrip(".")[:80]


def share(value: float | None, digits: int = 2) -> str:
    """`0.87`; a ratio that may be negative but is no change."""
    return MISSING if value is None else _minus(f"{_zero(value, digits):.{digits}f}")


def number(value: float) -> str:
    """Three significant digits, of a quantity without a scale of its own: `0.0123`, `−4.5`, `∞`."""
    if isfinite(value):
        return _minus(f"{value:.3g}")
    return "not a number" if isnan(value) else _minus("-∞" if value < 0 else "∞")


def estimate(value: float, low: float, high: float) -> str:
    """`0.90 [0.81, 0.96]`: a number and the ends of its interval."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def percent(value: float | None, digits: int = 1) -> str:
    """0.913 -> `91.3`."""
    return share(None if value is None else 100 * value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """`+0.42`, `−0.03`, `0.00`: a change."""
    if value is None:
        return MISSING
    rounded = _zero(value, digits)
    return _minus(f"{rounded:+.{digits}f}") if rounded else f"{0:.{digits}f}"


def format_interval(value: Interval | None, digits: int = 2) -> str:
    """`+0.42 ± 0.08`; without the half-width where there are too few seeds."""
    if value is None:
        return MISSING
    half = "" if value.half is None else f" ± {value.half:.{digits}f}"
    return signed(value.mean, digits) + half


def ranks(value: tuple[int, int] | None) -> str:
    """`1–3`, or `4`."""
    if value is None:
        return MISSING
    low, high = value
    return str(low) if low == high else f"{low}\N{EN DASH}{high}"


def unbroken(text: str) -> str:
    """The same, on one line in a narrow table cell."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def times(value: float | None) -> str:
    """`2.0×`: a cost in units of `none`."""
    return MISSING if value is None else f"{value:.1f}\N{MULTIPLICATION SIGN}"


def count(number: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _zero(value: float, digits: int) -> float:
    """Rounded, and never minus zero."""
    return round(float(value), digits) + 0.0


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def _literal(line: str) -> str:
    # An empty comment inside an address keeps GitHub from linking it; a backslash in front of ":" or "@" does not.
    escaped = _SPECIAL.sub(lambda m: _ENTITY.get(m[0], f"\\{m[0]}"), line)
    escaped = _CODE.sub(r"`\1`", escaped)
    return _FOREIGN_LINK.sub(lambda m: f"{m[1]}<!-- -->{m[2]}" if m[1] else "<!-- -->@", escaped)


_ENTITY = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def _link(found: re.Match[str]) -> str:
    if found["arxiv"]:
        return f"[arXiv:{found['arxiv']}](https://arxiv.org/abs/{found['arxiv']})"
    return f"<{quote(found['url'], safe=':/?#@!$&()*+,;=%~-._')}>"

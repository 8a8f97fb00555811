"""Foreign text made safe for a page, and numbers in the one spelling of the board.

Every string of a manifest or a record passes through `plain`, `escape_markdown`, `code` or `cite`
before it reaches a page, a figure or a terminal: names, summaries, citations, origins, reasons and
versions are all written by strangers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import floor
from math import isfinite
from math import isnan
from urllib.parse import quote

from membench.scoring.types import Interval
from membench.text import one_line

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EM DASH}"  #: not run, not defined, or no claim is made
LIMIT = 400  #: characters of one text; a citation fits, a flood does not
LONG = 2000  #: characters of a caption, a claim or a note

#: Characters that mean something in Markdown, and those of them that are written as HTML entities.
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&$#!]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
#: An escaped code span, as scoring quotes words; nothing inside can end the span.
_ESCAPED_CODE = re.compile(r"\\`([A-Za-z0-9@./+-]+)\\`")
#: What GitHub turns into a link: an address with a scheme other than http(s), or a mail address.
_FOREIGN_LINK = re.compile(r"(?i)(?<![a-z])(?!https?://)([a-z][a-z0-9+.-]*)(://)|(?<=\S)@(?=\S)")
_URL = r"https?://[^\s<>|\"'`\\\[\]{}]+[^\s<>|\"'`\\\[\]{}.,;:!?()]"
#: Of a DOI; the last character belongs to it only if it cannot be the end of a sentence.
_DOI = r"10\.\d{4,9}/[^\s<>|\"'`\\\[\]{}]*[^\s<>|\"'`\\\[\]{}.,;:!?()]"
_REFERENCE = re.compile(
    rf"(?P<url>{_URL})|arXiv:(?P<arxiv>\d{{4}}\.\d{{4,5}})|(?i:doi:\s?)(?P<doi>{_DOI})"
)


def plain(text: object, limit: int = LIMIT) -> str:
    """Collapse foreign text to one line of at most `limit` visible characters, cut with "…"."""
    line = one_line(text, replacement="")
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape_markdown(text: object, limit: int = LIMIT) -> str:
    """Write foreign text so that Markdown shows it literally: no markup, cell border or link."""
    return _escape(plain(text, limit))


def code(text: object) -> str:
    """Write foreign text as a code span; text that could end the span is escaped instead."""
    line = plain(text)
    return f"`{line}`" if re.fullmatch(r"[A-Za-z0-9@._+-]+", line) else _escape(line)


def noise_words(signal: str) -> str:
    """Name a label noise in a sentence: `40%` for mixed@0.4; another signal by its name."""
    name, _, level = plain(signal).partition("@")
    return f"{100 * float(level):g}%" if name == "mixed" else plain(signal)


def noise_index(signal: str) -> str:
    """Name a label noise behind a symbol, as in *M*@0.4: the level of mixed@p, else the signal."""
    return escape_markdown(signal.removeprefix("mixed@"))


def cite(text: object) -> str:
    """Escape a citation like `escape_markdown`, but link http(s) addresses, arXiv ids and DOIs."""
    line = plain(text)
    parts = []
    end = 0
    for reference in _REFERENCE.finditer(line):
        parts.append(_escape(line[end : reference.start()]))
        parts.append(_link(reference))
        end = reference.end()
    parts.append(_escape(line[end:]))
    return "".join(parts)


def citation_parts(text: object) -> list[tuple[str, str]]:
    """Split a citation where `cite` makes links: (text, address), with "" for plain text."""
    line = plain(text, LONG)
    parts = []
    end = 0
    for reference in _REFERENCE.finditer(line):
        parts.append((line[end : reference.start()], ""))
        parts.append((reference[0], _address(reference)))
        end = reference.end()
    parts.append((line[end:], ""))
    return [(words, address) for words, address in parts if words]


def sentence(text: str) -> str:
    """End the text with a period unless it is empty or ends like a sentence already."""
    return text if not text or text[-1] in ".!?…>" else f"{text}."


def ascii_only(text: object, limit: int = 60) -> str:
    """Write foreign text for a figure: only ASCII letters are in every font."""
    return plain(text, limit).encode("ascii", "replace").decode()


def filename(text: str) -> str:
    """Make a file's name of the text, without separators and without dots in front."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", text).lstrip(".")[:80]


def share(value: float | None, digits: int = 2) -> str:
    """Format a ratio that may be negative but is no change: `0.87`."""
    return MISSING if value is None else _minus(f"{_rounded(value, digits):.{digits}f}")


def percent(value: float | None, digits: int = 1) -> str:
    """Format a share as a percentage without the sign: 0.913 gives `91.3`."""
    return share(None if value is None else 100 * value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """Format a change: `+0.42`, `−0.03`, `0.00`."""
    if value is None:
        return MISSING
    rounded = _rounded(value, digits)
    return _minus(f"{rounded:+.{digits}f}") if rounded else f"{0:.{digits}f}"


def number(value: float) -> str:
    """Format a quantity of unknown scale with three significant digits: `0.0123`, `−4.5`, `∞`."""
    if isnan(value):
        return "not a number"
    if isfinite(value):
        return _minus(f"{value:.3g}")
    return "∞" if value > 0 else _minus("-∞")


def estimate(value: float, low: float, high: float) -> str:
    """Format a number and the ends of its interval: `0.90 [0.81, 0.96]`.

    Args:
        value: the estimate.
        low: the lower end, or minus infinity.
        high: the upper end, or infinity.
    """
    return f"{number(value)} [{number(low)}, {number(high)}]"


def format_interval(value: Interval | None, digits: int = 2) -> str:
    """Format a change with its half-width, `+0.42 ± 0.08`; of too few seeds without it, `+0.42`."""
    return MISSING if value is None else _with_half(signed(value.mean, digits), value, digits)


def share_interval(value: Interval | None, digits: int = 2) -> str:
    """Format a ratio that is no change with its half-width: `0.42 ± 0.08`."""
    return MISSING if value is None else _with_half(share(value.mean, digits), value, digits)


def percent_interval(value: Interval) -> str:
    """Format a share with its half-width in percent, for a sentence: `42 ± 8%`, `97.7 ± 0.3%`."""
    if value.half is None:
        return f"{percent(value.mean, digits=0)}%"
    digits = 0 if value.half >= 0.01 else 1
    return f"{percent(value.mean, digits=digits)} ± {percent(value.half, digits=digits)}%"


def rounded_down(value: float, digits: int) -> float:
    """Round a lower bound so that it stays one."""
    scale = 10**digits
    # What is a rounding error below a printed number is that number.
    return floor(value * scale + 1e-9) / scale


def p_value(value: float | None) -> str:
    """Format the p-value of a test: `0.012`, `< 0.001`."""
    if value is None:
        return MISSING
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def joined(words: Sequence[str], last: str = "and") -> str:
    """Write a list as in a sentence: `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def ranks(value: tuple[int, int] | None) -> str:
    """Format an interval of ranks: `1–3`, or `4` where both ends are the same."""
    if value is None:
        return MISSING
    low, high = value
    return str(low) if low == high else f"{low}\N{EN DASH}{high}"


def times(value: float | None) -> str:
    """Format a cost in units of the plain network's: `2.0×`."""
    return MISSING if value is None else f"{value:.1f}\N{MULTIPLICATION SIGN}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Format a number of things: `1 seed`, `5 seeds`.

    Args:
        number: how many.
        noun: what they are, in the singular.
        plural: the plural, where it is not `noun` with an "s".
    """
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def unbroken(text: str) -> str:
    """Keep the text on one line of a narrow table cell."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _with_half(mean: str, value: Interval, digits: int) -> str:
    return mean if value.half is None else f"{mean} ± {value.half:.{digits}f}"


def _rounded(value: float, digits: int) -> float:
    """Round without ever giving minus zero."""
    return round(float(value), digits) + 0.0


def _minus(text: str) -> str:
    return text.replace("-", MINUS)


def _escape(line: str) -> str:
    escaped = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)
    parts = []
    for place, part in enumerate(_ESCAPED_CODE.split(escaped)):
        is_code = place % 2 == 1  # `split` puts what the group holds between the other parts
        parts.append(f"`{part}`" if is_code else _FOREIGN_LINK.sub(_broken_link, part))
    return "".join(parts)


def _broken_link(found: re.Match[str]) -> str:
    # An empty comment inside an address keeps GitHub from linking it; a backslash does not.
    return f"{found[1]}<!-- -->{found[2]}" if found[1] else "<!-- -->@"


def _link(reference: re.Match[str]) -> str:
    address = _address(reference)
    if reference["arxiv"]:
        return f"[arXiv:{reference['arxiv']}]({address})"
    if reference["doi"]:
        return f"[doi:{_escape(reference['doi'])}](<{address}>)"
    return f"<{address}>"


def _address(reference: re.Match[str]) -> str:
    """Return the https or http address of an arXiv id, a DOI or an address."""
    if reference["arxiv"]:
        return f"https://arxiv.org/abs/{reference['arxiv']}"
    if reference["doi"]:
        return f"https://doi.org/{quote(reference['doi'], safe='/:;()-._')}"
    return quote(reference["url"], safe=":/?#@!$&()*+,;=%~-._")

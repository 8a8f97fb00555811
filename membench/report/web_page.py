"""What the interactive pages share: each is one `index.html` that asks nothing of any server.

A page is plain data, embedded as JSON, and scripts that draw tables and figures from it in the
browser. Foreign text reaches it as JSON only, and the scripts write it as text, never as markup.
The page's own policy lets nothing run or load but the one script and the one style that it names
by their hashes. `interactive` and `studies_page` say what the page of a board and that of the
studies know; the scripts in `templates/interactive/shared` serve both.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader
from jinja2 import StrictUndefined
from markupsafe import Markup

from membench.report.files import INTERACTIVE
from membench.report.files import PAGE
from membench.report.text import plain

TEMPLATES = Path(__file__).with_name("templates") / "interactive"
STYLE = "shared/style.css"
#: Accuracies are counts of images over round numbers. With so many digits none of their means lies
#: half-way between two roundings, where the last bit, which differs between machines, would decide.
DIGITS = 6  #: significant digits of a number
#: What stands in a script as JSON must not end it, open a comment, or end a line of JavaScript.
_ESCAPED = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\N{LINE SEPARATOR}": "\\u2028",
    "\N{PARAGRAPH SEPARATOR}": "\\u2029",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of page: its template, and the scripts that are joined in this order to one.

    They are formatted as `prettier --print-width 100` does.
    """

    template: str
    scripts: tuple[str, ...]


def render(
    kind: Kind, data: Any, levels: int, boards: Mapping[str, str] | None, **values: Any
) -> str:
    """Make the whole of a page.

    Args:
        kind: of page.
        data: what it knows, ready for JSON.
        levels: of the data that have a line for each member, so that two pages can be compared.
        boards: address -> title of each page beside this one, as `pages_beside` finds them.
        values: what the template reads besides, by name.
    """
    script, style = script_of(kind), _read(STYLE)
    return (
        _templates()
        .get_template(kind.template)
        .render(
            policy=_policy(script, style),
            # all three are ours, or escaped for where they stand
            script=Markup(script),
            style=Markup(style),
            data=Markup(encode(data, levels)),
            pages=_links(boards or {}),
            text_page=PAGE,
            **values,
        )
    )


def encode(data: Any, levels: int) -> str:
    """Write data as JSON that can stand in a `script` element, with a line for each member.

    Args:
        data: anything that JSON has.
        levels: how deep members have lines.
    """
    text = _lines(data, levels)
    for letter, escaped in _ESCAPED.items():
        text = text.replace(letter, escaped)
    return text


def rounded(value: float | None) -> float | None:
    """Round a number for the page; None if it is none, or not finite."""
    if value is None or not isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}") + 0.0


@cache
def script_of(kind: Kind) -> str:
    """Join the scripts to one that leaves no names behind."""
    parts = [_read(name) for name in kind.scripts]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def _lines(value: Any, levels: int) -> str:
    if levels and isinstance(value, dict):
        members = [f"{_json(key)}:{_lines(member, levels - 1)}" for key, member in value.items()]
        return "{\n" + ",\n".join(members) + "\n}"
    if levels and isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(_lines(member, levels - 1) for member in value) + "\n]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _links(boards: Mapping[str, str]) -> list[dict[str, str]]:
    """Name the pages beside this one, each with its interactive page."""
    links = []
    for address, title in boards.items():
        interactive = address.removesuffix(PAGE) + INTERACTIVE
        links.append({"title": plain(title), "text": address, "interactive": interactive})
    return links


@cache
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _policy(script: str, style: str) -> str:
    """Write the Content-Security-Policy: this script, this style, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _templates() -> Templates:
    return Templates(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

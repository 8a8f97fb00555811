"""Markdown pages from the templates in `templates/`, which hold all sentences and the structure.

Python prepares the values: rows, tables and formatted numbers. Nothing is escaped by itself, since
the pages are Markdown: foreign text passes through the filter `escape_markdown`, `code` or `cite`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2 import FileSystemLoader
from jinja2 import StrictUndefined

from membench.report.text import LONG
from membench.report.text import cite
from membench.report.text import code
from membench.report.text import count
from membench.report.text import escape_markdown


def fill_template(name: str, **values: Any) -> str:
    """Fill the template of this name and return the page.

    Args:
        name: a file in `templates/`.
        values: what the template reads, by name.

    Raises:
        jinja2.UndefinedError: the template reads a value that was not given.
    """
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        autoescape=False,  # the pages are Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["escape_markdown"] = escape_markdown
    environment.filters["code"] = code
    environment.filters["cite"] = cite
    environment.filters["with_noun"] = count
    environment.globals["LONG"] = LONG
    return environment

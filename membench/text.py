"""Text for people: foreign text made safe to print, and errors in one line.

Everything that prints a plugin's names, reasons or messages calls these functions; the pages of
the report add the escapes of Markdown (`membench.report.text`).
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
import unicodedata
from pathlib import Path

from membench.errors import MembenchError

#: Categories of Unicode: control, format (characters without width, or that turn the direction of
#: text), surrogate, private use, line and paragraph separator.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_NONCHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")


def visible(text: str, replacement: str = " ") -> str:
    """Replace characters that a reader cannot see or a terminal may obey; whitespace becomes spaces.

    Text of plugins, records and machines is foreign: it may hold escape sequences, characters
    without width, or marks that make the rest of the line run backwards. This function alone says
    which characters those are.

    Args:
        text: any text.
        replacement: what stands for each such character; "" drops them.
    """
    characters = []
    for character in text:
        if character.isspace():
            characters.append(" ")
        elif unicodedata.category(character) in _INVISIBLE or _NONCHARACTER.match(character):
            characters.append(replacement)
        else:
            characters.append(character)
    return "".join(characters)


def one_line(text: object, replacement: str = " ") -> str:
    """Collapse any value's text to one line of visible characters with single spaces.

    Args:
        text: a value that may come from a plugin.
        replacement: what stands for each invisible character, as in `visible`.
    """
    return " ".join(visible(str(text), replacement).split())


def short(text: object, limit: int = 300) -> str:
    """Collapse any value's text to one visible line, cut to `limit` characters with "..."."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def printable(line: str) -> str:
    """Replace invisible characters of a line by spaces, but keep its indentation."""
    return visible(line.expandtabs())


def explain(error: BaseException) -> str:
    """`ValueError: message (regularizers/mine.py:12)`, one line: the deepest place that is a plugin's, if any."""
    name = "" if isinstance(error, MembenchError) else f"{type(error).__name__}: "
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.isabs(frame.filename)
    ]
    mine = [frame for frame in frames if is_plugin_file(frame.filename)] or frames
    place = f" ({Path(*Path(mine[-1].filename).parts[-2:])}:{mine[-1].lineno})" if mine else ""
    return short(f"{name}{error}", limit=300 - len(place)) + place


def is_plugin_file(path: str) -> bool:
    """Neither Python's nor an installed package's nor membench's own, apart from the plugins that ship with it."""
    package = Path(__file__).parent
    if Path(path).is_relative_to(package):
        return Path(path).is_relative_to(package / "builtin")
    return not any(
        Path(path).is_relative_to(sysconfig.get_path(name))
        for name in ("stdlib", "purelib", "platlib")
    )

"""Text from strangers made safe for one line of a terminal.

Everything that prints a plugin's names, reasons or messages, or an exception, calls these
functions; the pages of the report add the escapes of Markdown (`membench.report.text`).
"""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
import unicodedata
from pathlib import Path

from membench.errors import MembenchError
from membench.torch_errors import torch_says

MAX_LENGTH = 300  #: characters of a shortened line
#: Categories of Unicode: control, format (characters without width, or that turn the direction of
#: text), surrogate, private use, line and paragraph separator.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_NONCHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")


def visible(text: str, replacement: str = " ") -> str:
    """Replace characters that are invisible or that terminals obey; white space becomes spaces.

    Text of plugins, records and machines is foreign: it may hold escape sequences, characters
    without width, or marks that make the rest of the line run backwards. This function alone says
    which characters those are.

    Args:
        text: any text.
        replacement: what stands for each such character; "" drops them.
    """
    if text.isprintable():  # nearly always; no character needs a look
        return text
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


def short(text: object, limit: int = MAX_LENGTH) -> str:
    """Collapse any value's text to one visible line, cut to `limit` characters with "..."."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def printable(line: str) -> str:
    """Replace invisible characters of a line by spaces, but keep its indentation."""
    return visible(line.expandtabs())


def display_path(path: str, line: int = 0) -> str:
    """Shorten a path to what its author types, and append the line if there is one."""
    shown = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
    suffix = f":{line}" if line else ""
    return one_line(shown) + suffix


def explain(error: BaseException) -> str:
    """Describe an exception in one line of at most 300 characters.

    The line reads `ValueError: message (regularizers/mine.py:12)`: the place is the deepest frame
    in a plugin's file, else the deepest frame. A `MembenchError` is shown without its class.
    """
    name = "" if isinstance(error, MembenchError) else f"{type(error).__name__}: "
    path, line = _place(error)
    place = f" ({path.parent.name}/{path.name}:{line})" if path else ""
    known = torch_says(error, f"{path}:{line}")
    message = known.what if known else f"{name}{error}"
    return short(message, limit=MAX_LENGTH - len(place)) + place


def _place(error: BaseException) -> tuple[Path | None, int]:
    """Return the file and the line that raised the error; None and 0 if none did."""
    frames = []
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.isabs(frame.filename):  # not <string> or <frozen importlib>
            frames.append(frame)
    if not frames:
        return None, 0
    deepest = frames[-1]
    for frame in frames:
        if _is_plugin_file(frame.filename):
            deepest = frame
    return Path(deepest.filename), deepest.lineno or 0


def _is_plugin_file(filename: str) -> bool:
    """Tell whether a file is a plugin's: not Python's, an installed package's, or membench's own.

    The plugins that ship with membench count as plugins.
    """
    path, package = Path(filename), Path(__file__).parent
    if path.is_relative_to(package):
        return path.is_relative_to(package / "builtin")
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    return not any(path.is_relative_to(folder) for folder in installed)

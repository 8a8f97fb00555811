"""Where the plugins are: the shipped folder, `./plugins/`, `-p`, entry points, `pyproject.toml`; imports none of them.

The registry asks for the sources; loading imports what is new.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from membench.errors import MembenchError


def one_line(text: Any) -> str:
    """`text` as one line without control characters; plugins write what they like, terminals obey what they read."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def short(text: object, limit: int = 300) -> str:
    """One line of printable characters, at most so many."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def printable(line: str) -> str:
    """The line without control characters, its indentation kept."""
    return "".join(c if c.isprintable() else " " for c in line.expandtabs())


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

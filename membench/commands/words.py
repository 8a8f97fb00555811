"""A word on the terminal while a command does something that takes seconds."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Print a line on stderr for whoever waits at a terminal; nothing for files and CI systems."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        return
    line = f"{text} ..."
    if not os.environ.get("NO_COLOR"):
        line = f"\033[2m{line}\033[0m"
    print(line, file=sys.stderr, flush=True)


def saying_once(text: str) -> Callable[[], None]:
    """Return a function that says this when it is called first, and nothing after that."""
    return functools.cache(functools.partial(say, text))

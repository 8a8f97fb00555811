"""The one exception that reaches the user as a single line, with the exit code it stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line; 0 to 5 mean what they mean in pytest."""

    OK = 0  #: every cell ended `ok`, `diverged` or `skipped`
    FAILED = 1  #: a cell failed or timed out, or a plugin could not be read
    INTERRUPTED = 2  #: Ctrl-C or SIGTERM; all that was measured is kept
    INTERNAL = 3  #: a defect of membench itself
    USAGE = 4  #: the command line, a name or a file is wrong
    NOTHING = 5  #: the selection holds no cell
    STORE = 10  #: a stored record is damaged
    DISK = 11  #: a record could not be made durable (disk full, folder not writable)
    FETCH = 12  #: a data set could not be downloaded


class MembenchError(Exception):
    """What is wrong, where, and how to mend it: shown to the user as one line."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


class LaneError(AttributeError):
    """A plugin asked its lane for something that its stage does not have."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> MembenchError:
    """The error for a name nobody registered, with the nearest known ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return MembenchError(f"unknown {kind} {name!r}: {hint}")

"""The exceptions of membench, and the exit codes that they stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

MOST_LISTED = 100  #: characters of a list of names; a longer one is read by nobody


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
    """An error that the user sees as one line: what is wrong, where, and how to mend it."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code

    def _render_traceback_(self) -> list[str]:
        """Show one line in a notebook too; IPython asks for it in place of the traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputsChangedError(MembenchError):
    """A plugin or a data set is not the one that the run was planned with.

    What would be trained has another key than the plan's, so nothing of it may be stored.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; run the command again", ExitCode.FAILED)


class LaneError(AttributeError):
    """A plugin read a field of its lane that its stage does not have."""


def unknown_name(kind: str, name: str, known: Iterable[str], listing: str = "") -> MembenchError:
    """Make the error for a name that nothing is registered under.

    Args:
        kind: of thing, as in "signal".
        name: the unknown name.
        known: all names of that kind; the nearest of them, if any is near, are suggested.
        listing: the command that lists them all, as in "membench list signals".

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        *others, last = near
        listed = f"{', '.join(others)} or {last}" if others else last
        hint = f"did you mean {listed}?"
    else:
        hint = known_names(name, names, listing)
    return MembenchError(f"unknown {kind} {name!r}: {hint}")


def known_names(name: str, known: Iterable[str], listing: str = "") -> str:
    """Say which names there are: all of them, or of many the nearest and how to list the others.

    Args:
        name: the unknown name.
        known: all names.
        listing: the command that lists them, as in "membench list signals".
    """
    names = list(known)
    text = ", ".join(names)
    if len(text) <= MOST_LISTED:
        return f"known: {text}"
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    others = f" ({listing} shows all)" if listing else ""
    return f"the nearest of {len(names)} names: {', '.join(nearest)}{others}"

"""The vocabulary of the contract suite: a check, what it can find, and where in a plugin it points.

`catalogue` lists the checks, `subject` runs them on one record of a plugin. Imports no torch.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

from membench.text import display_path

PASSED, FAILED, WARNED, SKIPPED = "passed", "failed", "warned", "skipped"


class Fault(AssertionError):
    """A failed check.

    Args:
        what: What is wrong, in one sentence.
        where: `file:line` in the plugin, where the check knows it better than the traceback does.
        mend: The remedy, where the check has a better one than the catalogue's.
        warns: It is a warning, whatever the check's findings are otherwise.
    """

    def __init__(self, what: str, where: str = "", mend: str = "", warns: bool = False) -> None:
        super().__init__(what)
        self.where = where
        self.mend = mend
        self.warns = warns


class NotApplicable(Exception):
    """The check has nothing to look at in this plugin; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property of every sound plugin."""

    name: str
    title: str  #: what holds when the check passes
    mend: str  #: what to do when it does not
    function: str  #: "module:function" in this package; takes a `Subject`, may return a remark
    needs: tuple[str, ...] = ()  #: checks without which this one has nothing to say
    warns: bool = False  #: a finding is a warning
    lenient: bool = False  #: a finding is a warning for plugins that do not ship with membench


@dataclass(frozen=True)
class Outcome:
    """The result of one check on one plugin."""

    plugin: str  #: "regularizers/dropout"
    check: str
    status: str  #: passed, failed, warned or skipped
    what: str = ""  #: what is wrong, why the check was skipped, or a remark
    where: str = ""  #: file:line in the plugin
    mend: str = ""
    seconds: float = 0.0


def source_location(function: Any) -> str:
    """Return the file:line of a function that a record holds; "" if it has no Python source."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:  # an object that can be called
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    return display_path(code.co_filename, code.co_firstlineno) if code else ""

"""What a check is and what it can find, and a plugin's record under test, which remembers what was found. No torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from membench.errors import LaneError
from membench.errors import MembenchError
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.loading import load_records
from membench.registry.registry import Registry
from membench.text import one_line

PASSED, FAILED, WARNED, SKIPPED = "passed", "failed", "warned", "skipped"
NEEDS = "needs"  #: how the reason of a skipped check begins, whose ground is gone
MAX_ERROR_LENGTH = 400  #: characters of what a plugin's exception says


class Fault(AssertionError):
    """A check has failed: what is wrong, and, where they are better than the check's own, the place and the remedy."""

    def __init__(self, what: str, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.where, self.mend = where, mend


class NotApplicable(Exception):
    """The check has nothing to look at in this plugin; says why."""


@dataclass(frozen=True)
class Check:
    """One thing that holds of every sound plugin."""

    name: str
    title: str  #: what holds when it passes
    mend: str  #: what to do when it does not
    act: str  #: "module:function" in this package: takes the `Subject`, raises `Fault`, returns a remark or None
    needs: tuple[str, ...] = ()  #: checks that must not fail, else this one has nothing to say
    warns: bool = False  #: a finding is a warning
    lenient: bool = False  #: a finding is a warning for plugins that do not ship with membench

    def function(self) -> Callable[[Subject], str | None]:
        """Imports the module that acts."""
        module, _, name = self.act.partition(":")
        return getattr(importlib.import_module(f"membench.testing.{module}"), name)


@dataclass(frozen=True)
class Outcome:
    """What one check found in one plugin."""

    plugin: str  #: "regularizers/dropout"
    check: str
    status: str  #: passed, failed, warned or skipped
    what: str = ""  #: what is wrong, why it was skipped, or a remark
    where: str = ""  #: file:line in the plugin
    mend: str = ""
    seconds: float = 0.0


@dataclass
class Subject:
    """One record of a plugin. Checks share what they train through `bench`, and outcomes are kept."""

    entry: PluginEntry
    registry: Registry
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """As `-k` sees it."""
        return f"{self.entry.kind}/{self.entry.name}"

    @functools.cached_property
    def ours(self) -> bool:
        """It ships with membench."""
        members = self.entry.members or (self.entry,)
        return all(bool(e.path) and Path(e.path).is_relative_to(shipped_folder()) for e in members)

    @functools.cached_property
    def records(self) -> tuple[Any, ...]:
        """The live records: one, or a composition's parts."""
        return load_records(self.entry)

    @functools.cached_property
    def bench(self) -> Any:
        """Where a regularizer's runs are made and kept (`membench.testing.bench.Bench`)."""
        from membench.testing.bench import Bench

        return Bench(self)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that define it."""
        return tuple(e.path for e in self.entry.members or (self.entry,))

    def outcome(self, check: Check, table: dict[str, Check]) -> Outcome:
        """Run the check, and before it those that it needs; each runs once."""
        if check.name not in self.outcomes:
            failed = [n for n in check.needs if self._gone(self.outcome(table[n], table))]
            started = time.perf_counter()
            found = self._skipped(check, f"{NEEDS} {failed[0]}") if failed else self._tried(check)
            seconds = round(time.perf_counter() - started, 3)
            self.outcomes[check.name] = Outcome(**{**vars(found), "seconds": seconds})
        return self.outcomes[check.name]

    def _gone(self, found: Outcome) -> bool:
        """Nothing that stands on it can be checked."""
        return found.status == FAILED or (found.status == SKIPPED and found.what.startswith(NEEDS))

    def _skipped(self, check: Check, why: str) -> Outcome:
        return Outcome(self.id, check.name, SKIPPED, why)

    def _tried(self, check: Check) -> Outcome:
        try:
            remark = check.function()(self)
        except NotApplicable as why:
            return self._skipped(check, str(why))
        except Fault as fault:
            where = fault.where or location_in_plugin(fault, self.paths) or self._home()
            return self._found(check, str(fault), where, fault.mend or check.mend)
        except (Exception, SystemExit) as error:  # a stranger's function may raise anything
            where = location_in_plugin(error, self.paths) or self._home()
            return self._found(check, describe_error(error), where, remedy(error) or check.mend)
        return Outcome(self.id, check.name, PASSED, remark or "")

    def _found(self, check: Check, what: str, where: str, mend: str) -> Outcome:
        mild = check.warns or (check.lenient and not self.ours)
        return Outcome(self.id, check.name, WARNED if mild else FAILED, one_line(what), where, mend)

    def _home(self) -> str:
        return display_path(self.paths[0]) if self.paths[0] else self.entry.origin


def display_path(path: str, line: int = 0) -> str:
    """A file as its author knows it, and the line in it."""
    inside = Path(path).is_relative_to(Path.cwd())
    return one_line(os.path.relpath(path) if inside else path) + (f":{line}" if line else "")


def source_location(function: Any) -> str:
    """file:line of the function that a record holds; "" where it has no source of its own."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(
        vars(type(function)).get("__call__"), "__code__", None
    )
    return display_path(code.co_filename, code.co_firstlineno) if code else ""


def location_in_plugin(error: BaseException, paths: tuple[str, ...]) -> str:
    """file:line of the deepest of the plugin's own lines that the error came through; "" if it came through none."""
    chain: list[BaseException] = [error]
    while (
        before := chain[-1].__cause__ or chain[-1].__context__
    ) is not None and before not in chain:
        chain.append(before)
    for one in chain:
        mine = [f for f in traceback.extract_tb(one.__traceback__) if f.filename in paths]
        if mine:
            return display_path(mine[-1].filename, mine[-1].lineno or 0)
    return ""


def describe_error(error: BaseException) -> str:
    """`TypeError: message` in one line, cut where it gets long."""
    text = one_line(str(error).strip().partition("\n\n")[0])
    text = text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]} ..."
    return (
        text
        if isinstance(error, (MembenchError, LaneError))
        else f"{type(error).__name__}: {text}".rstrip(": ")
    )


#: What torch says where a function is not written for many lanes, and what to write instead.
REMEDIES = (
    (
        "random",
        "draw from lane.uniform, lane.normal or lane.permutation: torch's generators are not the lane's",
    ),
    (
        "data-dependent control flow",
        "write torch.where(condition, a, b) instead of an if on a tensor",
    ),
    (
        ".item()",
        "keep lane.strength and all that comes from it tensors: no float(), int(), .item() and no if",
    ),
    (
        "escaped",
        "keep no tensor between calls: what must last goes into the state that init and update return",
    ),
    (
        "dynamic shape",
        "write torch.where or a sum with weights: a mask must not choose how many there are",
    ),
    ("inplace", "write a new tensor: x * 2 instead of x *= 2 on what membench handed over"),
    ("in-place", "write a new tensor: x * 2 instead of x *= 2 on what membench handed over"),
)


def remedy(error: BaseException) -> str:
    """The remedy for a known message, else ""."""
    if isinstance(error, LaneError):
        return 'use what lane has in this stage: README, "The contract"'
    text = str(error).lower()
    return next((mend for word, mend in REMEDIES if word in text), "")

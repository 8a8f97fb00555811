"""One record of a plugin under test: runs the checks on it and remembers what they found.

Checks are named in `catalogue` and imported when the first of them runs: this imports no torch.
"""

from __future__ import annotations

import functools
import importlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from membench.errors import LaneError
from membench.errors import MembenchError
from membench.registry.discovery import is_shipped
from membench.registry.entry import PluginEntry
from membench.registry.loading import load_records
from membench.registry.registry import Registry
from membench.testing.check import FAILED
from membench.testing.check import PASSED
from membench.testing.check import SKIPPED
from membench.testing.check import WARNED
from membench.testing.check import Check
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import Outcome
from membench.testing.check import display_path
from membench.text import one_line

if TYPE_CHECKING:
    from membench.testing.bench import Bench

NEEDS = "needs"  #: prefix of the skip reason when a required check failed
MAX_ERROR_LENGTH = 400  #: characters shown of the message of a plugin's exception


@dataclass
class Subject:
    """One record of a plugin under test. Checks share what they train through `bench`."""

    entry: PluginEntry
    registry: Registry
    outcomes: dict[str, Outcome] = field(default_factory=dict)  #: by the check's name

    @property
    def id(self) -> str:
        """The record as `-k` sees it, such as "regularizers/dropout"."""
        return f"{self.entry.kind}/{self.entry.name}"

    @property
    def members(self) -> tuple[PluginEntry, ...]:
        """The entries that it is made of: a composition's parts, otherwise the entry itself."""
        return self.entry.members or (self.entry,)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that define it."""
        return tuple(member.path for member in self.members)

    @functools.cached_property
    def ours(self) -> bool:
        """True if all of it ships with membench."""
        return all(is_shipped(path) for path in self.paths)

    @functools.cached_property
    def records(self) -> tuple[Any, ...]:
        """The live records: one, or a composition's parts."""
        return load_records(self.entry)

    @functools.cached_property
    def bench(self) -> Bench:
        """The tiny runs of a regularizer, shared by its checks.

        Raises:
            NotApplicable: it acts at no stage.
        """
        from membench.testing.bench import Bench

        return Bench(self.entry, self.records, self.paths)

    def outcome(self, check: Check, table: dict[str, Check]) -> Outcome:
        """Run a check, after those that it needs; each runs once.

        Args:
            check: The check to run.
            table: All checks of this kind of plugin by their names.

        Returns:
            What was found, now or the first time.
        """
        if check.name not in self.outcomes:
            failed = [name for name in check.needs if _blocks(self.outcome(table[name], table))]
            started = time.perf_counter()
            missing = f"{NEEDS} {failed[0]}" if failed else ""
            outcome = self._skipped(check, missing) if missing else self._run(check)
            seconds = round(time.perf_counter() - started, 3)
            self.outcomes[check.name] = replace(outcome, seconds=seconds)
        return self.outcomes[check.name]

    def _run(self, check: Check) -> Outcome:
        try:
            remark = load_function(check)(self)
        except NotApplicable as why:
            return self._skipped(check, str(why))
        except Fault as fault:
            where = fault.where or self._location(fault)
            return self._finding(check, str(fault), where, fault.mend or check.mend)
        except (Exception, SystemExit) as error:  # a stranger's function may raise anything
            mend = remedy(error) or check.mend
            return self._finding(check, describe_error(error), self._location(error), mend)
        return Outcome(self.id, check.name, PASSED, remark or "")

    def _skipped(self, check: Check, why: str) -> Outcome:
        return Outcome(self.id, check.name, SKIPPED, why)

    def _finding(self, check: Check, what: str, where: str, mend: str) -> Outcome:
        is_warning = check.warns or (check.lenient and not self.ours)
        status = WARNED if is_warning else FAILED
        return Outcome(self.id, check.name, status, one_line(what), where, mend)

    def _location(self, error: BaseException) -> str:
        """Return the plugin's line that raised, else its file, else where it was installed from."""
        home = display_path(self.paths[0]) if self.paths[0] else self.entry.origin
        return location_in_plugin(error, self.paths) or home


def load_function(check: Check) -> Callable[[Subject], str | None]:
    """Import the module of a check and return the check's function."""
    module, _, name = check.function.partition(":")
    function: Callable[[Subject], str | None]
    function = getattr(importlib.import_module(f"membench.testing.{module}"), name)
    return function


def _blocks(outcome: Outcome) -> bool:
    """Return whether checks that need this one have nothing to say."""
    if outcome.status == SKIPPED:
        return outcome.what.startswith(NEEDS)
    return outcome.status == FAILED


def location_in_plugin(error: BaseException, paths: tuple[str, ...]) -> str:
    """Return file:line of the deepest line of the plugin that raised; "" if none of its lines did.

    The causes and contexts of the exception are searched too, the exception itself first.
    """
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for raised in chain:
        frames = traceback.extract_tb(raised.__traceback__)
        in_plugin = [frame for frame in frames if frame.filename in paths]
        if in_plugin:
            return display_path(in_plugin[-1].filename, in_plugin[-1].lineno or 0)
    return ""


def describe_error(error: BaseException) -> str:
    """Return `TypeError: message` in one line, cut at `MAX_ERROR_LENGTH` characters."""
    text = one_line(str(error).strip().partition("\n\n")[0])
    if len(text) > MAX_ERROR_LENGTH:
        text = f"{text[:MAX_ERROR_LENGTH]} ..."
    if isinstance(error, (MembenchError, LaneError)):
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")


_NEW_TENSOR = "write a new tensor: x * 2 instead of x *= 2 on what membench handed over"
#: (word of torch's message about a function that cannot be stacked, what to write instead)
REMEDIES = (
    (
        "random",
        "draw from lane.uniform, lane.normal or lane.permutation: "
        "torch's generators are not the lane's",
    ),
    (
        "data-dependent control flow",
        "write torch.where(condition, a, b) instead of an if on a tensor",
    ),
    (
        ".item()",
        "keep lane.strength and all that comes from it tensors: "
        "no float(), int(), .item() and no if",
    ),
    (
        "escaped",
        "keep no tensor between calls: "
        "what must last goes into the state that init and update return",
    ),
    (
        "dynamic shape",
        "write torch.where or a sum with weights: a mask must not choose how many there are",
    ),
    ("inplace", _NEW_TENSOR),
    ("in-place", _NEW_TENSOR),
)


def remedy(error: BaseException) -> str:
    """Return the remedy for an exception whose message is known, else ""."""
    if isinstance(error, LaneError):
        return 'use what lane has in this stage: plugins/README.md, "Regularizers"'
    message = str(error).lower()
    for word, mend in REMEDIES:
        if word in message:
            return mend
    return ""

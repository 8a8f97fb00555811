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
from membench.records import Record
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
from membench.text import display_path
from membench.text import one_line
from membench.torch_errors import torch_says

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
    #: what the checks of a probe trained with it, by network
    trained: dict[str, list[Record]] = field(default_factory=dict)

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
        """The tiny runs of a regularizer, shared by its checks, on a network that it takes.

        Raises:
            NotApplicable: it acts at no stage.
        """
        from membench.testing.bench import Bench
        from membench.testing.bench import reasons_to_skip
        from membench.testing.toy import MLP
        from membench.testing.toy import NETWORKS

        refused = reasons_to_skip(self.records)
        network = next((network for network in NETWORKS if network.name not in refused), MLP)
        return Bench(self.entry, self.records, self.paths, network)

    def outcome(self, check: Check, table: dict[str, Check]) -> Outcome:
        """Run a check, after those that it needs; each runs once.

        Args:
            check: The check to run.
            table: All checks of this kind of plugin by their names.

        Returns:
            What was found, now or the first time.
        """
        if check.name not in self.outcomes:
            failed = [name for name in check.needs if self._blocks(table[name], table)]
            started = time.perf_counter()
            missing = f"{NEEDS} {failed[0]}" if failed else ""
            outcome = self._skipped(check, missing) if missing else self._run(check)
            seconds = round(time.perf_counter() - started, 3)
            self.outcomes[check.name] = replace(outcome, seconds=seconds)
        return self.outcomes[check.name]

    def _blocks(self, check: Check, table: dict[str, Check]) -> bool:
        """Return whether checks that need this one have nothing to say."""
        outcome = self.outcome(check, table)
        if outcome.status == SKIPPED:
            return outcome.what.startswith(NEEDS)
        return outcome.status == FAILED

    def _run(self, check: Check) -> Outcome:
        try:
            remark = load_function(check)(self)
        except NotApplicable as why:
            return self._skipped(check, str(why))
        except Fault as fault:
            where = fault.where or self._location(fault)
            found = self._finding(check, str(fault), where, fault.mend or check.mend)
            return replace(found, status=WARNED) if fault.warns else found
        except (Exception, SystemExit) as error:  # a stranger's function may raise anything
            where = self._location(error)
            mend = remedy(error, where) or check.mend
            return self._finding(check, describe_error(error, where), where, mend)
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


def describe_error(error: BaseException, where: str = "") -> str:
    """Return what went wrong in one line: in our own words, or `TypeError: message`, cut short.

    Args:
        error: that a plugin's function raised.
        where: file:line of the plugin.
    """
    known = torch_says(error, where)
    if known is not None:
        return known.what
    text = one_line(str(error).strip().partition("\n\n")[0])
    if len(text) > MAX_ERROR_LENGTH:
        text = f"{text[:MAX_ERROR_LENGTH]} ..."
    if isinstance(error, (MembenchError, LaneError)):
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")


def remedy(error: BaseException, where: str = "") -> str:
    """Return the remedy for an exception whose message is known, else "".

    Args:
        error: that a plugin's function raised.
        where: file:line of the plugin.
    """
    if isinstance(error, LaneError):
        return 'use what lane has in this stage: plugins/README.md, "Regularizers"'
    known = torch_says(error, where)
    if known is not None:
        return known.mend
    if isinstance(error, (RuntimeError, ValueError, IndexError, KeyError)):
        return "mend the line; if it cannot act there, give skip= with the reason"
    return ""

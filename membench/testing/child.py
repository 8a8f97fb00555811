"""In the process of one plugin file: read it, hand its records to pytest, and say what is found on a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NoReturn

import pytest

from membench.loading import PluginEntry
from membench.loading import read
from membench.plugin_finding import Source
from membench.plugin_finding import one_line
from membench.registry import KINDS
from membench.registry import Registry
from membench.registry import assemble
from membench.testing import pytest_plugin
from membench.testing.subject import Subject
from membench.testing.table import CHECKS

SUITE = Path(__file__).with_name("contract.py")
Select = Callable[[str], bool]


@dataclass(frozen=True)
class Job:
    """What all processes share."""

    base: Registry  #: what ships with membench
    others: tuple[Source, ...]  #: where a composition's parts may be
    select: Select  #: of "regularizers/dropout/off-run"
    limit: float  #: seconds for one file


def serve(source: Source, job: Job, fd: int, output: int) -> NoReturn:
    """In the child: read the file, check what it registers, say all on `fd`. Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        for stream in (1, 2):
            os.dup2(output, stream)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _check(source, job, lambda **message: os.write(fd, json.dumps(message).encode() + b"\n"))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _check(source: Source, job: Job, say: Callable[..., Any]) -> None:
    entries, problems = read(source)
    registry = _registry(source, entries, job)
    problems += [p for p in registry.problems if p.origin == source.origin]
    for problem in problems:
        say(problem=one_line(problem.message))
    mine = [e for kind in KINDS for e in getattr(registry, kind).values() if e.path == str(source.path)]
    subjects = [Subject(entry, registry) for entry in mine]
    for s in subjects:
        e = s.entry
        say(
            plugin={"id": s.id, "kind": e.kind, "name": e.name, "hash": e.code_hash, "origin": e.origin, "ours": s.ours}
        )
    checked = [s for s in subjects if s.entry.kind in CHECKS]  # there are none of probes and studies yet
    if checked:
        run_pytest(checked, job.select, say)
    say(done=True)


def _tables(registry: Registry) -> tuple[dict[str, PluginEntry], ...]:
    return registry.regularizers, registry.architectures, registry.datasets, registry.signals


def _registry(source: Source, entries: list[PluginEntry], job: Job) -> Registry:
    """What ships, and what this file registers; other files only if a composition has parts that are in neither."""
    base = [e for table in _tables(job.base) for e in table.values() if e.where or e.members]
    kept = [e for e in base if e.path != str(source.path)]
    known = {e.name for e in (*kept, *entries)}
    if any(part not in known for e in entries for part in e.parts):
        for other in job.others:
            if other.key != source.key:
                more, _ = read(other)
                kept += [e for e in more if e.name not in known]
    return assemble([*kept, *entries], [])


class _Session:
    """pytest's plugin of this process: what to check, and where the outcomes go."""

    def __init__(self, subjects: list[Subject], select: Select, say: Callable[..., Any]) -> None:
        self.subjects, self.select, self.say = subjects, select, say

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[pytest_plugin.GIVEN] = self.subjects

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        named = lambda item: "{.id}/{.name}".format(*item.callspec.params["membench_check"])  # noqa: E731
        items[:] = [item for item in items if self.select(named(item))]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.say(at=nodeid.partition("[")[2].removesuffix("]"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == pytest_plugin.MARK:
                self.say(outcome=value)


def run_pytest(subjects: list[Subject], select: Select, say: Callable[..., Any]) -> None:
    """Every check of the subjects that is selected; nobody's settings or plugins but ours take part."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    words = [str(SUITE), "-c", os.devnull, f"--rootdir={SUITE.parent}", "--noconftest", "--assert=plain"]
    words += ["--import-mode=importlib", "--capture=no"]
    for name in ("cacheprovider", "terminal", "warnings", "unraisableexception", "threadexception", "faulthandler"):
        words += ["-p", f"no:{name}"]
    code = pytest.main(words, plugins=[pytest_plugin, _Session(subjects, select, say)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        say(problem=f"pytest ended with {code!r}")

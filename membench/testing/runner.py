"""Run the contract suite on plugin files, each in a process of its own: what `membench check` does.

`warm_up` imports torch once; `check_files` then forks a child for each file, since a plugin may
crash, hang or change what it can reach. The child reads the file, hands its records to pytest and
sends what it finds as messages, from which the driver makes a `FileReport`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any
from typing import cast

import pytest

from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import send
from membench.records import parse_signal
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.loading import read_plugin
from membench.registry.registry import CELL_KINDS
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.registry.registry import build_registry
from membench.testing import pytest_plugin
from membench.testing.check import Check
from membench.testing.check import Outcome
from membench.testing.subject import Subject
from membench.text import one_line

SUITE = Path(__file__).with_name("contract.py")
#: Kinds of message of a child. `problem`: the file, or a record of it, cannot be checked. `plugin`:
#: a record that the file registers. `started`: a check begins. `outcome`: it has ended. `done`:
#: nothing more comes.
CHECK_MESSAGES = ("problem", "plugin", "started", "outcome", "done")
_SHOWN_OUTPUT = 200  #: characters of the last line that a crashed child printed

Select = Callable[[str], bool]  #: takes "regularizers/dropout/off-run"
Report = Callable[..., None]  #: `send` to the driver: takes a kind and its values


@dataclass(frozen=True)
class CheckJob:
    """The job that the children of all files share."""

    base: Registry  #: what ships with membench
    others: tuple[PluginSource, ...]  #: where a composition's parts may be
    select: Select  #: which checks are wanted
    limit: float  #: seconds for one file
    data_folder: Path | None = None  #: of data sets; None = the default


@dataclass
class FileReport:
    """The findings in one plugin file."""

    source: PluginSource
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)  #: id -> what it registered
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: why it, or a part, could not be checked
    current_check: str = ""  #: the last that began; "" while the file is imported
    done: bool = False  #: the child came to its end
    seconds: float = 0.0

    def add(self, message: dict[str, Any]) -> None:
        """Take in a message of the child."""
        kind = message["kind"]
        if kind == "plugin":
            plugin = message["plugin"]
            self.plugins[plugin["id"]] = plugin
        elif kind == "started":
            self.current_check = message["check"]
        elif kind == "outcome":
            self.outcomes.append(Outcome(**message["outcome"]))
        elif kind == "problem":
            self.problems.append(message["text"])
        elif kind == "done":
            self.done = True


def warm_up() -> None:
    """Do once what every child would: imports, plain runs, and what torch does the first time.

    It then keeps the garbage collector from walking over all that.
    """
    import torch._dynamo  # what tracing a step imports: a second

    from membench.engine.environment import configure_torch
    from membench.testing import gpu_checks
    from membench.testing import training_checks

    configure_torch()
    training_checks.train_plain_networks()
    gpu_checks.prepare_steps()
    assert torch._dynamo
    gc.collect()
    gc.freeze()


def check_files(
    sources: Iterable[PluginSource], job: CheckJob, workers: int
) -> Iterator[FileReport]:
    """Yield one report a file, in the files' order, each as soon as all before it are there.

    Args:
        sources: the files.
        job: what to check in them.
        workers: how many files are checked at a time.
    """
    waiting = list(sources)
    running: list[_FileCheck] = []
    unreported: list[_FileCheck] = []  #: running and ended ones, in the files' order
    try:
        while waiting or unreported:
            while waiting and len(running) < workers:
                file_check = _FileCheck(waiting.pop(0), job)
                running.append(file_check)
                unreported.append(file_check)
            wait_for_news(file_check.process for file_check in running)
            for file_check in list(running):
                file_check.poll()
                if file_check.ended:
                    running.remove(file_check)
            while unreported and unreported[0].ended:
                yield unreported.pop(0).report
    finally:
        for file_check in running:
            file_check.process.close()


class _FileCheck:
    """The child that checks one file, and what it has reported."""

    def __init__(self, source: PluginSource, job: CheckJob) -> None:
        self.report = FileReport(source)
        self.ended = False
        self._started = time.monotonic()
        self.process = ChildProcess.fork(
            partial(_check_file, source, job),
            message_kinds=CHECK_MESSAGES,
            time_limit=job.limit,
        )
        self.process.close_stdin()

    def poll(self) -> None:
        """Take in new messages; when the child has ended, complete the report."""
        self.process.kill_if_overdue()
        for message in self.process.receive():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a plugin may write these
                self.report.add(message)
        if self.process.alive:
            return
        self.process.close()
        self.report.seconds = time.monotonic() - self._started
        if not self.report.done:
            self.report.problems.append(self._describe_end())
        self.ended = True

    def _describe_end(self) -> str:
        """Describe why the child came to no end: `killed by SIGSEGV, in check ...`."""
        check = self.report.current_check
        where = f"in check {check}" if check else "while it was imported"
        output = self.process.output.strip().splitlines()
        last_line = f"; it last printed: {one_line(output[-1])[:_SHOWN_OUTPUT]}" if output else ""
        return f"{self.process.exit_reason}, {where}{last_line}"


def _check_file(source: PluginSource, job: CheckJob, message_fd: int) -> None:
    """Read a file in the child, check what it registers, and send what is found."""
    report = partial(send, message_fd)
    gc.set_threshold(20_000, 20, 100)  # a trace makes many objects, and the process ends soon
    if job.data_folder:
        os.environ["MEMBENCH_DATA"] = str(job.data_folder)  # for all of this process
    entries, problems = read_plugin(source)
    registry = _registry(source, entries, job)
    problems += [problem for problem in registry.problems if problem.origin == source.origin]
    for problem in problems:
        report("problem", text=one_line(problem.message))
    subjects = []
    for kind in KINDS:
        for entry in getattr(registry, kind).values():
            if entry.path == str(source.path):
                subjects.append(Subject(entry, registry))
    for subject in subjects:
        report("plugin", plugin=_describe_plugin(subject))
    if subjects:
        run_pytest(subjects, job.select, report)
    report("done")


def _describe_plugin(subject: Subject) -> dict[str, Any]:
    return {
        "id": subject.id,
        "kind": subject.entry.kind,
        "name": subject.entry.name,
        "hash": subject.entry.code_hash,
        "origin": subject.entry.origin,
        "ours": subject.ours,
    }


def _registry(source: PluginSource, entries: list[PluginEntry], job: CheckJob) -> Registry:
    """Build a registry of what ships with membench and what this file registers.

    Other files are read only if this one names what is in neither: a composition its parts, a
    recipe an optimizer, a suite what it is made of.
    """
    shipped = []
    for kind in CELL_KINDS:
        for entry in getattr(job.base, kind).values():
            importable = entry.plugin_source is not None or entry.members  # `none` has neither
            if importable and entry.path != str(source.path):
                shipped.append(entry)
    known = {(entry.kind, entry.name) for entry in [*shipped, *entries]}
    named = {name for entry in entries for name in _names_of_others(entry)}
    from_others = []
    if not named <= known:
        for other in job.others:
            if other.key != source.key:
                for entry in read_plugin(other)[0]:
                    if (entry.kind, entry.name) not in known:
                        from_others.append(entry)
    return build_registry([*shipped, *from_others, *entries], [])


def _names_of_others(entry: PluginEntry) -> Iterator[tuple[str, str]]:
    """Yield table and name of what a record names and does not define."""
    for part in entry.parts:
        yield "regularizers", part
    recipes = [entry.recipe]
    if entry.kind == "suites":
        recipes += entry.suite["recipes"].values()
        for kind in ("datasets", "architectures", "signals", "probes"):
            for name in entry.suite[kind]:
                yield kind, parse_signal(name)[0]
    for recipe in recipes:
        if recipe:
            yield "optimizers", recipe["optimizer"]


class _Session:
    """A pytest plugin: hands the subjects to pytest, and each outcome to the driver."""

    def __init__(self, subjects: list[Subject], select: Select, report: Report) -> None:
        self.subjects = subjects
        self.select = select
        self.report = report

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[pytest_plugin.GIVEN] = self.subjects

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self.select(_case_name(item))]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.report("started", check=nodeid.partition("[")[2].removesuffix("]"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == pytest_plugin.MARK:
                self.report("outcome", outcome=value)


def _case_name(item: pytest.Item) -> str:
    """Return `regularizers/dropout/off-run`, as `Select` takes it."""
    assert isinstance(item, pytest.Function)
    subject, check = cast("tuple[Subject, Check]", item.callspec.params["membench_check"])
    return f"{subject.id}/{check.name}"


#: pytest's own plugins that the suite does without.
_DISABLED_PLUGINS = (
    "cacheprovider",
    "terminal",
    "warnings",
    "unraisableexception",
    "threadexception",
    "faulthandler",
)


def run_pytest(subjects: list[Subject], select: Select, report: Report) -> None:
    """Run the selected checks of the subjects, without the user's settings and plugins of pytest.

    Args:
        subjects: what to check.
        select: which checks to run.
        report: called with each outcome.
    """
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = [str(SUITE), "-c", os.devnull, f"--rootdir={SUITE.parent}", "--noconftest"]
    arguments += ["--assert=plain", "--import-mode=importlib", "--capture=no"]
    for name in _DISABLED_PLUGINS:
        arguments += ["-p", f"no:{name}"]
    session = _Session(subjects, select, report)
    exit_code = pytest.main(arguments, plugins=[pytest_plugin, session])
    expected = (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    )
    if exit_code not in expected:
        report("problem", text=f"pytest ended with {exit_code!r}")

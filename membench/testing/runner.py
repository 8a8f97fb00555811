"""In the process of one plugin file: read it, hand its records to pytest, and say what is found on a pipe."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import IO
from typing import Any
from typing import NoReturn

import pytest

from membench.execution.protocol import Pipe
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.loading import read_plugin
from membench.registry.registry import KINDS
from membench.registry.registry import Registry
from membench.registry.registry import build_registry
from membench.testing import pytest_plugin
from membench.testing.catalogue import CHECKS
from membench.testing.check import Outcome
from membench.testing.subject import Subject
from membench.text import one_line

SUITE = Path(__file__).with_name("contract.py")
Select = Callable[[str], bool]


@dataclass(frozen=True)
class CheckJob:
    """What all processes share."""

    base: Registry  #: what ships with membench
    others: tuple[PluginSource, ...]  #: where a composition's parts may be
    select: Select  #: of "regularizers/dropout/off-run"
    limit: float  #: seconds for one file


def serve(source: PluginSource, job: CheckJob, fd: int, output: int) -> NoReturn:
    """In the child: read the file, check what it registers, say all on `fd`. Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        for stream in (1, 2):
            os.dup2(output, stream)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _check_file(
            source, job, lambda **message: os.write(fd, json.dumps(message).encode() + b"\n")
        )
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _check_file(source: PluginSource, job: CheckJob, say: Callable[..., Any]) -> None:
    entries, problems = read_plugin(source)
    registry = _registry(source, entries, job)
    problems += [p for p in registry.problems if p.origin == source.origin]
    for problem in problems:
        say(problem=one_line(problem.message))
    mine = [
        e for kind in KINDS for e in getattr(registry, kind).values() if e.path == str(source.path)
    ]
    subjects = [Subject(entry, registry) for entry in mine]
    for s in subjects:
        e = s.entry
        say(
            plugin={
                "id": s.id,
                "kind": e.kind,
                "name": e.name,
                "hash": e.code_hash,
                "origin": e.origin,
                "ours": s.ours,
            }
        )
    checked = [
        s for s in subjects if s.entry.kind in CHECKS
    ]  # there are none of probes and studies yet
    if checked:
        run_pytest(checked, job.select, say)
    say(done=True)


def _tables(registry: Registry) -> tuple[dict[str, PluginEntry], ...]:
    return registry.regularizers, registry.architectures, registry.datasets, registry.signals


def _registry(source: PluginSource, entries: list[PluginEntry], job: CheckJob) -> Registry:
    """What ships, and what this file registers; other files only if a composition has parts that are in neither."""
    base = [
        e for table in _tables(job.base) for e in table.values() if e.plugin_source or e.members
    ]
    kept = [e for e in base if e.path != str(source.path)]
    known = {e.name for e in (*kept, *entries)}
    if any(part not in known for e in entries for part in e.parts):
        for other in job.others:
            if other.key != source.key:
                more, _ = read_plugin(other)
                kept += [e for e in more if e.name not in known]
    return build_registry([*kept, *entries], [])


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
    words = [
        str(SUITE),
        "-c",
        os.devnull,
        f"--rootdir={SUITE.parent}",
        "--noconftest",
        "--assert=plain",
    ]
    words += ["--import-mode=importlib", "--capture=no"]
    for name in (
        "cacheprovider",
        "terminal",
        "warnings",
        "unraisableexception",
        "threadexception",
        "faulthandler",
    ):
        words += ["-p", f"no:{name}"]
    code = pytest.main(words, plugins=[pytest_plugin, _Session(subjects, select, say)])
    if code not in (
        pytest.ExitCode.OK,
        pytest.ExitCode.TESTS_FAILED,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        say(problem=f"pytest ended with {code!r}")


@dataclass
class FileReport:
    """What was found in one plugin file."""

    source: PluginSource
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)  #: id -> what it registered
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(
        default_factory=list
    )  #: it cannot be read, or did not come to an end
    at: str = ""  #: the check that is running
    seconds: float = 0.0

    def take(self, message: dict[str, Any]) -> None:
        """A line from the process."""
        if "plugin" in message:
            self.plugins[message["plugin"]["id"]] = message["plugin"]
        elif "at" in message:
            self.at = message["at"]
        elif "outcome" in message:
            self.outcomes.append(Outcome(**message["outcome"]))
        elif "problem" in message:
            self.problems.append(message["problem"])
        elif "done" in message:
            self.at = "done"


def warm_up() -> None:
    """Import what every process needs, once, and let no garbage collector walk over it again."""
    import torch._dynamo

    from membench.engine.environment import configure_torch
    from membench.testing import gpu_checks

    configure_torch()
    assert torch._dynamo and gpu_checks
    gc.collect()
    gc.freeze()


def check_files(
    sources: Iterable[PluginSource], job: CheckJob, workers: int
) -> Iterator[FileReport]:
    """One report a file, in the files' order, as soon as it and all before it are there."""
    waiting, running, order, done = list(sources), {}, [], {}
    try:
        while waiting or running or order:
            while waiting and len(running) < workers:
                child = _CheckProcess(waiting.pop(0), job)
                running[child.pipe.fd] = child
                order.append(child)
            _wait(running.values())
            for fd, child in list(running.items()):
                if child.ended():
                    done[id(child)] = child.report
                    del running[fd]
            while order and id(order[0]) in done:
                yield done.pop(id(order.pop(0)))
    finally:
        for child in running.values():
            child.kill()


def _wait(children: Iterable[_CheckProcess]) -> None:
    """Until one says something or is over its time."""
    alive = list(children)
    if alive:
        seconds = max(0.0, min(child.deadline for child in alive) - time.monotonic())
        select.select([child.pipe.fd for child in alive], [], [], min(seconds, 1.0))


class _CheckProcess:
    """The process of one file."""

    def __init__(self, source: PluginSource, job: CheckJob) -> None:
        ours, theirs = os.pipe()
        self.report, self.limit, self.rest = FileReport(source), job.limit, b""
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is
        self.started = time.monotonic()
        self.deadline = self.started + job.limit
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ours)
            serve(source, job, theirs, self.output.fileno())
        with contextlib.suppress(OSError):  # the child has done it already, or is gone
            os.setpgid(self.pid, self.pid)
        os.close(theirs)
        self.pipe = Pipe(ours)

    def ended(self) -> bool:
        """Take in what it says; True when it is gone, and then the report is whole."""
        *lines, self.rest = (self.rest + self.pipe.read()).split(b"\n")
        for line in lines:
            with contextlib.suppress(
                ValueError, TypeError, KeyError
            ):  # the plugin can write there too
                self.report.take(json.loads(line))
        late = time.monotonic() > self.deadline
        if self.pipe.open and not late:
            return False
        status = self.kill()
        self.report.seconds = time.monotonic() - self.started
        if self.report.at != "done":
            self.report.problems.append(
                f"{self._how(status, late)} {self._where()}{self._last_words()}"
            )
        self.output.close()
        return True

    def _how(self, status: int, late: bool) -> str:
        if late:
            return f"did not end within {self.limit:g} s: ended"
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"left with exit status {os.waitstatus_to_exitcode(status)}"

    def _where(self) -> str:
        return f"in check {self.report.at}" if self.report.at else "while it was imported"

    def _last_words(self) -> str:
        self.output.seek(0)
        words = self.output.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"; it last said: {one_line(words[-1])[:200]}" if words else ""

    def kill(self) -> int:
        """End it with all that it started; its exit status."""
        late = self.pipe.open
        if late:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it left behind
            os.killpg(self.pid, signal.SIGKILL)
        self.pipe.close()
        return status

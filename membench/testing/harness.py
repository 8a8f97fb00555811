"""A process for each plugin file, forked when torch is there already: a hang or a crash costs that file alone."""

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
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import IO
from typing import Any

from membench.messages import Pipe
from membench.plugin_finding import Source
from membench.plugin_finding import one_line
from membench.testing.child import Job
from membench.testing.child import serve
from membench.testing.subject import Outcome


@dataclass
class Report:
    """What was found in one plugin file."""

    source: Source
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)  #: id -> what it registered
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  #: it cannot be read, or did not come to an end
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

    from membench.engine.environment import set_up
    from membench.testing import traces

    set_up()
    assert torch._dynamo and traces
    gc.collect()
    gc.freeze()


def check_files(sources: Iterable[Source], job: Job, workers: int) -> Iterator[Report]:
    """One report a file, in the files' order, as soon as it and all before it are there."""
    waiting, running, order, done = list(sources), {}, [], {}
    try:
        while waiting or running or order:
            while waiting and len(running) < workers:
                child = _Child(waiting.pop(0), job)
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


def _wait(children: Iterable[_Child]) -> None:
    """Until one says something or is over its time."""
    alive = list(children)
    if alive:
        seconds = max(0.0, min(child.deadline for child in alive) - time.monotonic())
        select.select([child.pipe.fd for child in alive], [], [], min(seconds, 1.0))


class _Child:
    """The process of one file."""

    def __init__(self, source: Source, job: Job) -> None:
        ours, theirs = os.pipe()
        self.report, self.limit, self.rest = Report(source), job.limit, b""
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
            with contextlib.suppress(ValueError, TypeError, KeyError):  # the plugin can write there too
                self.report.take(json.loads(line))
        late = time.monotonic() > self.deadline
        if self.pipe.open and not late:
            return False
        status = self.kill()
        self.report.seconds = time.monotonic() - self.started
        if self.report.at != "done":
            self.report.problems.append(f"{self._how(status, late)} {self._where()}{self._last_words()}")
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

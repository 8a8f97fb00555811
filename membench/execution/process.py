"""One worker process behind its guard: start it, hand it packs, hear it, end it with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from membench.execution.protocol import Inbox
from membench.execution.protocol import Pipe
from membench.execution.queue import ProgramKey
from membench.planning.packs import Pack

REAPER = Path(__file__).with_name("reaper.py")
#: One thread a worker, in every library that might start some, and no pool of compilers: workers fill the machine.
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "TORCHINDUCTOR_COMPILE_THREADS",
    )
}
#: glibc gives blocks of megabytes back to the system and fetches them again, at every operation of an eager step: a
#: third of the suite `smoke` was that (58 s, of which 40 s of system time, against 41 s and 4.5 s). Kept instead.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
_KEPT_OUTPUT = 8192  #: characters of the worker's output that are kept for the report of a failure


class Worker:
    """A running worker. It leads no group itself: its guard does, in a session that Ctrl-C does not reach."""

    def __init__(self, command: Sequence[str], start_limit: float) -> None:
        lifeline, self._lifeline = os.pipe()
        pulse, theirs = os.pipe()
        messages, mouth = os.pipe()
        guard = [
            sys.executable,
            "-I",
            "-S",
            str(REAPER),
            str(lifeline),
            str(theirs),
            *command,
            "--fd",
            str(mouth),
        ]
        try:
            self.guard = subprocess.Popen(
                guard,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lifeline, theirs, mouth),
                env={**KEPT_MEMORY, **os.environ, **ONE_THREAD},
            )
        finally:
            for fd in (lifeline, theirs, mouth):
                os.close(fd)
        self._stdin = Pipe(self.guard.stdin.fileno())
        self._outbox = b""
        self._inbox = Inbox()
        self._messages, self._pulse, self._output = (
            Pipe(messages),
            Pipe(pulse),
            Pipe(self.guard.stdout.fileno()),
        )
        self._ending = b""
        self._set_limit(start_limit)
        self.ready = False
        self.pack: Pack | None = None  #: what it works on
        self.compiled: set[ProgramKey] = set()  #: what it worked on
        self.versions: dict[str, Any] = {}  #: its environment, as it says
        self.output = ""  #: the last that it printed

    @property
    def alive(self) -> bool:
        """As far as was heard."""
        return self._pulse.open and self.guard.returncode is None

    @property
    def idle(self) -> bool:
        """It can be given a pack."""
        return self.ready and not self.pack and self.alive

    @property
    def ending(self) -> str:
        """How it ended."""
        return _describe_exit(self._ending)

    def descriptors(self) -> list[int]:
        """What becomes readable when there is news."""
        return [pipe.fd for pipe in (self._messages, self._pulse, self._output) if pipe.open]

    @property
    def sending(self) -> bool:
        """A part of a pack is still to be written: call `flush` soon."""
        return bool(self._outbox)

    def hand(self, pack: Pack, time_limit: float) -> None:
        """Give it a pack, and so many seconds for it."""
        self.pack, self.output = pack, ""
        self._set_limit(time_limit)
        self.compiled.add(pack.program)
        self._outbox += json.dumps(pack.to_json()).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write what fits into the pipe; never blocks, should the worker not read."""
        try:
            self._outbox = self._outbox[os.write(self._stdin.fd, self._outbox) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # its end is news of its own
            self._outbox = b""

    def hear(self) -> list[dict[str, Any]]:
        """What it said since last time."""
        self._ending += (
            self._pulse.read()
        )  # first: if this is the end, nothing comes after what is read below
        self.output = (self.output + self._output.read().decode(errors="replace"))[-_KEPT_OUTPUT:]
        messages = self._inbox.feed(self._messages.read())
        for message in messages:
            self.versions = message.get("versions", self.versions)
            if message["kind"] in ("ready", "stored"):
                self.ready = True
                self._set_limit(float("inf"))
        return messages

    def _set_limit(self, seconds: float) -> None:
        """So long it may take to get ready, or to end its pack."""
        self.limit, self.deadline = seconds, time.monotonic() + seconds

    def kill(self) -> None:
        """End it and its children, now. What it said before can still be heard."""
        if self.guard.returncode is not None:
            return
        os.close(self._lifeline)
        wait_readable([self._pulse.fd], 1.0)  # a healthy guard is gone in a millisecond
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # all gone; macOS says the second
            os.killpg(
                self.guard.pid, signal.SIGKILL
            )  # before it is waited for: till then the number is its own
        self.guard.wait()

    def retire(self) -> None:
        """Let it end by itself: no pack will come."""
        self.guard.stdin.close()

    def close(self) -> None:
        """Kill it if need be and close all pipes."""
        self.kill()
        for pipe in (self._messages, self._pulse):
            pipe.close()
        self.guard.stdin.close()
        self.guard.stdout.close()


def wait_readable(descriptors: Iterable[int], seconds: float) -> None:
    """Return when one of them can be read or is at its end, or when the time is over."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    poll.poll(1000 * min(max(0.0, seconds), 3600.0))


def _describe_exit(status: bytes) -> str:
    """How a worker ended, from what its guard said of it."""
    try:
        code = int(status)
    except ValueError:
        return "its guard ended"
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")

"""A child process that may crash, hang or leave processes behind, as its driver sees it.

`ChildProcess.spawn` runs a command (training workers), `ChildProcess.fork` a function
(`membench check`, whose children need torch already imported), and for
`ChildProcess.fork_elsewhere` another process forks (`forkserver.py`). All put the child into a
process group led by a reaper (`reaper.py`), which kills the group as soon as the child or the
driver is gone. `wait_for_news` waits for any of several children.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import NamedTuple
from typing import NoReturn
from typing import Protocol

from membench.execution import reaper
from membench.execution.memory import describe_excess
from membench.execution.protocol import Inbox
from membench.execution.protocol import Pipe

_OUTPUT_TAIL = 8192  #: characters of a child's output that are kept for the report of a failure
_KILL_GRACE = 1.0  #: seconds for a reaper to end its group; a healthy one takes a millisecond
_LONGEST_WAIT = 3600.0  #: seconds; `poll` takes no infinite number

#: The driver's ends of the pipes of all its children. A forked child inherits them and closes
#: them: it must not keep another child alive after the driver's death.
_driver_ends: set[int] = set()


class Watched(Protocol):
    """What `wait_for_news` waits for."""

    deadline: float  #: by `time.monotonic`, when it is overdue

    def readable_fds(self) -> list[int]:
        """Return the descriptors that become readable when there is something to receive."""

    def writable_fds(self) -> list[int]:
        """Return the descriptors that become writable when there is something to flush."""


class ChildProcess:
    """One child in its own process group, and the driver's ends of the pipes to it.

    Make it with `spawn` or `fork`, and end it with `close`. Nothing here blocks, except `kill` for
    the moment that it takes.
    """

    def __init__(
        self,
        group: int,
        wait: Callable[[], object],
        pipes: _Pipes,
        message_kinds: Collection[str],
        time_limit: float,
    ) -> None:
        """Take over a child that has been started.

        Args:
            group: process id of the reaper, which is that of the process group.
            wait: blocks until the reaper is gone, and frees its process id.
            pipes: all pipes; the child's ends are closed already.
            message_kinds: messages of other kinds are dropped.
            time_limit: seconds until the child is overdue.
        """
        self.output = ""  #: the end of what it printed
        self._group = group
        self._wait = wait
        self._gone = False
        self._driver_alive_fd = pipes.driver_alive.write
        self._exit_pipe = Pipe(pipes.exit.read)
        self._message_pipe = Pipe(pipes.messages.read)
        self._output_pipe = Pipe(pipes.output.read)
        self._stdin = Pipe(pipes.stdin.write)
        self._unsent = b""
        self._exit_line = b""
        self._inbox = Inbox(message_kinds)
        self._exceeded: float | None = None
        self.set_time_limit(time_limit)

    @classmethod
    def spawn(
        cls,
        command: Callable[[int], Sequence[str]],
        *,
        environ: Mapping[str, str],
        message_kinds: Collection[str],
        time_limit: float,
        pass_fds: Iterable[int] = (),
    ) -> ChildProcess:
        """Start a command, in a session that Ctrl-C does not reach.

        Args:
            command: returns the command for the file descriptor that it is to write messages to.
            environ: its environment.
            message_kinds: messages of other kinds are dropped.
            time_limit: seconds until it is overdue; see `set_time_limit`.
            pass_fds: further descriptors that it inherits.
        """
        pipes = _Pipes.open()
        inherited = (pipes.driver_alive.read, pipes.exit.write, pipes.messages.write)
        reaper_command = [sys.executable, "-I", "-S", reaper.__file__]
        reaper_command += [str(pipes.driver_alive.read), str(pipes.exit.write)]
        reaper_command += command(pipes.messages.write)
        try:
            process = subprocess.Popen(
                reaper_command,
                stdin=pipes.stdin.read,
                stdout=pipes.output.write,
                stderr=pipes.output.write,
                start_new_session=True,
                pass_fds=(*inherited, *pass_fds),
                env=environ,
            )
        except BaseException:
            pipes.close_driver_ends()
            raise
        finally:
            pipes.close_child_ends()
        return cls(process.pid, process.wait, pipes, message_kinds, time_limit)

    @classmethod
    def fork(
        cls,
        function: Callable[[int], None],
        *,
        message_kinds: Collection[str],
        time_limit: float,
    ) -> ChildProcess:
        """Run a function in a copy of this process; its modules are imported already.

        Args:
            function: takes the file descriptor to write messages to. The child's exit status is 0
                when it returns and 1, with a traceback in the output, when it raises.
            message_kinds: messages of other kinds are dropped.
            time_limit: seconds until the child is overdue; see `set_time_limit`.
        """
        pipes = _Pipes.open()
        sys.stdout.flush()  # else the child would print it once more
        sys.stderr.flush()
        group = os.fork()
        if group == 0:
            supervise_fork(function, pipes.child_ends)
        with contextlib.suppress(OSError):  # the child has done it already, or is gone
            os.setpgid(group, group)
        pipes.close_child_ends()
        return cls(group, partial(os.waitpid, group, 0), pipes, message_kinds, time_limit)

    @classmethod
    def fork_elsewhere(
        cls,
        fork: Callable[[ChildEnds], int | None],
        wait: Callable[[int], object],
        *,
        message_kinds: Collection[str],
        time_limit: float,
    ) -> ChildProcess | None:
        """Let another process fork the child and its reaper.

        Args:
            fork: hands the child's ends of the pipes over and returns the reaper's process id, or
                None if that failed.
            wait: frees that process id, once the reaper is gone.
            message_kinds: messages of other kinds are dropped.
            time_limit: seconds until the child is overdue; see `set_time_limit`.

        Returns:
            The child, or None if there is none.
        """
        pipes = _Pipes.open()
        group = None
        try:
            group = fork(pipes.child_ends)
        finally:
            pipes.close_child_ends()
            if group is None:
                pipes.close_driver_ends()
        if group is None:
            return None
        return cls(group, partial(wait, group), pipes, message_kinds, time_limit)

    def set_time_limit(self, seconds: float) -> None:
        """Make the child overdue so many seconds from now; infinity for never."""
        self._time_limit = seconds
        self.deadline = time.monotonic() + seconds

    @property
    def alive(self) -> bool:
        """True until its end has been seen by `receive` or `kill`."""
        return self._exit_pipe.open and not self._gone

    @property
    def timed_out(self) -> bool:
        """True if `kill_if_overdue` killed it."""
        return self._exceeded is not None

    @property
    def host_lost(self) -> bool:
        """False: its machine is this one."""
        return False

    @property
    def exit_reason(self) -> str:
        """Its end in words, once it is not alive: `exit status 3`, `no result within 60 s`."""
        if self._exceeded is not None:
            return f"no result within {self._exceeded:g} s"
        return _describe_exit(self._exit_line)

    @property
    def sending(self) -> bool:
        """True while a part of what was sent is not written yet."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Write to its standard input, as much as fits into the pipe; the rest is for `flush`."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Write more of what was sent, as much as fits."""
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[os.write(self._stdin.fd, self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # the exit pipe will say why
            self._unsent = b""

    def receive(self) -> list[dict[str, Any]]:
        """Return its new messages; note what it printed and whether it ended."""
        # The exit pipe comes first: if it is at its end, nothing follows what is read below. What
        # it printed comes last, so that all that came before a message is there with it.
        self._exit_line += self._exit_pipe.read()
        messages = self._inbox.feed(self._message_pipe.read())
        output = self._output_pipe.read().decode(errors="replace")
        self.output = (self.output + output)[-_OUTPUT_TAIL:]
        return messages

    def kill_if_overdue(self) -> None:
        """Kill it if its time limit is exceeded. Its last messages can still be received."""
        if self.alive and time.monotonic() > self.deadline:
            self._exceeded = self._time_limit
            self.kill()

    def kill(self) -> None:
        """Kill it with all processes of its group. Its last messages can still be received."""
        if self._gone:
            return
        _close(self._driver_alive_fd)
        _wait_until_ready([self._exit_pipe.fd], [], _KILL_GRACE)
        # The group's id is ours until its leader is waited for. All gone: macOS says EPERM.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, signal.SIGKILL)
        self._wait()
        self._gone = True

    def close_stdin(self) -> None:
        """Tell it that nothing more will be sent; a worker then ends."""
        _close_pipe(self._stdin)

    def close(self) -> None:
        """Kill it if it lives, and close all pipes."""
        self.kill()
        for pipe in (self._exit_pipe, self._message_pipe, self._output_pipe, self._stdin):
            _close_pipe(pipe)

    def readable_fds(self) -> list[int]:
        """Return the descriptors that become readable when there is something to receive."""
        pipes = (self._message_pipe, self._exit_pipe, self._output_pipe)
        return [pipe.fd for pipe in pipes if pipe.open]

    def writable_fds(self) -> list[int]:
        """Return the descriptors that become writable when there is something to flush."""
        return [self._stdin.fd] if self._unsent else []


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_for_news(
    children: Iterable[Watched],
    *,
    wakeup_fds: Iterable[int] = (),
    timeout: float = _LONGEST_WAIT,
) -> None:
    """Wait until a child has something to receive or to flush, or is overdue.

    Args:
        children: with none, only the other two conditions end the wait.
        wakeup_fds: further descriptors; the wait ends when one is readable.
        timeout: seconds after which the wait ends in any case.
    """
    readable = list(wakeup_fds)
    writable: list[int] = []
    now = time.monotonic()
    for child in children:
        readable += child.readable_fds()
        writable += child.writable_fds()
        timeout = min(timeout, child.deadline - now)
    _wait_until_ready(readable, writable, timeout)


def _wait_until_ready(readable: Iterable[int], writable: Iterable[int], seconds: float) -> None:
    """Return when a descriptor is ready or at its end, or when the time is over."""
    poll = select.poll()
    for fd in readable:
        poll.register(fd, select.POLLIN)
    for fd in writable:
        poll.register(fd, select.POLLOUT)
    poll.poll(1000 * min(max(0.0, seconds), _LONGEST_WAIT))


def _describe_exit(exit_line: bytes) -> str:
    """Describe how a child ended, from what its reaper wrote about it."""
    first, *_ = exit_line.splitlines() or [b""]
    if first.startswith(b"memory "):
        _, held, limit = first.split()
        return describe_excess(int(held), int(limit))
    try:
        code = int(first)
    except ValueError:
        return "its supervising process ended first"
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "killed by SIGKILL, perhaps for want of memory"
    return f"killed by {name}"


class ChildEnds(NamedTuple):
    """The child's and its reaper's ends of the pipes, as file descriptors."""

    driver_alive: int
    exit: int
    messages: int
    output: int
    stdin: int


@dataclass(frozen=True)
class _PipeEnds:
    read: int
    write: int

    @classmethod
    def open(cls) -> _PipeEnds:
        read, write = os.pipe()
        return cls(read, write)


@dataclass(frozen=True)
class _Pipes:
    """The pipes between the driver and one child."""

    driver_alive: _PipeEnds  #: driver -> reaper: no data; its end means that the driver is gone
    exit: _PipeEnds  #: reaper -> driver: how the child ended
    messages: _PipeEnds  #: child -> driver
    output: _PipeEnds  #: child -> driver: standard output and error
    stdin: _PipeEnds  #: driver -> child

    @classmethod
    def open(cls) -> _Pipes:
        pipes = cls(
            driver_alive=_PipeEnds.open(),
            exit=_PipeEnds.open(),
            messages=_PipeEnds.open(),
            output=_PipeEnds.open(),
            stdin=_PipeEnds.open(),
        )
        _driver_ends.update(pipes.driver_ends)
        return pipes

    @property
    def driver_ends(self) -> list[int]:
        return [
            self.driver_alive.write,
            self.exit.read,
            self.messages.read,
            self.output.read,
            self.stdin.write,
        ]

    @property
    def child_ends(self) -> ChildEnds:
        return ChildEnds(
            driver_alive=self.driver_alive.read,
            exit=self.exit.write,
            messages=self.messages.write,
            output=self.output.write,
            stdin=self.stdin.read,
        )

    def close_driver_ends(self) -> None:
        for fd in self.driver_ends:
            _close(fd)

    def close_child_ends(self) -> None:
        for fd in self.child_ends:
            os.close(fd)


def _close(driver_end: int) -> None:
    _driver_ends.discard(driver_end)
    os.close(driver_end)


def _close_pipe(pipe: Pipe) -> None:
    _driver_ends.discard(pipe.fd)
    pipe.close()


def supervise_fork(function: Callable[[int], None], ends: ChildEnds) -> NoReturn:
    """Become, in a process that was forked for it, the reaper of a second fork.

    Args:
        function: runs in the second fork; takes the file descriptor to write messages to.
        ends: of the pipes, the child's and the reaper's.
    """
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for fd in _driver_ends:
            os.close(fd)
        _driver_ends.clear()
        os.dup2(ends.stdin, 0)
        os.dup2(ends.output, 1)
        os.dup2(ends.output, 2)
        reaper.supervise(ends.driver_alive, ends.exit, partial(_fork_function, function, ends))
    finally:
        os._exit(1)


def _fork_function(function: Callable[[int], None], ends: ChildEnds, held: Sequence[int]) -> int:
    """Run the function in a fork and return, in the reaper, its process id.

    Args:
        function: takes the file descriptor to write messages to.
        ends: of the pipes.
        held: descriptors of the reaper that the fork must not hold.
    """
    child = os.fork()
    if child != 0:
        return child
    exit_status = 1
    try:
        for fd in held:
            os.close(fd)
        function(ends.messages)
        exit_status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(exit_status)

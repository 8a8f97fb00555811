"""One import of torch for all workers: a process that has imported it, and forks.

A worker spends 2 to 4 s on importing torch and Inductor. The driver starts a `ForkServer` as soon
as it knows that there is something to train, so that this happens once and while it plans. A fork
of such a process is safe as long as it has one thread: the server looks before it says that it is
ready, and runs no operation of torch, which would start others. Where it is not ready to fork, a
worker is spawned (`membench.execution.pool`).

The server runs in a process group of its own, whose reaper ends it with the driver; so does each
worker that it forks. A worker does not need it any more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import socket
import sys
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from typing import NoReturn

from membench.execution.process import ChildEnds
from membench.execution.process import ChildProcess
from membench.execution.process import supervise_fork
from membench.execution.process import wait_for_news
from membench.execution.protocol import send

#: `ready` to fork; `unsafe`, with a `reason`: it has more than one thread; `forked`, with a `group`
SERVER_MESSAGES = ("ready", "unsafe", "forked")
LOAD_SECONDS = 180.0  #: to import the modules, on a busy machine
_FORK_SECONDS = 10.0  #: to answer a request; it takes hundredths of a second
_MAX_REQUEST = 1 << 20  #: bytes


def is_supported() -> bool:
    """Tell whether workers can be forked here: on Linux, where threads can be counted."""
    return sys.platform == "linux"


class ForkServer:
    """The server, as the driver sees it. It does nothing before `start`; end it with `close`."""

    def __init__(self) -> None:
        """Make a server that is not started."""
        self.environ: Mapping[str, str] = {}  #: of the workers that are forked next
        self._process: ChildProcess | None = None
        self._requests: socket.socket | None = None
        self._ready = False

    def start(
        self, modules: Sequence[str], environ: Mapping[str, str], preparation: str = ""
    ) -> None:
        """Start it, if it has not been and can be.

        Args:
            modules: what it imports.
            environ: its environment and the workers'; of a server that has been started, that of
                further workers.
            preparation: `module:function` of theirs to call in a fork of its own, beside the
                workers: what the first of them would do, so that it is done earlier.
        """
        self.environ = environ
        if self._process is not None or not is_supported():
            return
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "membench.execution.forkserver", preparation]
        with theirs:
            self._process = ChildProcess.spawn(
                lambda message_fd: [*command, str(message_fd), str(theirs.fileno()), *modules],
                environ=environ,
                message_kinds=SERVER_MESSAGES,
                time_limit=LOAD_SECONDS,
                pass_fds=[theirs.fileno()],
            )

    @property
    def process(self) -> ChildProcess | None:
        """The process while it is loading or ready; None when no worker will come from it."""
        return self._process

    def is_loading(self) -> bool:
        """Read what it has said; tell whether it may be ready later."""
        if self._process is None:
            return False
        for message in self._process.receive():
            self._take(message)
        self._process.kill_if_overdue()
        if not self._process.alive:
            self.close()
        return self._process is not None and not self._ready

    @property
    def is_ready(self) -> bool:
        """True once it can fork."""
        return self._ready

    def fork(
        self,
        command: Sequence[str],
        *,
        message_kinds: Collection[str],
        time_limit: float,
    ) -> ChildProcess | None:
        """Fork a worker, in this process's working folder and with `environ`.

        Args:
            command: what would start it: `python -m MODULE ARGUMENTS...`. The module has a function
                `run(arguments)` that does not return; `--fd N` is added to the arguments.
            message_kinds: messages of other kinds are dropped.
            time_limit: seconds until it is overdue.

        Returns:
            The worker, or None if the server has died meanwhile or does not answer; it is closed
            then.
        """
        return ChildProcess.fork_elsewhere(
            partial(self._request, command),
            self._reap,
            message_kinds=message_kinds,
            time_limit=time_limit,
        )

    def close(self) -> None:
        """End it; workers go on."""
        self._ready = False
        if self._process is not None:
            self._process.close()
            self._process = None
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    def _take(self, message: dict[str, Any]) -> int | None:
        """Take note of a message; return the process group if it is about a fork."""
        if message["kind"] == "ready":
            self._ready = True
            if self._process is not None:
                self._process.set_time_limit(float("inf"))
        elif message["kind"] == "forked":
            return int(message["group"])
        return None

    def _request(self, command: Sequence[str], ends: ChildEnds) -> int | None:
        """Ask for a worker that gets these ends of its pipes; return its process group."""
        if self._process is None or self._requests is None:
            return None
        _, _, module, *arguments = command
        worker = {"module": module, "arguments": arguments, "folder": os.getcwd()}
        request = json.dumps({**worker, "environ": dict(self.environ)}).encode()
        with contextlib.suppress(OSError):  # it is gone
            socket.send_fds(self._requests, [request], ends)
            self._process.set_time_limit(_FORK_SECONDS)
            while self._process.alive:
                wait_for_news([self._process])
                for message in self._process.receive():
                    group = self._take(message)
                    if group is not None:
                        self._process.set_time_limit(float("inf"))
                        return group
                self._process.kill_if_overdue()
        self.close()
        return None

    def _reap(self, group: int) -> None:
        """Let the server free the id of a process group that has ended."""
        if self._requests is not None:
            with contextlib.suppress(OSError):  # then the system has done it
                self._requests.send(json.dumps({"reap": group}).encode())


def main(preparation: str, message_fd: int, request_fd: int, modules: Sequence[str]) -> int:
    """Import the modules, then fork a worker at each request until the driver hangs up."""
    os.set_inheritable(message_fd, False)
    requests = socket.socket(fileno=request_fd)
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a worker would copy every page that it looks at
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        send(message_fd, "unsafe", reason=f"{len(threads)} threads")
        return 1
    send(message_fd, "ready")
    if preparation and os.fork() == 0:
        requests.close()
        os.close(message_fd)
        _prepare(preparation)
    while True:
        data, fds, _, _ = socket.recv_fds(
            requests, _MAX_REQUEST, len(ChildEnds._fields), socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            return 0
        request = json.loads(data)
        if "reap" in request:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(request["reap"], 0)
            continue
        ends = ChildEnds(*fds)
        group = os.fork()
        if group == 0:
            requests.close()
            os.close(message_fd)
            supervise_fork(partial(_run_worker, request), ends)
        with contextlib.suppress(OSError):  # it has done it already, or is gone
            os.setpgid(group, group)
        for fd in ends:
            os.close(fd)
        send(message_fd, "forked", group=group)


def _prepare(preparation: str) -> NoReturn:
    """Call `module:function`. What it cannot do is left to the workers, who will say why."""
    module, _, function = preparation.partition(":")
    try:
        getattr(importlib.import_module(module), function)()
    finally:
        os._exit(0)


def _run_worker(request: Mapping[str, Any], message_fd: int) -> None:
    """Be the worker, in a fork of this process."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    with contextlib.suppress(OSError):  # what `top` shows; its command line is the server's
        Path("/proc/self/comm").write_text("membench-worker")
    worker = importlib.import_module(request["module"])
    worker.run([*request["arguments"], "--fd", str(message_fd)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))

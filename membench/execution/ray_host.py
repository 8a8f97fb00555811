"""The far end of a Ray worker: what runs on a node of the cluster, in an actor.

A `Host` supervises one training worker as the pool does a local one: a child behind its reaper. The
child writes its records to a scratch folder on the node's own disk; what a pack has added to them
travels with the message that it is `stored`. No file system is shared, and nothing is imported from
Ray here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import membench
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import TRAINING_MESSAGES
from membench.execution.worker import worker_command
from membench.execution.worker import worker_environ
from membench.registry.discovery import is_shipped
from membench.registry.discovery import shipped_folder
from membench.registry.luggage import Luggage
from membench.store.store import Store
from membench.text import short

SCRATCH = "membench-ray-"  #: how the names of scratch folders begin
#: Seconds without a call after which a host ends: its driver, or the way to it, is gone. Ray does
#: not see to that where a node's own daemon has died.
LEASE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a host is to start."""

    code: str  #: `code_digest` of the driver
    luggage: Luggage
    device: str  #: "cpu" or "cuda"
    data_folder: str | None  #: the option `--data-dir`; None = the node's default
    gpu_workers: int  #: how many workers a node has for its GPUs; 0: they train on the CPU
    trainer: str | None = None  #: as of `worker_command`


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a host has to tell."""

    node: str  #: the node's host name
    messages: list[dict[str, Any]] = field(default_factory=list)
    output: str = ""  #: the end of what the worker printed since it was given its pack
    exit_reason: str | None = None  #: once the worker has ended; it is the last report then


class Host:
    """One worker on this node. Nothing of it is left once its last report has been made."""

    def __init__(self, task: Task) -> None:
        self._called = threading.Event()
        self._finished = False
        self._folder: Path | None = None
        self._worker: ChildProcess | None = None
        self._sent: dict[Path, int] = {}  #: shard -> bytes that have travelled
        self._fault: MembenchError | None = None
        try:
            self._start(task)
        except MembenchError as error:
            self._fault = error
        except OSError as error:
            reason = f"no scratch folder in {tempfile.gettempdir()}: {error}"
            self._fault = MembenchError(reason, ExitCode.DISK)

    def exchange(self, packs: bytes, end: bool, seconds: float) -> Report:
        """Hand packs to the worker, then wait for news of it.

        Args:
            packs: lines of JSON.
            end: whether no pack will follow: the worker ends then.
            seconds: how long to wait at most.
        """
        self._called.set()
        if self._worker is None:
            return self._report_fault()
        if packs:
            self._worker.output = ""
            self._worker.send(packs)
        if end:
            self._worker.close_stdin()
        messages = self._wait(self._worker, time.monotonic() + seconds)
        if not self._worker.alive:
            return self._finish(self._worker, messages)
        return Report(node=platform.node(), messages=messages, output=self._worker.output)

    def kill(self) -> Report:
        """Kill the worker with all that it has started, and return its last report."""
        self._called.set()
        if self._worker is None:
            return self._report_fault()
        self._worker.kill()
        return self._finish(self._worker, self._receive(self._worker))

    def _start(self, task: Task) -> None:
        if code_digest() != task.code:
            raise MembenchError(
                "its membench is not the one that runs the command: install the same one there"
            )
        sweep()
        self._folder = _make_scratch()
        os.chdir(task.luggage.unpack(self._folder))
        self._store = Store(self._folder / "records")
        command = worker_command(
            self._store.folder,
            device=task.device,
            plugins=task.luggage.requested(self._folder),
            data=Path(task.data_folder) if task.data_folder else None,
            trainer=task.trainer,
        )
        self._worker = ChildProcess.spawn(
            lambda message_fd: [*command, "--fd", str(message_fd)],
            environ=worker_environ(task.gpu_workers),
            message_kinds=TRAINING_MESSAGES,
            time_limit=float("inf"),  # the driver has the clock
        )
        threading.Thread(target=self._keep_lease, daemon=True).start()

    def _keep_lease(self) -> None:
        """End this process, and so the worker, once the driver has not called for too long."""
        while self._called.wait(LEASE_SECONDS):
            if self._finished:
                return
            self._called.clear()
            time.sleep(1.0)
        self._remove_folder()
        os._exit(1)

    def _wait(self, worker: ChildProcess, end: float) -> list[dict[str, Any]]:
        """Return the next messages, none if the time is over before.

        Progress alone is told when the time is over, and only the last of it: each call costs the
        driver, which is one for all workers, a millisecond.
        """
        messages: list[dict[str, Any]] = []
        while True:
            worker.flush()
            for message in self._receive(worker):
                if messages and messages[-1]["kind"] == message["kind"] == "progress":
                    messages.pop()
                messages.append(message)
            has_news = any(message["kind"] != "progress" for message in messages)
            seconds = end - time.monotonic()
            if has_news or not worker.alive or seconds <= 0:
                return messages
            wait_for_news([worker], timeout=seconds)

    def _receive(self, worker: ChildProcess) -> list[dict[str, Any]]:
        messages = worker.receive()
        for message in messages:
            if message["kind"] == "stored":
                message["lines"] = self._new_lines()
            elif message["kind"] == "broken":
                message["reason"] = f"node {platform.node()}: {message['reason']}"
        return messages

    def _new_lines(self) -> bytes:
        """Return what the shards have gained since the last call."""
        lines = b""
        for path in sorted(self._store.shards.glob("*.jsonl")):
            with open(path, "rb") as shard:
                shard.seek(self._sent.get(path, 0))
                gained = shard.read()
            self._sent[path] = self._sent.get(path, 0) + len(gained)
            lines += gained
        return lines

    def _finish(self, worker: ChildProcess, messages: list[dict[str, Any]]) -> Report:
        worker.close()
        self._remove_folder()
        self._finished = True
        self._called.set()
        return Report(
            node=platform.node(),
            messages=messages,
            output=worker.output,
            exit_reason=worker.exit_reason,
        )

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _report_fault(self) -> Report:
        assert self._fault is not None
        reason, code = f"node {platform.node()}: {self._fault}", int(self._fault.code)
        self._remove_folder()
        broken = {"kind": "broken", "reason": reason, "code": code}
        return Report(node=platform.node(), messages=[broken], exit_reason=short(reason))


def code_digest() -> str:
    """Hash the code of membench and of its plugins on this machine, SHA-256 in hex."""
    hashed = hashlib.sha256()
    plugins = shipped_folder()
    for root in (Path(membench.__file__).parent, plugins):
        for path in sorted(root.rglob("*.py")):
            if root != plugins and path.is_relative_to(plugins):  # installed inside the package
                continue
            if root == plugins and not is_shipped(str(path)):  # a user's, which travels
                continue
            hashed.update(path.relative_to(root).as_posix().encode() + b"\0")
            hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()


def call(function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """Call a function on this node. Returns the code's digest too, or "" if the call failed.

    An error of membench is returned in place of the result, so that it comes as it is.
    """
    try:
        return code_digest(), function(*arguments)
    except MembenchError as error:
        return "", error


def sweep() -> None:
    """Remove the scratch folders of hosts on this machine that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError), open(folder / "lock", "rb") as lock:  # it lives, or is foreign
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _make_scratch() -> Path:
    """Make a folder that this process holds locked for as long as it lives."""
    folder = Path(tempfile.mkdtemp(prefix="new-" + SCRATCH))
    fd = os.open(folder / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    scratch = folder.with_name(folder.name.removeprefix("new-"))
    return folder.rename(scratch)  # from here on a sweep may look at it

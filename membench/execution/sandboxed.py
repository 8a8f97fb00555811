"""Workers of which those that train a stranger's packs do so in a sandbox (`sandbox.py`).

A `SandboxedWorker` is like any other until the pool gives it a pack with files that do not ship:
then another process, inside, takes its place, and keeps to these files, as all workers do. That
process cannot write the store. It sends its records, and `CheckedPack` takes nothing it says on
trust: what is wrong costs the pack.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from membench.execution.checked_pack import CheckedPack
from membench.execution.checked_pack import Message
from membench.execution.local import LocalWorkers
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import SENDING_MESSAGES
from membench.execution.sandbox import Sandbox
from membench.planning.packs import Pack
from membench.records import Record
from membench.registry.discovery import PluginSource
from membench.registry.discovery import entry_points
from membench.registry.discovery import find_sources
from membench.registry.discovery import shipped_folder
from membench.store.shards import Writer
from membench.store.store import Store

_END_SECONDS = 2.0  #: for a worker to end whose place is taken
_SIGNALLED = 128  #: bubblewrap ends with this and the number of the signal that its command died of

#: (compiled, precision) -> the environments that workers may write into records
Environments = Callable[[bool, str], Sequence[Mapping[str, Any]]]


@dataclass(kw_only=True)
class SandboxedWorkers:
    """Starts workers as `LocalWorkers` does, and sandboxes for strangers' packs."""

    local: LocalWorkers
    sandbox: Sandbox
    #: plugins that do not ship, as `-p` names them -> the command of a worker that sends records
    command: Callable[[Sequence[str]], Sequence[str]]
    requested: Sequence[str]  #: what `-p` names in this run
    environments: Environments
    store: Store  #: where records come
    _writer: Writer | None = None

    @property
    def idle_seconds(self) -> float:
        """After how many seconds a worker without a pack is let go."""
        return self.local.idle_seconds

    def loading(self) -> list[ChildProcess]:
        """Return what to wait for before the first worker is started."""
        return self.local.loading()

    def start(self, slot: int, time_limit: float) -> SandboxedWorker:
        """Start a worker, outside as yet."""

        def start_inside(files: Collection[str], seconds: float) -> ChildProcess:
            return self._start_inside(slot, files, seconds)

        plain = self.local.start(slot, time_limit)
        return SandboxedWorker(plain, start_inside, self.environments, self._append)

    def close(self) -> None:
        """Release the shard of what was sent."""
        self.local.close()
        if self._writer is not None:
            self._writer.close()

    def _start_inside(self, slot: int, files: Collection[str], seconds: float) -> ChildProcess:
        """Start a worker that sees the files of some plugins, in a sandbox.

        Args:
            slot: its place in the pool.
            files: that do not ship.
            seconds: that it may take to be ready.
        """
        sources = sources_of(files, self.requested)
        command = self.command(_names_of(sources))
        return ChildProcess.spawn(
            lambda fd: self.sandbox.command([*command, "--fd", str(fd)], sources, files),
            environ=self.sandbox.environ(self.local.environ_of(slot), sources),
            message_kinds=SENDING_MESSAGES,
            time_limit=seconds,
        )

    def _append(self, records: Sequence[Record]) -> None:
        if self._writer is None:
            self._writer = self.store.writer()
        self._writer.append(records)


def sources_of(files: Collection[str], requested: Sequence[str]) -> list[PluginSource]:
    """Find the plugins that some files define, as a run finds them.

    Args:
        files: of plugins, and those that they import.
        requested: what `-p` names.
    """
    found = []
    for source in find_sources(requested, Path.cwd(), shipped_folder()):
        if isinstance(source, PluginSource) and str(source.path) in files:
            found.append(source)
    return found


def _names_of(sources: Sequence[PluginSource]) -> list[str]:
    """Name plugins as `-p` does; entry points are found without."""
    offered = [found.key for found in entry_points("membench") if isinstance(found, PluginSource)]
    named = [source for source in sources if source.key not in offered]
    return [source.module or str(source.path) for source in named]


class SandboxedWorker:
    """One worker, as the pool sees it.

    Args:
        plain: the process outside.
        start_inside: starts another one in a sandbox; takes the files that it sees, and the seconds
            that it may take to be ready.
        environments: that records may be of.
        append: makes the records of a pack durable.
    """

    def __init__(
        self,
        plain: ChildProcess,
        start_inside: Callable[[Collection[str], float], ChildProcess],
        environments: Environments,
        append: Callable[[Sequence[Record]], None],
    ) -> None:
        self._process = plain
        self._start_inside = start_inside
        self._environments = environments
        self._append = append
        self._is_inside = False
        self._time_limit = plain.deadline - time.monotonic()
        self._environment: Any = None  #: of the process outside, which that inside must have too
        self._unsent = b""  #: a pack, until the process inside is ready
        self._pack: CheckedPack | None = None  #: that the process inside trains

    @property
    def output(self) -> str:
        """The end of what it printed since it was given its pack."""
        return self._process.output

    @output.setter
    def output(self, text: str) -> None:
        self._process.output = text

    @property
    def deadline(self) -> float:
        """By `time.monotonic`, when it is overdue."""
        return self._process.deadline

    @deadline.setter
    def deadline(self, moment: float) -> None:
        self._process.deadline = moment

    @property
    def alive(self) -> bool:
        """True until its end has been seen by `receive` or `kill`."""
        return self._process.alive

    @property
    def timed_out(self) -> bool:
        """True if `kill_if_overdue` killed it."""
        return self._process.timed_out

    @property
    def host_lost(self) -> bool:
        """False: its machine is this one."""
        return False

    @property
    def exit_reason(self) -> str:
        """Its end in words, once it is not alive."""
        reason = self._process.exit_reason
        status = re.fullmatch(r"exit status (\d+)", reason)
        if status is not None and self._is_inside:
            with suppress(ValueError):
                return f"killed by {signal.Signals(int(status[1]) - _SIGNALLED).name}"
        return reason

    def set_time_limit(self, seconds: float) -> None:
        """Make it overdue so many seconds from now; infinity for never."""
        self._time_limit = seconds
        self._process.set_time_limit(seconds)

    def send(self, data: bytes) -> None:
        """Give it a pack; if that is a stranger's, move into a sandbox before."""
        pack = Pack.from_json(json.loads(data))
        if not pack.foreign_files:
            self._process.send(data)
            return
        self._pack = CheckedPack(pack, self._environments(pack.compiled, pack.precision))
        if self._is_inside:
            self._process.send(data)
            return
        _let_end(self._process)
        self._process = self._start_inside(pack.foreign_files, self._time_limit)
        self._is_inside, self._unsent = True, data

    def flush(self) -> None:
        """Hand over more of what was sent."""
        self._process.flush()

    def receive(self) -> list[Message]:
        """Return its new messages, the records of packs that are stored being durable."""
        messages = self._process.receive()
        if self._is_inside:
            return [message for each in messages for message in self._take(each)]
        for message in messages:
            self._environment = message.get("environment", self._environment)
        return messages

    def _take(self, message: Message) -> Iterator[Message]:
        """Yield what is passed on of a message from inside; what it says of no pack is dropped."""
        if self._pack is None:
            return
        if message["kind"] == "ready":
            if not self._unsent:
                return
            if message.get("environment") == self._environment:
                self._process.set_time_limit(self._time_limit)
                self._process.send(self._unsent)
                self._unsent = b""
                return
            message = {"kind": "raised", "reason": "the sandbox has another environment"}
        pack = self._pack
        for checked in pack.take(message):
            if checked["kind"] == "stored":
                self._append(pack.records)
            if checked["kind"] in ("stored", "raised"):
                self._pack = None
            yield checked

    def kill_if_overdue(self) -> None:
        """Kill it if its time limit is exceeded. Its last messages can still be received."""
        self._process.kill_if_overdue()

    def kill(self) -> None:
        """Kill it, and whatever it has started. Its last messages can still be received."""
        self._process.kill()

    def close_stdin(self) -> None:
        """Tell it that no pack will follow; it then ends."""
        self._process.close_stdin()

    def close(self) -> None:
        """Kill it if it lives, and release what it holds."""
        self._process.close()

    def readable_fds(self) -> list[int]:
        """Return the descriptors that become readable when there is something to receive."""
        return self._process.readable_fds()

    def writable_fds(self) -> list[int]:
        """Return the descriptors that become writable when there is something to flush."""
        return self._process.writable_fds()


def _let_end(process: ChildProcess) -> None:
    """Let an idle worker end, so that it removes its empty shard."""
    process.close_stdin()
    end = time.monotonic() + _END_SECONDS
    while process.alive and time.monotonic() < end:
        wait_for_news([process], timeout=end - time.monotonic())
        process.receive()
    process.close()

"""A worker factory without processes: what each worker says is written down by the test."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from membench.planning.packs import Pack

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class End:
    """A worker's end, among what it says."""

    reason: str = "exit status 0"
    host_lost: bool = False


#: what a worker says when it is given a pack
Script = Callable[["StubWorker", Pack], Sequence[Message | End]]


def stored(worker: StubWorker, pack: Pack) -> list[Message]:
    """Say that the pack has ended well."""
    return [{"kind": "started"}, {"kind": "stored", "counts": {"ok": len(pack.cells)}}]


class StubWorker:
    """Says what its script says, at once."""

    def __init__(
        self, greeting: Sequence[Message | End], script: Script, time_limit: float
    ) -> None:
        self.output = ""
        self.alive, self.timed_out, self.host_lost, self.exit_reason = True, False, False, ""
        self.packs: list[str] = []  #: ids of those that it was given
        self.closed = False
        self._script = script
        self._fd, self._bell = os.pipe()
        os.set_blocking(self._fd, False)
        self._said: list[Message | End] = []
        self.set_time_limit(time_limit)
        self.say(greeting)

    def say(self, what: Sequence[Message | End]) -> None:
        self._said += what
        os.write(self._bell, b".")

    def set_time_limit(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        pack = Pack.from_json(json.loads(data))
        self.packs.append(pack.id)
        self.say(self._script(self, pack))

    def flush(self) -> None: ...

    def receive(self) -> list[Message]:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 1000)
        messages = []
        while self._said:
            said = self._said.pop(0)
            if isinstance(said, End):
                self.alive, self.host_lost = False, said.host_lost
                self.exit_reason = said.reason
            else:
                messages.append(said)
        return messages

    def kill_if_overdue(self) -> None:
        if self.alive and time.monotonic() > self.deadline:
            self.timed_out = True
            self.kill()

    def kill(self) -> None:
        self.alive, self.exit_reason = False, self.exit_reason or "killed"

    def close_stdin(self) -> None:
        self.say([End()])

    def close(self) -> None:
        self.kill()
        if not self.closed:
            os.close(self._fd)
            os.close(self._bell)
        self.closed = True

    def readable_fds(self) -> list[int]:
        return [self._fd]

    def writable_fds(self) -> list[int]:
        return []


@dataclass
class StubWorkers:
    """Starts stub workers, and keeps them for the test to look at."""

    script: Script = stored
    #: slot -> what its workers say first
    greetings: dict[int, Sequence[Message | End]] = field(default_factory=dict)
    idle_seconds: float = float("inf")
    started: list[tuple[int, StubWorker]] = field(default_factory=list)  #: with their slots

    def loading(self) -> list[StubWorker]:
        return []

    def start(self, slot: int, time_limit: float) -> StubWorker:
        greeting = self.greetings.get(slot, [{"kind": "ready", "environment": {"device": "a"}}])
        worker = StubWorker(greeting, self.script, time_limit)
        self.started.append((slot, worker))
        return worker

    def close(self) -> None: ...

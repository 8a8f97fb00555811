"""Messages of child processes: one line of JSON each, on a pipe that nothing else is written to.

A child calls `send`; its driver reads the bytes with `Pipe` and splits them with `Inbox`.
`TRAINING_MESSAGES` are those of a training worker; `Event` is what the pool makes of them for
its listener.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from membench.files import write_all
from membench.planning.packs import Pack

#: Kinds of message of a training worker. `ready`: it waits for a pack, in this `environment` as
#: long as it compiles nothing, on this `machine`. `started`, `progress` (with `done` in [0, 1]; 0
#: when all is compiled), `stored`, `raised`: about the pack that it was given; `stored` with
#: `last`: it ends now and wants no other pack. `broken`: it cannot work at all, with a `reason` and
#: an exit `code`.
TRAINING_MESSAGES = ("ready", "started", "progress", "stored", "raised", "broken")
#: Those of a worker that may not write the store: before `stored` comes a `record` for each cell,
#: with the `line` that is to be stored.
SENDING_MESSAGES = (*TRAINING_MESSAGES, "record")
MAX_MESSAGE = 1 << 20  #: bytes; a longer line is not a message


def send(fd: int, kind: str, **values: Any) -> None:
    """Write one message, whole."""
    write_all(fd, json.dumps({"kind": kind, **values}).encode() + b"\n")


@dataclass
class Inbox:
    """Splits bytes into messages, however they are cut.

    Lines that are not messages are dropped, since a plugin can write to any descriptor.
    """

    kinds: Collection[str]  #: of the messages that are accepted
    incomplete: bytes = b""  #: the last line, whose end has not come yet

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that these bytes complete."""
        *lines, self.incomplete = (self.incomplete + data).split(b"\n")
        self.incomplete = self.incomplete[-MAX_MESSAGE:]
        messages = []
        for line in lines:
            message = self._parse(line)
            if message is not None:
                messages.append(message)
        return messages

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if isinstance(message, dict) and message.get("kind") in self.kinds:
            return message
        return None


@dataclass
class Pipe:
    """The driver's end of a pipe, which never blocks."""

    fd: int
    open: bool = True  #: False once the end of the data was read, or after `close`

    def __post_init__(self) -> None:
        os.set_blocking(self.fd, False)

    def read(self, limit: int = MAX_MESSAGE) -> bytes:
        """Return what has been written, and not much more than `limit` bytes of it.

        A plugin may print faster than anyone reads.
        """
        data = bytearray()
        while self.open and len(data) < limit:
            try:
                chunk = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            self.open = bool(chunk)
            data += chunk
        return bytes(data)

    def close(self) -> None:
        """Close this end; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.open = -1, False


@dataclass(frozen=True, kw_only=True)
class Event:
    """News of a pack: `started`, `progress`, `stored`, `failed`, `timeout`, `retry` or `ending`.

    `ending`: the run was interrupted, and waits for this pack, which is about to end.
    """

    kind: str
    worker: int  #: its slot in the pool, from 0
    pack: Pack
    done: float = 0.0  #: share of the pack that is trained, in [0, 1]
    counts: Counter[str] = field(default_factory=Counter)  #: cells by status, once the pack ended
    reason: str = ""

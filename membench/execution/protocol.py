"""What a worker says to the pool, one line of JSON each on a pipe of its own, and what the pool tells its listener."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from membench.files import write_all
from membench.planning.packs import Pack

#: What a worker may say: that it waits for a pack; that it began, is at `done` of 1, has stored, or failed the pack at
#: hand; that it cannot work at all, with `reason` and exit `code`.
MESSAGE_KINDS = ("ready", "started", "progress", "stored", "raised", "broken")
MAX_MESSAGE = 1 << 20  #: bytes of one message; more is not ours


@dataclass(frozen=True)
class Event:
    """What happened to a pack, for the display: `started`, `progress`, `stored`, `failed`, `timeout` or `retry`."""

    kind: str
    worker: int  #: which slot, from 0
    pack: Pack
    done: float = 0.0  #: of `progress`: in [0, 1]
    counts: Counter[str] = field(
        default_factory=Counter
    )  #: cells by status, when the pack has ended
    reason: str = ""


def send(fd: int, kind: str, **values: Any) -> None:
    """Say it in one write."""
    write_all(fd, json.dumps({"kind": kind, **values}).encode() + b"\n")


@dataclass
class Inbox:
    """Bytes as they come to whole messages; what is none is dropped, since a plugin can write to any descriptor."""

    rest: bytes = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that these bytes complete."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[-MAX_MESSAGE:]
        return [message for line in lines if (message := _parse(line))]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and message.get("kind") in MESSAGE_KINDS else None


@dataclass
class Pipe:
    """The driver's end of a pipe that it never blocks on."""

    fd: int
    open: bool = True

    def __post_init__(self) -> None:
        os.set_blocking(self.fd, False)

    def read(self, limit: int = MAX_MESSAGE) -> bytes:
        """What is there now, and not much more than `limit`: a plugin may print faster than anyone reads."""
        chunks: list[bytes] = []
        while self.open and sum(map(len, chunks)) < limit:
            try:
                chunk = os.read(self.fd, 65536)
            except BlockingIOError:
                break
            self.open = bool(chunk)
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close this end, once."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.open = -1, False

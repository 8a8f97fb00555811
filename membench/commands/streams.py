"""The standard streams of a command: closed, full, or gone together with who was reading them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from typing import Any


def open_closed_streams() -> None:
    """Lead descriptors 0 to 2 to nowhere where the caller has closed them.

    The next file that is opened would get such a number, a shard of records for one, and what a
    library prints there would be written into it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def drop_output() -> None:
    """Lead the standard output to nowhere, with what was not written of it yet."""
    with suppress(OSError, ValueError):
        _lead_nowhere(sys.stdout.fileno())


@contextmanager
def lasting_output() -> Iterator[None]:
    """Drop output from the moment on when it cannot be written any more, and raise nothing.

    `membench run | head -1`, a full disk under a log, or a terminal that is closed must not end a
    training. Streams that someone has put in place of the standard ones are left alone.
    """
    replaced: dict[str, Any] = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            replaced[name] = stream
            setattr(sys, name, _lasting(stream))
    try:
        yield
    finally:
        for name, stream in replaced.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)


def _lasting(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Return a stream to the same descriptor that drops what cannot be written."""
    with suppress(OSError):
        stream.flush()
    raw = _LastingFile(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


class _LastingFile(io.FileIO):
    """A file that leads nowhere after the first write that fails."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            _lead_nowhere(self.fileno())
            return len(data)


def _lead_nowhere(fd: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, fd)
    os.close(nowhere)

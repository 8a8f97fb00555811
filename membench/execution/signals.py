"""Record signals that ask for an end in a flag, so that a write is never interrupted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

#: Ctrl-C, `kill`, and the end of the terminal or of the connection to it.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interrupts:
    """A flag that a signal has come, and a descriptor to wait on."""

    fd: int | None = None  #: becomes readable when a signal comes
    seen: bool = False

    def drain(self) -> None:
        """Make `fd` unreadable again; other signals than `ENDING` wake it too."""
        if self.fd is not None:
            with suppress(BlockingIOError):
                os.read(self.fd, 1024)


@contextmanager
def deferred_signals() -> Iterator[Interrupts]:
    """Record the first signal of `ENDING`; the second raises `KeyboardInterrupt`.

    A signal that was ignored stays ignored, as for jobs in the background. Outside the main
    thread, which alone may set handlers, nothing is recorded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    interrupts = Interrupts(read_fd)

    def record(number: int, frame: FrameType | None) -> None:
        if interrupts.seen:
            raise KeyboardInterrupt
        interrupts.seen = True

    previous_wakeup_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        with _handling(record):
            yield interrupts
    finally:
        signal.set_wakeup_fd(previous_wakeup_fd)
        os.close(read_fd)
        os.close(write_fd)


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold the signals of `ENDING` back until the block has ended, for what must be whole.

    Raises:
        KeyboardInterrupt: at the end of the block, if one has come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []
    with _handling(lambda number, frame: seen.append(number)):
        yield
    if seen:
        raise KeyboardInterrupt


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle the signals of `ENDING`, but for those that are ignored, and restore what was."""
    previous_handlers = {}
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            previous_handlers[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous)

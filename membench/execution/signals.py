"""Ctrl-C and SIGTERM as something to look at, instead of an exception that may come in the middle of a write."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupts:
    """What came since."""

    fd: int | None = None  #: becomes readable when a signal comes
    seen: bool = False

    def drain(self) -> None:
        """Make `fd` unreadable again: signals that are not ours wake it too."""
        if self.fd is not None:
            with suppress(BlockingIOError):
                os.read(self.fd, 1024)


@contextmanager
def deferred_signals() -> Iterator[Interrupts]:
    """Note the first SIGINT or SIGTERM; the second raises `KeyboardInterrupt`. Outside the main thread: do nothing.

    What was ignored stays ignored, as for jobs in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    ours, theirs = os.pipe()
    for fd in (ours, theirs):
        os.set_blocking(fd, False)
    state = Interrupts(ours)

    def note(number: int, frame: FrameType | None) -> None:
        if state.seen:
            raise KeyboardInterrupt
        state.seen = True

    numbers = [
        n
        for n in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(n) not in (signal.SIG_IGN, None)
    ]
    before = {number: signal.signal(number, note) for number in numbers}
    wakeup = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield state
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ours)
        os.close(theirs)

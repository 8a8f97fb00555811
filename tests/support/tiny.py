"""`python tests/support/tiny.py run --suite tiny ...`: membench with a suite that takes seconds.

Its workers are those of any run. Tests of what comes after a run let their own process find the
suite instead: a start of Python and torch takes longer than the suite.

With `TINY_SIGNAL` set to a number, the driver sends itself this signal as soon as it has been told
of the first stored pack. The run then ends with packs stored and packs left, on a machine of any
speed: until the driver goes on, each worker can store one pack at most.
"""

from __future__ import annotations

import os
import signal
import sys

from membench.cli import main
from membench.execution import display
from membench.execution.protocol import Event
from membench.registry import registry
from support.suites import sources_and_tiny


class SignallingDisplay(display.Display):
    """Sends this process a signal at the first stored pack, having shown it."""

    sent = False

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if event.kind == "stored" and not self.sent:
            self.sent = True
            os.kill(os.getpid(), int(os.environ["TINY_SIGNAL"]))


if __name__ == "__main__":
    registry.find_sources = sources_and_tiny
    if "TINY_SIGNAL" in os.environ:
        # a test run in the background has SIGINT ignored, and its children inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
        display.Display = SignallingDisplay
    sys.exit(main())

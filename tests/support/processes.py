"""What a test sees of the processes that a run starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def processes_with(tmp_path: Path) -> list[str]:
    """Command lines of the living processes that know this test's folder."""
    command_lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(tmp_path).encode() in (folder / "environ").read_bytes():
                command_lines.append(command_line(int(folder.name)))
        except OSError:
            continue
    return [line for line in command_lines if line]  # a zombie has none


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)

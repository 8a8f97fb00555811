"""What a test sees of the processes that a run starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

#: Starts a daemon as daemons are started, a process in its own session, and one below that.
DAEMONS = """
import os, subprocess, sys, time
pids = []
popen = subprocess.Popen(["sleep", "303"], start_new_session=True)
pids.append(popen.pid)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        time.sleep(303)
    os._exit(0)
pids.append(int(os.read(read, 99)))
print(*pids, flush=True)
"""


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

"""Lead one child's process group: when the driver or the child is gone, kill the whole group.

The driver runs this file by its path, `python -I -S reaper.py DRIVER_ALIVE_FD EXIT_FD COMMAND...`,
or calls `supervise` in a process that it forked. It imports nothing of membench, so that it starts
in milliseconds. It is a process, not a thread of the child, because nothing in the child can be
relied on: a plugin may hold the GIL in C for ever, and `PR_SET_PDEATHSIG` would end the child but
not the child's children.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys

TYPE_CHECKING = False  # as in `typing`, whose import would take longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def supervise(driver_alive_fd: int, exit_fd: int, start: Callable[[], int]) -> NoReturn:
    """Start the child, report how it ended and kill its process group, this process included.

    The child must hold neither pipe. The end of the exit pipe then tells the driver that this
    process is dead, whatever else lives.

    Args:
        driver_alive_fd: a pipe that the driver holds open for as long as the child may live.
        exit_fd: a pipe that takes the exit code as one line, negative for a signal.
        start: starts the child and returns its process id.
    """
    child = start()
    _thread.start_new_thread(_kill_when_driver_closes, (driver_alive_fd, child))
    _, status = os.waitpid(child, 0)
    try:
        os.write(exit_fd, b"%d\n" % os.waitstatus_to_exitcode(status))
    finally:
        os.killpg(0, signal.SIGKILL)
    raise AssertionError("SIGKILL ends this process")


def _kill_when_driver_closes(driver_alive_fd: int, child: int) -> None:
    """Block until the driver closes its end of the pipe, as its death does too; then kill all."""
    os.read(driver_alive_fd, 1)
    try:
        os.kill(child, signal.SIGKILL)  # it may have left the group
    except ProcessLookupError:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def main(driver_alive_fd: int, exit_fd: int, command: list[str]) -> NoReturn:
    """Supervise a command."""
    for fd in (driver_alive_fd, exit_fd):
        os.set_inheritable(fd, False)
    supervise(driver_alive_fd, exit_fd, lambda: os.posix_spawnp(command[0], command, os.environ))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

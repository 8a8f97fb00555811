"""The leader of one worker's process group: when the driver or the worker is gone, the whole group goes.

Run by its path, `python -I -S reaper.py LIFELINE PULSE COMMAND...`, it starts in milliseconds and imports none of ours.
A process of its own, because nothing in the worker can be relied on: a plugin may hold the GIL in C for ever, and
`PR_SET_PDEATHSIG` would end the worker but not its children.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys


def follow(lifeline: int, child: int) -> None:
    """Block until the driver closes its end of the lifeline, as its death does too; then end everything."""
    os.read(lifeline, 1)
    end(child)


def end(child: int) -> None:
    """Kill the worker, should it have left the group, and the group with this process in it."""
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def main(lifeline: int, pulse: int, command: list[str]) -> None:
    """Start the worker, tell the driver through `pulse` how it ended, and leave nothing behind.

    The worker has neither pipe: the end of `pulse` tells the driver that this process is dead, whatever else lives.
    """
    for fd in (lifeline, pulse):
        os.set_inheritable(fd, False)
    child = os.posix_spawnp(command[0], command, os.environ)
    _thread.start_new_thread(follow, (lifeline, child))
    _, status = os.waitpid(child, 0)
    try:
        os.write(pulse, b"%d\n" % os.waitstatus_to_exitcode(status))
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

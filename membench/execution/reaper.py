"""Lead one child's process group: when the driver or the child is gone, kill the whole group.

The driver runs this file by its path, `python -I -S reaper.py DRIVER_ALIVE_FD EXIT_FD COMMAND...`,
or calls `supervise` in a process that it forked. It imports nothing of membench, so that it starts
in milliseconds. It is a process, not a thread of the child, because nothing in the child can be
relied on: a plugin may hold the GIL in C for ever, and `PR_SET_PDEATHSIG` would end the child but
not the child's children.

Nor can the reaper be relied on: who is short of memory may kill it first, and so does Ray, which
kills the children of an actor that ends. So it has a twin, outside the group, that waits for the
reaper's death and does the same then.

What the child started may have left the group, by a session of its own. So the reaper takes in what
is orphaned below it, where Linux lets it, and kills by descent too: all but what another reaper
supervises, which has been forked below it and has a driver of its own to wait for.

It also looks how much memory the child holds, which may be too busy to do so itself.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False  # as in `typing`, whose import would take longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Sequence
    from typing import NoReturn

_KILL_ROUNDS = 10
_MAX_FD = 1 << 16  #: above all descriptors of a reaper
#: Variables, in GB: what the child may hold, and what it may hold when memory runs short.
MEMORY_LIMIT = "MEMBENCH_WORKER_MEMORY"
MEMORY_SHARE = "MEMBENCH_WORKER_SHARE"
_LOOK_SECONDS = 0.5  #: between two looks at the child's memory
_SHORT = 0.9  #: memory runs short when so much of it is in use
_NAME = b"membench-reaper"  #: 15 bytes, as long as the name of a process can be
_SANDBOX = b"bwrap"  #: the name of bubblewrap's processes
_PR_SET_CHILD_SUBREAPER = 36  #: of Linux's prctl
_CGROUP = "/sys/fs/cgroup"  #: of version 2; in a container, its own


def supervise(
    driver_alive_fd: int, exit_fd: int, start: Callable[[Sequence[int]], int]
) -> NoReturn:
    """Start the child, report how it ended and kill its process group, this process included.

    The end of the exit pipe tells the driver that this process is dead, whatever else lives.

    Args:
        driver_alive_fd: a pipe that the driver holds open for as long as the child may live.
        exit_fd: a pipe that takes the exit code as one line, negative for a signal; before it comes
            `memory HELD LIMIT`, in bytes, if the child was killed for what it held.
        start: starts the child and returns its process id. Takes the descriptors that the child
            must not hold.
    """
    twin_fd = _start_twin()
    _take_in_orphans()
    child = start((driver_alive_fd, exit_fd, twin_fd))
    _take_name()  # not before: a fork would have it too
    os.write(twin_fd, b"%d" % child)
    _thread.start_new_thread(_kill_when_driver_closes, (driver_alive_fd, child))
    limit, share = _gigabytes(MEMORY_LIMIT), _gigabytes(MEMORY_SHARE)
    if limit or share:
        _thread.start_new_thread(_kill_when_too_large, (child, exit_fd, limit, share))
    _, status = os.waitpid(child, 0)
    try:
        os.write(exit_fd, b"%d\n" % os.waitstatus_to_exitcode(status))
    finally:
        _kill_descendants(os.getpid())
        os.killpg(0, signal.SIGKILL)
    raise AssertionError("SIGKILL ends this process")


def _kill_when_driver_closes(driver_alive_fd: int, child: int) -> None:
    """Block until the driver closes its end of the pipe, as its death does too; then kill all."""
    os.read(driver_alive_fd, 1)
    try:
        _kill_descendants(os.getpid())
        os.kill(child, signal.SIGKILL)  # it may have left the group
    except ProcessLookupError:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def _take_in_orphans() -> None:
    """Become the parent of what is orphaned below this process; only Linux can."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except (ImportError, OSError, AttributeError):
        pass


def _take_name() -> None:
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(_NAME)
    except OSError:
        pass


def _kill_descendants(root: int) -> None:
    """Kill what descends from a process, but not below another reaper, until nothing is left."""
    for _ in range(_KILL_ROUNDS):  # meanwhile one may have forked
        found = _descendants(root)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _descendants(root: int) -> list[int]:
    """List the living processes below one, without other reapers and what is below them."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                command, _, rest = file.read().partition(b"(")[2].rpartition(b") ")
        except OSError:  # it has ended
            continue
        state, parent = rest.split()[:2]
        if state not in b"ZX" and command != _NAME:
            children.setdefault(int(parent), []).append(int(name))
    found = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _kill_when_too_large(child: int, exit_fd: int, limit: int, share: int) -> None:
    """Look at the child's memory for ever; kill it if that is over the limit, all in bytes.

    A limit of 0 is none; then the share counts, while memory runs short.
    """
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            held = max(map(_resident, _watched(child)), default=0)
        except (OSError, IndexError):  # it has ended, or this is no Linux
            return
        is_over = held > limit if limit else held > share and _is_short()
        if is_over:
            os.write(exit_fd, b"memory %d %d\n" % (held, limit or share))
            os.kill(child, signal.SIGKILL)
            return


def _watched(child: int) -> list[int]:
    """List the processes whose memory is looked at: the child, or those that bubblewrap starts.

    Its own are two: one outside, and one that is the first inside.
    """
    pids = [child]
    for _ in range(2):
        with open(f"/proc/{pids[0]}/comm", "rb") as file:
            if file.read().strip() != _SANDBOX:
                break
        with open(f"/proc/{pids[0]}/task/{pids[0]}/children") as file:
            pids = list(map(int, file.read().split()))
        if not pids:
            break
    return pids


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _gigabytes(variable: str) -> int:
    """Return the bytes that a variable gives in GB; 0 if it is not set, or no positive number."""
    try:
        return max(0, int(float(os.environ.get(variable, "0")) * 1e9))
    except (ValueError, OverflowError):
        return 0


def _is_short() -> bool:
    return any(used > _SHORT * total for total, used in memory_in_use())


def memory_in_use() -> Iterator[tuple[int, int]]:
    """Yield the bytes of memory, and how many are in use, of the machine and of the container."""
    meminfo = _numbers("/proc/meminfo")
    if "MemTotal:" in meminfo and "MemAvailable:" in meminfo:
        total = meminfo["MemTotal:"]
        yield 1024 * total, 1024 * (total - meminfo["MemAvailable:"])
    try:
        with open(f"{_CGROUP}/memory.max") as file:
            most = file.read().strip()
    except OSError:
        return
    if most.isdigit():
        yield int(most), _numbers(f"{_CGROUP}/memory.stat").get("anon", 0)


def _numbers(path: str) -> dict[str, int]:
    """Read lines of a name and a number."""
    numbers = {}
    try:
        with open(path) as file:
            for line in file:
                name, number = line.split()[:2]
                numbers[name] = int(number)
    except (OSError, ValueError):
        pass
    return numbers


def _start_twin() -> int:
    """Fork the twin. Returns a pipe that takes the child's process id, and is its lifeline."""
    read_fd, write_fd = os.pipe()
    group = os.getpgid(0)
    if os.fork() == 0:
        try:
            os.setsid()
            os.closerange(0, read_fd)
            os.closerange(read_fd + 1, _MAX_FD)
            _kill_when_reaper_dies(read_fd, group)
        finally:
            os._exit(0)
    os.close(read_fd)
    return write_fd


def _kill_when_reaper_dies(fd: int, group: int) -> None:
    """Block until the reaper's end of the pipe is closed; then kill its child and its group.

    Usually the reaper has done so, and only its zombie is left, whose id nobody else has.
    """
    child = b""
    while text := os.read(fd, 32):
        child += text
    if child:
        _kill_descendants(int(child))
    for kill, number in ((os.kill, int(child or b"0")), (os.killpg, group)):
        try:
            if number > 0:
                kill(number, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def main(driver_alive_fd: int, exit_fd: int, command: list[str]) -> NoReturn:
    """Supervise a command."""
    for fd in (driver_alive_fd, exit_fd):
        os.set_inheritable(fd, False)
    supervise(
        driver_alive_fd, exit_fd, lambda held: os.posix_spawnp(command[0], command, os.environ)
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

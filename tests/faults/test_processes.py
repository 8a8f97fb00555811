"""Nothing that a plugin starts outlives its worker, also in a session of its own (R9)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.processes import DAEMONS
from support.processes import wait_until

from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def started(then: str) -> Iterator[tuple[ChildProcess, list[int]]]:
    """A child that has started daemons and does something then; with their process ids."""
    program = DAEMONS + then
    process = ChildProcess.spawn(
        lambda fd: [sys.executable, "-I", "-S", "-c", program],
        environ=dict(os.environ),
        message_kinds=(),
        time_limit=30,
    )
    pids: list[int] = []
    try:
        while "\n" not in process.output:
            wait_for_news([process])
            process.receive()
        pids += map(int, process.output.split())
        assert len(pids) == 2
        yield process, pids
    finally:
        process.close()
        for pid in filter(lives, pids):  # where the test has failed
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("then", ["", "os._exit(3)", "os.kill(os.getpid(), 11)"])
def test_daemons_of_a_worker_that_ends_or_crashes_end_with_it(then: str) -> None:
    with started(then) as (process, pids):
        while process.alive:
            wait_for_news([process])
            process.receive()
        wait_until(lambda: not any(map(lives, pids)))


def test_daemons_of_a_worker_that_is_killed_end_with_it() -> None:
    with started("time.sleep(303)") as (process, pids):
        assert all(map(lives, pids))
        process.kill()
        wait_until(lambda: not any(map(lives, pids)))


def test_daemons_end_with_the_driver() -> None:
    """The driver's death closes its end of a pipe; here that alone happens."""
    with started("time.sleep(303)") as (process, pids):
        os.close(os.dup(process._driver_alive_fd))
        assert all(map(lives, pids))
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, process._driver_alive_fd)
        os.close(nowhere)
        wait_until(lambda: not any(map(lives, pids)))

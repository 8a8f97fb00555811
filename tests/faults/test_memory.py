"""A worker that holds too much memory is killed with the reason, and others are not (R7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from membench.execution import reaper
from membench.execution.memory import describe_excess
from membench.execution.memory import memory_share
from membench.execution.memory import total_memory
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news

BALLOON = "x = bytearray(300_000_000)\nimport time\ntime.sleep(60)"
SLIM = "import time; time.sleep(1.2)"


def end_of(body: str, **environ: str) -> str:
    """Run a program behind a reaper; return how it ended."""

    def command(fd: int) -> Sequence[str]:
        return [sys.executable, "-I", "-S", "-c", body]

    process = ChildProcess.spawn(command, environ=environ, message_kinds=(), time_limit=30)
    try:
        while process.alive:
            wait_for_news([process])
            process.kill_if_overdue()
            process.receive()
        return process.exit_reason
    finally:
        process.close()


def test_a_worker_over_its_limit_is_killed_with_what_it_held_and_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(reaper.MEMORY_LIMIT, "0.2")
    limit = {reaper.MEMORY_LIMIT: "0.2"}
    said = "it held 0.3 GB of memory, more than the 0.2 GB of MEMBENCH_WORKER_MEMORY"
    assert end_of(BALLOON, **limit) == said
    assert end_of(SLIM, **limit) == "exit status 0"


def test_a_worker_over_its_share_is_killed_only_while_memory_runs_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen(["sleep", "60"])
    alive_when_asked = []

    def is_short() -> bool:
        alive_when_asked.append(child.poll() is None)
        return len(alive_when_asked) == 3

    monkeypatch.setattr(reaper, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(reaper, "_is_short", is_short)
    read_fd, write_fd = os.pipe()
    reaper._kill_when_too_large(child.pid, write_fd, limit=0, share=1)
    assert alive_when_asked == [True, True, True]
    assert child.wait() == -signal.SIGKILL
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        kind, held, share = pipe.read().split()
    assert (kind, share) == ("memory", "1")
    assert int(held) > 1
    assert "while memory ran short: fewer workers (-n)" in describe_excess(int(held), int(share))


@pytest.mark.parametrize(("used", "short"), [(950_000_000, True), (1_000, False)])
def test_memory_is_short_where_the_container_s_is(
    used: int, short: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page cache is not counted: the kernel gives it back."""
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.stat").write_text(f"anon {used}\nfile 999999999\n")
    monkeypatch.setattr(reaper, "_CGROUP", str(tmp_path))
    of_machine, of_container = reaper.memory_in_use()
    assert of_container == (1_000_000_000, used)
    machine_is_short = of_machine[1] > 0.9 * of_machine[0]
    assert reaper._is_short() == (short or machine_is_short)


def test_workers_share_the_memory_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = total_memory()
    assert machine > 0
    monkeypatch.setattr(reaper, "_CGROUP", str(tmp_path))
    (tmp_path / "memory.max").write_text("4000000000\n")
    assert memory_share(2) == {reaper.MEMORY_SHARE: "1.80"}
    (tmp_path / "memory.max").write_text("max\n")
    assert float(memory_share(1)[reaper.MEMORY_SHARE]) <= 0.9 * machine / 1e9 + 0.01


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "-1"])
def test_what_is_no_limit_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reaper.MEMORY_LIMIT, text)
    assert reaper._gigabytes(reaper.MEMORY_LIMIT) == 0

"""Who reads the output, or the disk that it goes to, has no say in whether a training goes on."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from membench.commands.streams import lasting_output
from membench.errors import ExitCode
from membench.execution.signals import ENDING
from membench.execution.signals import deferred_signals
from membench.execution.signals import held_signals


def full_disk() -> io.TextIOWrapper:
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")


def unread_pipe() -> io.TextIOWrapper:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    return os.fdopen(write_fd, "w")


@pytest.mark.parametrize("broken", [full_disk, unread_pipe])
def test_output_that_cannot_be_written_is_dropped(
    broken: Callable[[], io.TextIOWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = broken()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "__stdout__", stream)
    with lasting_output():
        for _ in range(100):
            print("x" * 1000)
        print("y", flush=True)
    assert sys.stdout is stream
    stream.close()  # there is nothing in it that would be written now, and fail


def test_output_that_can_be_written_comes_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        print("before")
        with lasting_output():
            print("ß" * 10_000)
        print("after")
    assert path.read_text() == f"before\n{'ß' * 10_000}\nafter\n"


def test_a_stream_in_place_of_the_standard_one_is_left_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = sys.stdout
    with lasting_output():
        assert sys.stdout is stream


@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_stream_that_was_closed(redirect: str, tmp_path: Path) -> None:
    """Else a shard might be descriptor 1, and what a library prints be written into it."""
    script = (
        "import os, sys; from membench.commands.streams import open_closed_streams as o; o(); "
        "print('x'); fd = os.open('f', os.O_CREAT | os.O_WRONLY); os.write(1, b'noise'); "
        "os.write(2, b'noise'); os.write(fd, b'%d' % fd)"
    )
    command = f"exec {sys.executable} -c {shlex.quote(script)} {redirect}"
    subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert int((tmp_path / "f").read_bytes()) > 2


def test_a_full_disk_under_the_output_is_one_line_and_exit_code_11(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    command = f"{sys.executable} -m membench status > /dev/full"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.DISK
    assert done.stderr == "membench: cannot write: No space left on device\n"


def test_a_connection_that_is_cut_ends_a_run_as_kill_does() -> None:
    with deferred_signals() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.seen


@pytest.mark.parametrize("number", ENDING)
def test_signals_are_held_back_until_what_must_be_whole_is(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)  # one that the tests' caller ignores too
    done = []
    try:
        with pytest.raises(KeyboardInterrupt):
            with held_signals():
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)
                done.append("whole")
            done.append("more")
        assert done == ["whole"]
        assert signal.getsignal(number) is signal.default_int_handler
        with held_signals():
            done.append("without one")
        assert done == ["whole", "without one"]
    finally:
        signal.signal(number, before)

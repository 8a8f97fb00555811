"""A child process: its messages, how its end is described, and that nothing of it survives."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.trainers import REPO

from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.protocol import send

KINDS = ("ready", "done")


def run_code(body: str, fd: int) -> None:
    """Run Python code in a forked child, whose streams pytest's capture would still take."""
    faulthandler.disable()
    sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115 - until the child ends
    exec(body, {"fd": fd})


@contextmanager
def child(start: str, body: str, time_limit: float = 20.0) -> Iterator[ChildProcess]:
    """Run Python code, which may use `fd`, in a child that was started in this way."""
    if start == "spawn":
        process = ChildProcess.spawn(
            lambda fd: [sys.executable, "-c", f"fd = {fd}\n{body}"],
            environ={**os.environ, "PYTHONPATH": str(REPO)},
            message_kinds=KINDS,
            time_limit=time_limit,
        )
    else:
        process = ChildProcess.fork(
            partial(run_code, body), message_kinds=KINDS, time_limit=time_limit
        )
    try:
        yield process
    finally:
        process.close()


def run_to_end(process: ChildProcess) -> list[dict[str, object]]:
    """Return all messages of a child, once it is not alive any more."""
    messages = []
    while process.alive:
        wait_for_news([process])
        process.kill_if_overdue()
        messages += process.receive()
    return messages


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return False


def wait_until_gone(*pids: int) -> None:
    end = time.monotonic() + 5
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < end, f"of {pids} some live"
        time.sleep(0.01)


both = pytest.mark.parametrize("start", ["spawn", "fork"])
#: Python 3.12 warns of any fork in a process that has threads, as pytest-xdist's workers have.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@both
def test_messages_come_whole_and_in_order_up_to_the_end(start: str) -> None:
    body = """
from membench.execution.protocol import send
import os
send(fd, "ready", number=1)
os.write(fd, b'no message\\n{"kind": "other"}\\n')
send(fd, "done", text="x" * 100_000)
"""
    with child(start, body) as process:
        messages = run_to_end(process)
        assert [message["kind"] for message in messages] == ["ready", "done"]
        assert messages[0]["number"] == 1 and len(messages[1]["text"]) == 100_000
        assert (process.exit_reason, process.timed_out) == ("exit status 0", False)


@both
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("raise RuntimeError('no luck')", "exit status 1"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "killed by SIGKILL, perhaps for want of memory",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        (
            "import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()",
            "its supervising process ended first",
        ),
    ],
)
def test_an_end_is_described_in_words(start: str, body: str, reason: str) -> None:
    with child(start, body) as process:
        run_to_end(process)
        assert process.exit_reason == reason
        assert ("RuntimeError: no luck" in process.output) == ("no luck" in body)


@both
def test_a_child_that_is_overdue_is_killed_and_its_last_messages_are_received(start: str) -> None:
    body = f"import os, time; os.write(fd, {ready_line()!r}); time.sleep(1000)"
    with child(start, body) as process:
        while not process.receive():
            wait_for_news([process])
        process.set_time_limit(0.05)
        assert run_to_end(process) == []
        assert (process.exit_reason, process.timed_out) == ("no result within 0.05 s", True)


@both
def test_a_child_that_prints_without_end_is_killed_and_the_last_lines_are_kept(start: str) -> None:
    with child(start, "while True: print('spam ' * 100)", time_limit=0.5) as process:
        run_to_end(process)
        kept = process.output
        assert (process.timed_out, len(kept), set(kept)) == (True, 8192, set("spam \n"))


@both
def test_a_child_that_reads_its_input_sees_what_is_sent_and_then_the_end(start: str) -> None:
    body = "import os\nwhile chunk := os.read(0, 999): print(len(chunk), end=' ')"
    with child(start, body) as process:
        process.send(b"x" * 200_000)  # more than a pipe holds
        while process.sending:
            wait_for_news([process])
            process.receive()
            process.flush()
        process.close_stdin()
        run_to_end(process)
        assert process.exit_reason == "exit status 0"


def ready_line(**values: object) -> bytes:
    """The bytes of a `ready` message."""
    read_fd, write_fd = os.pipe()
    send(write_fd, "ready", **values)
    line = os.read(read_fd, 9999)
    os.close(read_fd)
    os.close(write_fd)
    return line


#: Starts a process that stays in the group, reports both process ids, and sleeps or ends.
WITH_A_PROCESS_OF_ITS_OWN = """
import os, signal, time
from membench.execution.protocol import send
other = os.fork()
if other == 0:
    signal.pause()
send(fd, "ready", pids=[os.getpid(), other])
if SLEEP:
    time.sleep(1000)
"""


@both
@pytest.mark.parametrize("how", ["kill", "end"])
def test_what_a_child_started_ends_with_it(start: str, how: str) -> None:
    sleep = how == "kill"
    with child(start, f"SLEEP = {sleep}\n{WITH_A_PROCESS_OF_ITS_OWN}") as process:
        messages: list[dict[str, object]] = []
        while not messages:
            wait_for_news([process])
            messages += process.receive()
        if how == "kill":
            process.kill()
        else:
            run_to_end(process)
        wait_until_gone(*messages[0]["pids"])


@both
@pytest.mark.parametrize("leave", ["", "os.setsid()"])
def test_what_a_child_started_ends_too_when_its_reaper_is_killed_first(
    start: str, leave: str
) -> None:
    """The driver does nothing here: Ray kills both at once, and neither sees the other's end."""
    body = WITH_A_PROCESS_OF_ITS_OWN.replace("if SLEEP:", f"{leave}\nif True:")
    with child(start, body) as process:
        messages: list[dict[str, object]] = []
        while not messages:
            wait_for_news([process])
            messages += process.receive()
        os.kill(process._group, signal.SIGKILL)
        wait_until_gone(*messages[0]["pids"])


DRIVER = """
import os, sys, time
from membench.execution.process import ChildProcess, wait_for_news

def sleep(fd):
    os.write(1, b"started")
    print(os.getpid(), file=sys.stderr, flush=True)
    time.sleep(1000)

children = [
    ChildProcess.fork(sleep, message_kinds=(), time_limit=1000) for _ in range(3)
]
while any(process.output.count("\\n") == 0 for process in children):
    wait_for_news(children)
    for process in children:
        process.receive()
print(*(process.output.removeprefix("started").strip() for process in children), flush=True)
time.sleep(1000)
"""


def test_forked_children_die_with_their_driver() -> None:
    """None of them holds open what another one's reaper watches."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, env={"PYTHONPATH": str(REPO)}
    ) as driver:
        pids = [int(word) for word in driver.stdout.readline().split()]
        assert len(pids) == 3 and all(lives(pid) for pid in pids)
        driver.kill()
        wait_until_gone(*pids)


def children() -> set[str]:
    """The children of this process, those included that have ended and were not waited for."""
    found: set[str] = set()
    for thread in os.listdir("/proc/self/task"):
        found.update(Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found


@both
def test_no_descriptor_and_no_child_is_left(start: str) -> None:
    before, before_children = set(os.listdir("/proc/self/fd")), children()
    with child(start, "pass") as process:
        run_to_end(process)
    with child(start, "import time; time.sleep(1000)"):
        pass
    assert children() <= before_children, "a process was not waited for"
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_command_that_cannot_start_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError), child("spawn", "pass"):
        pass
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_wait_ends_with_its_timeout_or_a_wakeup() -> None:
    read_fd, write_fd = os.pipe()
    started = time.monotonic()
    wait_for_news([], timeout=0.01)
    os.write(write_fd, b"x")
    wait_for_news([], wakeup_fds=[read_fd])
    assert 0.01 <= time.monotonic() - started < 5
    os.close(read_fd)
    os.close(write_fd)

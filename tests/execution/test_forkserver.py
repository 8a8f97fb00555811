"""Workers that a server forks: like spawned ones, and never fewer for want of a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.processes import processes_with
from support.processes import wait_until
from support.trainers import REPO
from support.trainers import local_workers
from support.trainers import make_pack

from membench.execution.forkserver import ForkServer
from membench.execution.pool import run_packs
from membench.execution.protocol import TRAINING_MESSAGES
from membench.execution.summary import Summary
from membench.execution.worker import worker_command
from membench.execution.worker import worker_environ
from membench.planning.packs import Pack
from membench.store.store import Store


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{REPO / 'tests'}")
    monkeypatch.setenv("POOL_TEST_NOTES", str(tmp_path / "notes"))


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with closing(ForkServer()) as server:
        yield server


def loaded(server: ForkServer, *modules: str, preparation: str = "") -> int:
    """Start the server, wait until it has loaded; return its process id."""
    server.start(modules, worker_environ(), preparation)
    group = server.process._group
    wait_until(lambda: not server.is_loading())
    if not server.is_ready:
        return 0
    (pid,) = [child for child in children_of(group) if os.getpgid(child) == group]
    return pid  # the reaper's twin is in a group of its own


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def train(store: Store, server: ForkServer, *packs: Pack, **options: object) -> Summary:
    command = worker_command(store.folder, device="cpu", trainer="support.trainers:train")
    factory = local_workers(command, server)
    defaults = {"store": store, "factory": factory, "workers": 2, "time_limit": 20.0}
    return run_packs(packs, **{**defaults, **options})


def forked_by(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each worker that is asked for from now on: whether the server forked it."""
    asked: list[bool] = []
    fork = ForkServer.fork

    def watched(self: ForkServer, *arguments: object, **options: object) -> object:
        worker = fork(self, *arguments, **options)
        asked.append(worker is not None)
        return worker

    monkeypatch.setattr(ForkServer, "fork", watched)
    return asked


def test_forked_workers_train_like_spawned_ones(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a pack does to its worker; and the server keeps no zombie."""
    pid = loaded(server, "support.trainers")
    forked = forked_by(monkeypatch)
    names = ("good", "raise", "exit", "segfault", "hold-the-gil", "print", "spoil", "diverging")
    outcomes = []
    for way, name in ((server, "forked"), (ForkServer(), "spawned")):
        store = Store(tmp_path / name)
        summary = train(store, way, *map(make_pack, names), time_limit=1.0, retries_on_death=1)
        records = store.read().records.values()
        outcomes.append(
            (
                sorted((f.pack, f.status, f.reason) for f in summary.failures),
                sorted((record.id, record.status, record.reason) for record in records),
            )
        )
    assert outcomes[0] == outcomes[1]
    assert len(forked) >= 5 and all(forked)
    wait_until(lambda: not children_of(pid))


def test_the_pool_waits_for_a_server_that_is_loading(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = forked_by(monkeypatch)
    server.start(["support.trainers"], worker_environ())
    assert train(Store(tmp_path / "records"), server, make_pack()).ok == 2
    assert forked == [True]


def test_a_server_with_a_second_thread_does_not_fork_and_workers_are_spawned(
    server: ForkServer, tmp_path: Path
) -> None:
    assert loaded(server, "support.second_thread") == 0
    assert server.process is None
    assert train(Store(tmp_path / "records"), server, make_pack()).ok == 2


@pytest.mark.parametrize("modules", [["no_such_module"], ["support.trainers"]])
def test_workers_are_spawned_where_the_server_has_died(
    server: ForkServer, tmp_path: Path, modules: list[str]
) -> None:
    """It cannot load, or it is killed while it is ready."""
    pid = loaded(server, *modules)
    if pid:
        os.kill(pid, signal.SIGKILL)
    assert train(Store(tmp_path / "records"), server, make_pack()).ok == 2
    assert not server.is_ready


def test_a_server_that_does_not_answer_is_given_up(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("membench.execution.forkserver._FORK_SECONDS", 0.2)
    os.kill(loaded(server), signal.SIGSTOP)
    command = worker_command(tmp_path, trainer="support.trainers:train")
    assert server.fork(command, message_kinds=TRAINING_MESSAGES, time_limit=9) is None
    assert server.process is None


def test_workers_outlive_the_server(server: ForkServer, tmp_path: Path) -> None:
    """It is not needed any more, and what they train is not to be lost with it."""
    pid = loaded(server, "support.trainers")
    killed = []

    def kill_server(event: object) -> None:
        if not killed:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    packs = [make_pack("slow", index=i) for i in range(4)]
    assert train(Store(tmp_path / "records"), server, *packs, on_event=kill_server).ok == 8


@pytest.mark.parametrize("function", ["leave", "fail"])
def test_a_preparation_runs_beside_the_workers_and_may_fail(
    server: ForkServer, tmp_path: Path, function: str
) -> None:
    pid = loaded(server, preparation=f"support.marks:{function}")
    assert train(Store(tmp_path / "records"), server, make_pack()).ok == 2
    if function == "leave":
        wait_until((tmp_path / "notes").exists)
        assert int((tmp_path / "notes").read_text()) not in (pid, os.getpid())


DRIVER = """
import sys
from pathlib import Path
from support.trainers import local_workers, make_pack
from membench.execution.forkserver import ForkServer
from membench.execution.pool import run_packs
from membench.execution.worker import worker_command, worker_environ
from membench.store.store import Store

store = Store(Path(sys.argv[1]))
server = ForkServer()
server.start(["support.trainers"], worker_environ())
command = worker_command(store.folder, trainer="support.trainers:train")
packs = [make_pack("children"), make_pack("hold-the-gil")]
def print_event(event):
    print(event.kind, server.is_ready, flush=True)
factory = local_workers(command, server)
run_packs(packs, store=store, factory=factory, workers=2, time_limit=100, on_event=print_event)
"""


def test_no_server_no_forked_worker_and_no_child_of_one_survives_the_driver(
    tmp_path: Path,
) -> None:
    notes = tmp_path / "notes"
    arguments = [sys.executable, "-c", DRIVER, str(tmp_path / "records")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "started True\n"
        wait_until(lambda: notes.exists() and notes.read_text().count("child") == 2)
        assert len(processes_with(tmp_path)) >= 7
        driver.kill()
        wait_until(lambda: not processes_with(tmp_path))


@pytest.mark.slow
def test_a_server_with_the_engine_in_it_has_one_thread(server: ForkServer) -> None:
    server.start(["membench.engine.compiled", "membench.engine.train"], worker_environ())
    wait_until(lambda: not server.is_loading(), seconds=60)
    assert server.is_ready

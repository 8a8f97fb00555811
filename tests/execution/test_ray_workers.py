"""Workers in a cluster, without one: hosts are real, and the calls to them are made in place."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_ray import ActorDiedError
from support.fake_ray import ActorUnavailableError
from support.fake_ray import FakeRay
from support.fake_ray import GetTimeoutError
from support.fake_ray import InitFailedError
from support.processes import processes_with
from support.processes import wait_until
from support.ray_cluster import stub_task
from support.trainers import REPO
from support.trainers import make_pack
from support.trainers import make_records

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution import ray_host
from membench.execution import ray_workers
from membench.execution.pool import run_packs
from membench.execution.protocol import Event
from membench.execution.ray_host import Host
from membench.execution.ray_host import Report
from membench.execution.ray_host import Task
from membench.execution.ray_workers import Cluster
from membench.execution.ray_workers import RayWorkers
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.store.shards import encode
from membench.store.shards import encode_line
from membench.store.store import Store

CPU = {"num_cpus": 1}


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of scratch folders; a host works in its own one."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(ray_workers, "BEAT", 0.05)
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{REPO / 'tests'}")
    monkeypatch.setenv("POOL_TEST_NOTES", str(tmp_path / "notes"))
    return scratch


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def run(store: Store, ray: FakeRay, *packs: Pack, **options: Any) -> Summary:
    factory = RayWorkers(ray, options.pop("task", stub_task()), CPU, store)
    defaults = {"store": store, "workers": 1, "time_limit": 20.0}
    return run_packs(packs, factory=factory, **{**defaults, **options})


def statuses(store: Store) -> Counter[str]:
    return Counter(f"{r.regularizer} {r.status}" for r in store.read().records.values())


def once(error: Exception, on: str = "stored") -> Callable[[str, Any], Any]:
    """Raise an error in place of the first report that has a message of this kind."""
    left = [error]

    def on_call(name: str, result: Any) -> Any:
        kinds = [message["kind"] for message in getattr(result, "messages", [])]
        if on in kinds and left:
            raise left.pop()
        return result

    return on_call


def test_what_a_host_s_worker_stores_comes_into_the_driver_s_store(
    store: Store, node: Path
) -> None:
    ray = FakeRay()
    summary = run(store, ray, *(make_pack(index=i) for i in range(3)), make_pack("diverging"))
    assert (summary.ok, summary.diverged, summary.failures) == (6, 2, ())
    assert statuses(store) == {"good ok": 6, "diverging diverged": 2}
    assert store.merge() > 0 and not list(store.shards.glob("*.jsonl"))
    assert list(node.iterdir()) == [] and len(ray.killed) == 1
    (options,) = ray.options
    assert (options["max_restarts"], options["max_task_retries"], options["num_cpus"]) == (0, 0, 1)
    wait_until(lambda: not processes_with(node))


def test_a_pack_that_fails_its_worker_or_hangs_is_told_as_with_local_workers(
    store: Store, node: Path
) -> None:
    packs = [make_pack("raise"), make_pack("die"), make_pack("hang"), make_pack("good", 7)]
    summary = run(store, FakeRay(), *packs, time_limit=0.7)
    assert (summary.ok, summary.failed, summary.timeout) == (2, 4, 2)
    reasons = {failure.pack.split("/")[2]: failure for failure in summary.failures}
    assert reasons["die[0.5]"].reason == "worker died: exit status 3"
    assert "in _raise" in reasons["raise[0.5]"].output
    assert list(node.iterdir()) == []


class ScriptedHost:
    """Stores each pack at once, in nothing but words."""

    def __init__(self, task: Task) -> None:
        self._is_ready = False

    def exchange(self, packs: bytes, end: bool, seconds: float) -> Report:
        messages: list[dict[str, Any]] = []
        if not self._is_ready:
            messages, self._is_ready = [{"kind": "ready", "environment": {}}], True
        for line in packs.splitlines():
            pack = Pack.from_json(json.loads(line))
            lines = [encode(record) for record in make_records(pack)]
            lines.append(encode_line({"commit": len(pack.cells)}))
            counts = {"ok": len(pack.cells)}
            messages += [{"kind": "stored", "counts": counts, "lines": b"".join(lines)}]
        return Report(node="n", messages=messages, exit_reason="exit status 0" if end else None)

    def kill(self) -> Report:
        return Report(node="n", exit_reason="killed")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "_RayHost", ScriptedHost)


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines.replace(b'"real"', b'"rael"', 1), "came damaged"),
        (lambda lines: lines[:-9], "came damaged"),
        (lambda lines: b"", "is not of its pack"),
    ],
)
def test_records_that_come_damaged_are_not_stored_and_their_pack_is_trained_again(
    store: Store, change: Callable[[bytes], bytes], reason: str
) -> None:
    changed: list[bytes] = []

    def damage(name: str, result: Any) -> Any:
        for message in getattr(result, "messages", []):
            if message["kind"] == "stored" and not changed:
                changed.append(message["lines"])
                assert store.read().records == {}
                message["lines"] = change(message["lines"])
        return result

    events: list[Event] = []
    summary = run(store, FakeRay(damage), make_pack(), on_event=events.append)
    assert summary.ok == 2 and statuses(store) == {"good ok": 2}
    (retry,) = [event for event in events if event.kind == "retry"]
    assert retry.reason.endswith(reason)


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize(
    ("error", "dead_nodes", "reason"),
    [
        (ActorUnavailableError("no route"), set(), "its node is gone"),
        (ActorDiedError("a\nb"), {"here"}, "its node is gone"),
        (ActorDiedError("first line\nthe cause"), set(), "worker died: its actor died: the cause"),
        (GetTimeoutError(), set(), "its node does not answer"),
    ],
)
def test_the_end_of_a_node_is_told_from_that_of_an_actor(
    store: Store, error: Exception, dead_nodes: set[str], reason: str
) -> None:
    events: list[Event] = []
    ray = FakeRay(once(error))
    ray.dead_nodes = dead_nodes
    lost = reason.startswith("its node")
    retries = {"retries_on_death": 0} if lost else {}
    assert run(store, ray, make_pack(), on_event=events.append, **retries).ok == 2
    assert [event.reason for event in events if event.kind == "retry"] == [reason]


@pytest.mark.usefixtures("scripted")
def test_more_workers_than_a_process_may_have_files_open_by_default(store: Store) -> None:
    default = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, default[1]))
    try:
        packs = [make_pack("good", index) for index in range(100)]
        assert run(store, FakeRay(), *packs, workers=100).ok == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, default)


@pytest.mark.usefixtures("scripted")
def test_the_start_is_timed_from_the_first_report(store: Store) -> None:
    """A busy or growing cluster may have a place for an actor much later."""
    opened: list[float] = []

    def wait_for_a_place(name: str, result: Any) -> Any:
        if not opened:
            time.sleep(0.3)
            opened.append(time.monotonic())
        return result

    factory = RayWorkers(FakeRay(wait_for_a_place), stub_task(), CPU, store)
    worker = factory.start(0, 17.0)
    assert worker.deadline == float("inf")
    while not opened or worker.deadline == float("inf"):
        worker.receive()
        time.sleep(0.01)
    assert 0 < worker.deadline - opened[0] - 17.0 < 5
    worker.close()
    factory.close()


class FullRay(FakeRay):
    """Has room for one actor, and for all once there is `room`."""

    def __init__(self) -> None:
        super().__init__()
        self.room = threading.Event()
        self._first: Any = None
        self._calls: list[Any] = []  #: that wait

    def wait(self, calls: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if self._first is None:
            (self._first,) = calls
            return calls, []
        self._calls += calls
        return [], calls

    def get(self, call: Any, timeout: float | None = None) -> Any:
        if call in self._calls:
            assert self.room.wait(20)
        return super().get(call, timeout)


@pytest.mark.usefixtures("scripted")
def test_that_workers_wait_for_room_is_said_once_and_that_they_came_too(store: Store) -> None:
    notices: list[str] = []
    ray = FullRay()
    factory = RayWorkers(ray, stub_task(), CPU, store, notices.append)
    workers = [factory.start(0, 17.0)]

    def hear() -> int:
        for worker in workers:
            worker.receive()
        return len(notices)

    wait_until(lambda: hear() == 0 and workers[0].has_place)
    workers += [factory.start(slot, 17.0) for slot in (1, 2, 3)]
    wait_until(lambda: hear() == 1)
    ray.room.set()
    wait_until(lambda: hear() == 2)
    assert notices == [
        "3 of 4 workers wait for room in the cluster",
        "all 4 workers have room in the cluster now",
    ]
    workers.append(factory.start(4, 17.0))  # which waits too
    wait_until(lambda: hear() == 2 and workers[4].has_place)
    for worker in workers:
        worker.close()
    factory.close()


@pytest.mark.usefixtures("scripted")
def test_an_actor_that_cannot_be_made_ends_the_run_with_ray_s_reason(store: Store) -> None:
    def fail(name: str, result: Any) -> Any:
        raise InitFailedError("long\nModuleNotFoundError: No module named 'membench'")

    with pytest.raises(MembenchError, match=r"workers cannot start: .*No module named 'membench'"):
        run(store, FakeRay(fail), make_pack())


def test_a_node_with_another_membench_ends_the_run_and_stores_nothing(
    store: Store, node: Path
) -> None:
    with pytest.raises(MembenchError, match=r"node \S+: its membench is not the one"):
        run(store, FakeRay(), make_pack(), task=replace(stub_task(), code="another"))
    assert not store.folder.exists() and list(node.iterdir()) == []


def test_a_node_without_room_ends_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(MembenchError, match=r"node \S+: no scratch folder") as caught:
        run(store, FakeRay(), make_pack())
    assert caught.value.code is ExitCode.DISK


@pytest.mark.usefixtures("scripted")
def test_the_driver_s_full_disk_ends_the_run_and_acknowledges_nothing(store: Store) -> None:
    store.folder.write_text("a file")
    told: list[str] = []
    with pytest.raises(MembenchError, match="cannot write") as caught:
        run(store, FakeRay(), make_pack(), on_event=lambda event: told.append(event.kind))
    assert caught.value.code is ExitCode.DISK
    assert "stored" not in told


def test_of_progress_alone_a_host_tells_the_last_once_a_call_is_over() -> None:
    said = [["started"], [0.1], [0.2, 0.3], [0.4, "stored"]]
    worker = SimpleNamespace(alive=True, flush=lambda: None)
    host = Host.__new__(Host)

    def receive(worker: object) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for one in said.pop(0) if said else ():
            kind = one if isinstance(one, str) else "progress"
            messages.append({"kind": kind, "done": one})
        return messages

    host._receive = receive
    worker.readable_fds = worker.writable_fds = list
    worker.deadline = time.monotonic() + 0.01  # it is looked at again and again
    told = [[message["done"] for message in host._wait(worker, float("inf"))] for _ in range(2)]
    assert told == [["started"], [0.4, "stored"]]
    said += [[0.1], [0.2]]
    assert [message["done"] for message in host._wait(worker, time.monotonic() + 0.05)] == [0.2]


def test_a_host_that_nobody_calls_any_more_ends_with_its_worker(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(ray_host, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(os, "_exit", left.append)
    host = Host(stub_task())
    assert list(node.iterdir()) != []
    wait_until(lambda: left == [1])
    assert list(node.iterdir()) == []
    assert host.kill().exit_reason is not None  # what the end of its process does


def test_scratch_folders_of_hosts_that_were_killed_are_swept(node: Path) -> None:
    living = ray_host._make_scratch()
    dead = node / f"{ray_host.SCRATCH}dead"
    foreign = node / f"{ray_host.SCRATCH}without-a-lock"
    foreign.mkdir()
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "records").mkdir()
    ray_host.sweep()
    assert sorted(node.iterdir()) == sorted([living, foreign])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "client mode"),
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1 can be reached: .*Connection refused"),
    ],
)
def test_an_address_that_is_none_is_told_in_one_line(address: str, message: str) -> None:
    with pytest.raises(MembenchError, match=message):
        Cluster(address).ray.nodes()

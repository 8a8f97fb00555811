"""The seam: what the pool does with workers wherever they live; which GPU a local one sees."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.stub_workers import End
from support.stub_workers import Message
from support.stub_workers import StubWorker
from support.stub_workers import StubWorkers
from support.stub_workers import stored
from support.trainers import REPO
from support.trainers import local_workers
from support.trainers import make_pack

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution import pool
from membench.execution.local import visible_gpus
from membench.execution.pool import Elsewhere
from membench.execution.pool import run_packs
from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.execution.worker import worker_command
from membench.planning.packs import Pack
from membench.records import digest
from membench.store.store import Store

LOST = End(reason="its node is gone", host_lost=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def run(store: Store, factory: StubWorkers, *packs: Pack, **options: object) -> Summary:
    defaults = {"store": store, "workers": 2, "time_limit": 20.0}
    summary = run_packs(packs, factory=factory, **{**defaults, **options})
    assert all(worker.closed for _, worker in factory.started)
    return summary


def test_workers_of_any_factory_are_given_every_pack_once(store: Store) -> None:
    factory = StubWorkers()
    packs = [make_pack(index=i) for i in range(5)]
    assert run(store, factory, *packs).ok == 10
    given = Counter(pack for _, worker in factory.started for pack in worker.packs)
    assert given == Counter(pack.id for pack in packs)
    assert [slot for slot, _ in factory.started] == [0, 1]


@pytest.mark.parametrize(("losses", "ok"), [(3, 2), (4, 2), (5, 0)])
def test_a_pack_whose_worker_loses_its_machine_is_tried_three_times_more_than_a_pack_that_kills(
    store: Store, losses: int, ok: int
) -> None:
    """Three losses are not the pack's; the next one counts as a death, of which it may have one."""
    ends = [LOST] * losses
    events: list[Event] = []

    def script(worker: StubWorker, pack: Pack) -> Sequence[Message | End]:
        return [ends.pop()] if ends else stored(worker, pack)

    summary = run(store, StubWorkers(script=script), make_pack(), on_event=events.append)
    assert (summary.ok, summary.failed) == (ok, 2 - ok)
    assert events[0].reason == "its node is gone"
    assert [event.kind for event in events].count("retry") == min(losses, 4)


def test_machines_that_are_lost_before_their_workers_are_ready_do_not_end_the_run_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting = [[LOST]] * (2 * pool.MAX_START_FAILURES) + [[{"kind": "ready"}]]

    class Unlucky(StubWorkers):
        def start(self, slot: int, time_limit: float) -> StubWorker:
            self.greetings = {0: greeting.pop(0)}
            return super().start(slot, time_limit)

    assert run(store, Unlucky(), make_pack(), workers=1).ok == 2
    monkeypatch.setattr(pool, "MAX_START_LOSSES", 10)
    with pytest.raises(MembenchError, match=r"workers cannot start: .* its node is gone") as caught:
        run(store, StubWorkers(greetings={0: [LOST]}), make_pack(), workers=1)
    assert caught.value.code is ExitCode.INTERNAL


def ready(device: str) -> list[Message]:
    return [{"kind": "ready", "environment": {"device": device, "torch": "2"}}]


def test_workers_with_another_card_train_nothing_and_their_kind_is_named_once(store: Store) -> None:
    greetings = [ready("H100"), ready("A100"), ready("H100"), ready("A100")]
    factory = StubWorkers(greetings=dict(enumerate(greetings)))
    notices: list[str] = []
    packs = [make_pack(index=i) for i in range(6)]
    environment = {"device": "H100", "torch": "2"}
    options = {"environment": environment, "on_notice": notices.append, "workers": 4}
    assert run(store, factory, *packs, **options).ok == 12
    assert [len(worker.packs) > 0 for _, worker in factory.started] == [True, False, True, False]
    assert notices == [
        "worker 1 is not used, nor are others like it, since no row mixes environments: "
        "device is A100 there, H100 in this run"
    ]


HOME = {"device": "H100", "torch": "2"}


def elsewhere(*names: str) -> Callable[..., Elsewhere]:
    """Give packs of these entries, and of the baseline, to the first environment that is new."""
    given: list[str] = []

    def open_it(environment: dict[str, str], machine: object) -> Elsewhere:
        given.append(environment["device"])
        if len(given) > 1:
            return Elsewhere()
        packs = [make_pack(name, index) for name in ("none", *names) for index in range(3)]
        return Elsewhere([replace(pack, environment=digest(environment)) for pack in packs])

    return open_it


def test_two_kinds_of_workers_train_an_entry_each_and_both_the_baseline(store: Store) -> None:
    """A third kind comes too late; the worker of one dies, and what replaces it goes on."""
    greetings = {0: ready("H100"), 1: ready("A100"), 2: ready("B200")}
    deaths = [[End(reason="killed")]]

    def script(worker: StubWorker, pack: Pack) -> Sequence[Message | End]:
        return deaths.pop() if pack.environment and deaths else stored(worker, pack)

    factory = StubWorkers(greetings=greetings, script=script)
    notices: list[str] = []
    names = ("none", "mine", "theirs")
    packs = [make_pack(name, index) for name in names for index in range(3)]
    summary = run(
        store,
        factory,
        *packs,
        workers=3,
        environment=HOME,
        on_notice=notices.append,
        elsewhere=elsewhere("mine", "theirs"),
    )
    assert summary.ok == 2 * 3 * 4  # cells, packs, two baselines and two entries
    by_kind: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for slot, worker in factory.started:
        by_kind[slot] |= {pack.split("/")[2].partition("[")[0] for pack in worker.packs}
    assert by_kind[0] & by_kind[1] == {"none"} and by_kind[0] | by_kind[1] == {*names}
    assert not by_kind[2]
    assert [slot for slot, _ in factory.started] == [0, 1, 2, 1]
    (notice,) = notices
    assert "worker 2 is not used" in notice


def test_a_run_ends_where_no_worker_is_left_for_what_waits(store: Store) -> None:
    """The entry has records of a kind of machine that is gone."""
    factory = StubWorkers(greetings={0: ready("A100"), 1: ready("A100")})
    packs = [make_pack("mine"), make_pack("theirs")]
    options = {"environment": HOME, "elsewhere": elsewhere("mine", "theirs"), "begun": ["mine"]}
    with pytest.raises(MembenchError, match=r"1 packs are left .* that none has any more"):
        run(store, factory, *packs, **options)


def test_entries_that_have_records_here_are_not_trained_elsewhere(store: Store) -> None:
    factory = StubWorkers(greetings={0: ready("A100"), 1: ready("H100")})
    packs = [make_pack("mine", index) for index in range(3)]
    options = {"environment": HOME, "elsewhere": elsewhere("mine"), "begun": ["mine"]}
    assert run(store, factory, *packs, **options).ok == 6
    assert [worker.packs != [] for _, worker in factory.started] == [False, True]


def test_the_run_ends_where_no_worker_has_its_environment(store: Store) -> None:
    factory = StubWorkers(greetings={0: ready("A100"), 1: ready("A100")})
    environment = {"device": "H100", "torch": "2"}
    with pytest.raises(MembenchError, match="no worker has the environment that was planned"):
        run(store, factory, make_pack(), make_pack(index=1), environment=environment)
    assert not any(worker.packs for _, worker in factory.started)


def test_an_idle_worker_is_let_go_and_another_is_started_for_what_follows(store: Store) -> None:
    followed: list[Pack] = []

    def script(worker: StubWorker, pack: Pack) -> Sequence[Message | End]:
        if pack.program[2] == "slow":
            threading.Timer(0.3, lambda: worker.say(stored(worker, pack))).start()
            return []
        return stored(worker, pack)

    def follow_up(pack: Pack) -> list[Pack]:
        if pack.program[2] == "slow" and not followed:
            followed.extend(make_pack("good", index) for index in (7, 8))
            return followed
        return []

    factory = StubWorkers(script=script, idle_seconds=0.05)
    assert run(store, factory, make_pack(), make_pack("slow"), follow_up=follow_up).ok == 8
    assert [slot for slot, _ in factory.started] == [0, 1, 0]
    first = factory.started[0][1]
    assert first.timed_out and not first.packs[1:]


@pytest.mark.parametrize(
    ("environ", "device_count", "gpus"),
    [
        ({}, 0, ()),
        ({}, 2, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, 2, ("3", "1")),  # Slurm's part of a node
        ({"CUDA_VISIBLE_DEVICES": " 3 , 1"}, 2, ("3", "1")),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, 2, ("0", "1")),  # one that is not there
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, 1, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, ()),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932,GPU-1f3a"}, 2, ("GPU-8932", "GPU-1f3a")),
        # of several instances a process sees one, so torch counts one
        ({"CUDA_VISIBLE_DEVICES": "MIG-41,MIG-7c"}, 1, ("MIG-41", "MIG-7c")),
    ],
)
def test_workers_are_pinned_to_the_gpus_that_are_visible(
    environ: dict[str, str], device_count: int, gpus: tuple[str, ...]
) -> None:
    assert visible_gpus(environ, device_count) == gpus


def test_each_worker_sees_the_gpu_of_its_slot_and_so_does_the_one_that_replaces_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{REPO / 'tests'}")
    monkeypatch.setenv("POOL_TEST_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    command = worker_command(store.folder, device="cpu", trainer="support.trainers:train")
    gpus = visible_gpus(os.environ, device_count=1)
    slots: dict[str, int] = {}

    def note(event: Event) -> None:
        slots[event.pack.id] = event.worker

    packs = [make_pack("show-gpus", index) for index in range(5)]
    factory = local_workers(command, gpus=gpus)
    summary = run_packs(
        packs, store=store, factory=factory, workers=3, time_limit=20, on_event=note
    )
    assert summary.ok == 10
    seen = {}
    for line in (tmp_path / "notes").read_text().splitlines():
        _, seed, width, gpu = line.split(" ")
        seen[f"{seed} {width}"] = gpu
    assert seen == {pack: ("MIG-a", "MIG-b", "MIG-a")[slot] for pack, slot in slots.items()}
    assert set(slots.values()) == {0, 1, 2}

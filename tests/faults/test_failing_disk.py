"""Every call by which the store changes files fails in turn, or is the last before a power loss.

What was acknowledged before stays, the error is that of a disk, and the same action succeeds when
the disk works again (R1, R6).
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from support.faulty_disk import Fault
from support.faulty_disk import FaultyDisk
from support.faulty_disk import Killed
from support.stored_records import make_record

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Manifest
from membench.store.counted import Counted
from membench.store.counted import read_counted
from membench.store.counted import record_counted
from membench.store.data_hashes import read_hashes
from membench.store.data_hashes import record_hashes
from membench.store.decisions import read_decisions
from membench.store.decisions import record_decision
from membench.store.store import Store

Rehearsal = tuple[Store, FaultyDisk]
Rehearse = Callable[[], AbstractContextManager[Rehearsal]]

MACHINE = {"device": "cpu"}
BEFORE = Manifest("tiny", 1, (), (), (), (), {}, {}, (), {})
AFTER = replace(BEFORE, commit="later")
OLD = [make_record(0), make_record(1, status="failed"), make_record(2)]
NEW = [make_record(1), make_record(3), make_record(4)]


def prepare(store: Store) -> None:
    """Leave merged files, a shard, a torn one, and the smaller files beside both."""
    with store.writer() as writer:
        writer.append(OLD[:1])
    store.write_manifest(BEFORE)
    record_hashes(store, {"digits": "a"})
    store.merge()
    with store.writer() as writer:
        writer.append(OLD[1:])
    with store.writer() as writer:
        writer.append([make_record(9)])
        os.truncate(writer.path, 100)


def append(store: Store, told: set[str]) -> None:
    with store.writer() as writer:
        for record in NEW:
            writer.append([record])
            told.add(record.key)


def keep_all(store: Store, told: set[str]) -> None:
    store.join_manifest(AFTER, lambda there, here: here)
    record_decision(store, MACHINE, "digits/mlp", {"compiled": True})
    record_hashes(store, {"digits": "b"})
    record_counted(store, Counted(("e",)))


def merge(store: Store, told: set[str]) -> None:
    store.merge()


def drop(store: Store, told: set[str]) -> None:
    told.discard(OLD[0].key)
    store.drop({OLD[0].key})


#: What is done to a store. It is given the keys that were acknowledged, and notes what it changes.
Action = Callable[[Store, set[str]], None]
ACTIONS: dict[str, Action] = {"append": append, "keep": keep_all, "merge": merge, "drop": drop}


def slow(value: object) -> ParameterSet:
    return pytest.param(value, marks=pytest.mark.slow)


#: A disk that fails at an append is in the default suite, the rest takes a minute.
NAMES = ["append", *map(slow, ("keep", "merge", "drop"))]


def state(store: Store) -> tuple[object, ...]:
    """What a reader finds: cells with their status, and the smaller files."""
    contents = store.read()
    cells = {key: record.status for (key, _), record in contents.records.items()}
    decisions = read_decisions(store, MACHINE)
    hashes, counted = read_hashes(store), read_counted(store)
    return cells, store.manifests(), decisions, hashes, counted


def check_nothing_is_lost(store: Store, told: set[str]) -> None:
    contents = store.read()
    statuses = {key: record.status for (key, _), record in contents.records.items()}
    assert told <= statuses.keys() <= {record.key for record in (*OLD, *NEW)}
    for record in OLD:
        if record.key in told:
            assert statuses[record.key] in (record.status, "ok")
    assert store.manifests()["tiny"] in (BEFORE, AFTER)
    assert read_hashes(store)["digits"] in ("a", "b")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(Store(folder / "records"))
    return folder


@pytest.fixture
def rehearse(prepared: Path, tmp_path: Path) -> Rehearse:
    """Make a store as `prepare` leaves it, on a disk that may fail."""
    numbers = count()

    @contextmanager
    def rehearse() -> Iterator[Rehearsal]:
        folder = tmp_path / str(next(numbers))
        shutil.copytree(prepared, folder)
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(folder, patch)
            yield Store(folder / "records"), disk
            disk.close()

    return rehearse


def expected_state(rehearse: Rehearse, act: Action) -> tuple[object, ...]:
    """The state after the action on a disk that works, merged."""
    with rehearse() as (store, _):
        act(store, set())
        store.merge()
        return state(store)


@pytest.mark.parametrize("part", [0.5, slow(0.0)])
@pytest.mark.parametrize("number", [errno.EIO, slow(errno.ENOSPC), slow(errno.EROFS)])
@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_refuses_any_call_is_named_and_the_same_action_succeeds_later(
    name: str, number: int, part: float, rehearse: Rehearse
) -> None:
    act = ACTIONS[name]
    expected = expected_state(rehearse, act)
    for k in range(1, 1000):
        with rehearse() as (store, disk):
            told = {record.key for record in OLD}
            failed = False
            with disk.failing(Fault(at=k, number=number, part=part)):
                try:
                    act(store, told)
                except MembenchError as error:
                    failed = True
                    assert error.code is ExitCode.DISK
                    assert os.strerror(number) in str(error)
            reached = disk.calls >= k
            check_nothing_is_lost(store, told)
            if failed:
                act(store, told)
            store.merge()
            assert state(store) == expected
            assert {path.suffix for path in store.shards.iterdir()} <= {"", ".torn"}
        if not reached:
            break
    assert k > 8


@pytest.mark.parametrize("keep", [0, slow(1)])
@pytest.mark.parametrize("name", NAMES)
def test_after_a_loss_of_power_at_any_call_everything_acknowledged_is_there(
    name: str, keep: int, rehearse: Rehearse
) -> None:
    """Whether the disk has nothing of what was not synced (`keep` = 0), or all of it."""
    act = ACTIONS[name]
    expected = expected_state(rehearse, act)
    for k in range(1, 1000):
        with rehearse() as (store, disk):
            told = {record.key for record in OLD}
            done = False
            with disk.failing(Fault(at=k, part=0.5)), suppress(Killed):
                act(store, told)
                done = True
            disk.lose_power(lambda most, keep=keep: keep * most)
            check_nothing_is_lost(store, told)
            if not done:
                act(store, told)
            store.merge()
            assert state(store) == expected
        if done:
            break
    assert k > 8


def test_a_folder_whose_maker_was_killed_before_its_name_was_durable_is_made_durable_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk(tmp_path, monkeypatch)
    store = Store(tmp_path / "board" / "records")
    for k in range(1, 20):
        with disk.failing(Fault(at=k)):
            try:
                store.writer().close()
                break
            except Killed:
                continue
    assert k > 4
    with store.writer() as writer:
        writer.append(OLD)
    disk.lose_power(lambda most: 0)
    assert len(store.read().records) == len(OLD)
    disk.close()

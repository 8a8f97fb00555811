"""A folder that machines share, by a file system whose locks end at each of them.

Both are simulated in this process: a test says which one acts, and no lock holds anything back.
"""

from __future__ import annotations

import fcntl
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.stored_records import make_record
from test_store import make_manifest

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Manifest
from membench.store import store as store_module
from membench.store.store import Store

Become = Callable[[str], None]
SEEDS = list(range(20))


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Become:
    """Let no lock reach anywhere, and say which machine acts from now on."""
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: None)

    def become(name: str) -> None:
        monkeypatch.setattr(platform, "node", lambda: name)

    become("one")
    return become


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def stored(store: Store) -> list[int]:
    return sorted(record.seed for record in store.read().records.values())


def write(store: Store, seeds: list[int]) -> None:
    """Write and end, as a run does, without the merge."""
    with store.writer() as writer:
        writer.append([make_record(seed) for seed in seeds])


def test_a_merge_takes_no_shard_of_a_machine_that_goes_on_writing(
    store: Store, become: Become
) -> None:
    with store.writer() as writer:
        writer.append([make_record(seed) for seed in SEEDS[:5]])
        become("two")
        write(store, SEEDS[5:15])
        assert store.other_hosts() == ["one"]
        assert store.merge() == 0
        become("one")
        writer.append([make_record(seed) for seed in SEEDS[15:]])
    assert stored(store) == SEEDS
    assert store.merge() == 0  # the other machine has left its shard
    assert store.merge(all_hosts=True) == 2
    assert stored(store) == SEEDS
    assert not list(store.shards.glob("*.jsonl"))


def test_a_writer_whose_shard_is_taken_all_the_same_acknowledges_nothing_more(
    store: Store, become: Become
) -> None:
    with store.writer() as writer:
        writer.append([make_record(seed) for seed in SEEDS[:10]])
        become("two")
        assert store.merge(all_hosts=True) == 1
        become("one")
        with pytest.raises(MembenchError, match="was removed while it was written") as caught:
            writer.append([make_record(seed) for seed in SEEDS[10:]])
    assert caught.value.code is ExitCode.DISK
    assert stored(store) == SEEDS[:10]


def test_a_folder_that_is_removed_during_a_run_is_an_error_of_the_disk(store: Store) -> None:
    with store.writer() as writer:
        writer.path.unlink()
        with pytest.raises(MembenchError, match=r"its last 1 records are lost; start again"):
            writer.append([make_record()])
        with pytest.raises(MembenchError, match="a write failed before"):
            writer.append([make_record()])


@pytest.mark.parametrize("has_shards", [True, False])
def test_of_two_machines_that_merge_at_once_one_goes_on_and_nothing_is_lost(
    store: Store, become: Become, monkeypatch: pytest.MonkeyPatch, has_shards: bool
) -> None:
    """The second begins and ends between what the first has read and what it writes."""
    write(store, SEEDS[:5])
    store.merge()
    if has_shards:
        write(store, SEEDS[5:10])
    begun = []
    real = store_module.deduplicate

    def merge_meanwhile(records: object) -> object:
        kept = real(records)
        if not begun:
            begun.append("two")
            become("two")
            write(store, SEEDS[10:])
            assert store.merge() == 0
            become("one")
        return kept

    monkeypatch.setattr(store_module, "deduplicate", merge_meanwhile)
    assert store.merge() == has_shards
    assert stored(store) == (SEEDS if has_shards else [*SEEDS[:5], *SEEDS[10:]])


def test_records_are_not_dropped_while_another_machine_has_a_shard(
    store: Store, become: Become
) -> None:
    write(store, SEEDS[:5])
    become("two")
    with pytest.raises(MembenchError, match=r"one has records in .*`membench merge --out"):
        store.drop({make_record(0).key})
    become("one")
    assert store.drop({make_record(0).key}) == 1
    assert stored(store) == SEEDS[1:5]


def test_a_pack_that_another_machine_is_writing_is_not_called_torn(
    store: Store, become: Become
) -> None:
    write(store, SEEDS[:5])
    (path,) = store.shards.glob("*.jsonl")
    with path.open("ab") as shard:
        shard.write(b'{"half a line')
    assert store.read().torn == 1
    become("two")
    assert store.read().torn == 0


def test_a_manifest_that_another_machine_writes_meanwhile_is_joined_too(
    store: Store, become: Become
) -> None:
    first = replace(make_manifest(), cells={"a": "1"})
    mine, theirs = replace(first, cells={"b": "2"}), replace(first, cells={"c": "3"})
    store.write_manifest(first)
    calls = []

    def join(there: Manifest, here: Manifest) -> Manifest:
        calls.append(there)
        if len(calls) == 1:
            become("two")
            store.join_manifest(theirs, join)
            become("one")
        return replace(here, cells={**there.cells, **here.cells})

    assert store.join_manifest(mine, join).cells == {"a": "1", "b": "2", "c": "3"}
    assert store.manifests()["smoke"].cells == {"a": "1", "b": "2", "c": "3"}


def test_a_file_that_another_machine_is_about_to_rename_is_left(
    store: Store, become: Become
) -> None:
    write(store, SEEDS[:1])
    of_one = store.shards / ".smoke.plan.json.one-7.tmp"
    of_two = store.shards / ".smoke.plan.json.two-7.tmp"
    for path in (of_one, of_two):
        path.touch()
    store.merge()
    assert (of_one.exists(), of_two.exists()) == (False, True)
    write(store, SEEDS[1:2])
    store.merge(all_hosts=True)
    assert not of_two.exists()

"""Hashes of data sets beside the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.store.data_hashes import read_hashes
from membench.store.data_hashes import record_hashes
from membench.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def test_a_later_hash_replaces_one_of_the_same_name_only(store: Store) -> None:
    assert read_hashes(store) == {}
    record_hashes(store, {"dots": "a", "lines": "b"})
    record_hashes(store, {"dots": "c"})
    assert read_hashes(store) == {"dots": "c", "lines": "b"}


def test_equal_hashes_leave_the_merged_file_alone(store: Store) -> None:
    record_hashes(store, {"dots": "a"})
    store.merge()
    assert (store.folder / "datasets.json").read_text() == '{\n "dots": "a"\n}\n'
    record_hashes(store, {"dots": "a"})
    assert not (store.shards / "datasets.json").exists()


def test_a_damaged_file_is_named(store: Store) -> None:
    store.folder.mkdir()
    (store.folder / "datasets.json").write_text("{")
    with pytest.raises(MembenchError, match=r"datasets\.json is damaged") as raised:
        read_hashes(store)
    assert raised.value.code == ExitCode.STORE

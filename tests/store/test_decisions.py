"""Decisions: what was measured first is obeyed, whoever measured it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.store.decisions import machine_of
from membench.store.decisions import read_decisions
from membench.store.decisions import record_decision
from membench.store.store import Store

MACHINE = {"device": "cpu of an abacus", "torch": "2"}
FAST = {"precision": "medium", "bfloat16_speed": 1.9}
SLOW = {"precision": "highest", "bfloat16_speed": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def test_a_decision_is_read_as_it_was_recorded_by_task_and_machine(store: Store) -> None:
    assert read_decisions(store, MACHINE) == {}
    assert record_decision(store, MACHINE, "dots/mlp", FAST) == FAST
    assert record_decision(store, MACHINE, "dots/cnn", SLOW) == SLOW
    other = {**MACHINE, "torch": "3"}
    assert record_decision(store, other, "dots/mlp", SLOW) == SLOW
    assert read_decisions(store, MACHINE) == {"dots/mlp": FAST, "dots/cnn": SLOW}
    assert read_decisions(store, other) == {"dots/mlp": SLOW}


def test_the_first_decision_stays(store: Store) -> None:
    record_decision(store, MACHINE, "dots/mlp", FAST)
    assert record_decision(store, MACHINE, "dots/mlp", SLOW) == FAST
    assert read_decisions(store, MACHINE) == {"dots/mlp": FAST}


def test_a_second_field_is_added_to_the_first(store: Store) -> None:
    record_decision(store, MACHINE, "dots/mlp", FAST)
    both = {**FAST, "compiled": False}
    assert record_decision(store, MACHINE, "dots/mlp", {"compiled": False}) == both
    assert read_decisions(store, MACHINE) == {"dots/mlp": both}


def test_the_file_names_the_machine_and_nothing_is_left_beside_it(store: Store) -> None:
    record_decision(store, MACHINE, "dots/mlp", FAST)
    assert not (store.folder / "decisions.json").exists()  # git keeps that one
    store.merge()
    assert not (store.shards / "decisions.json").exists()
    (entry,) = json.loads((store.folder / "decisions.json").read_text()).values()
    assert entry == {"machine": MACHINE, "tasks": {"dots/mlp": FAST}}
    assert not list(store.folder.rglob("*.tmp"))
    assert store.read().records == {} and store.manifests() == {}


def test_a_machine_is_an_environment_without_what_is_decided_and_a_processor() -> None:
    environment = {**MACHINE, "precision": "medium", "compiled": True, "captured": False}
    assert machine_of(environment, "Abacus 5") == {**MACHINE, "processor": "Abacus 5"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '{"a": {"tasks": {"b": 2}}}'])
def test_a_damaged_file_is_named(store: Store, text: str) -> None:
    store.folder.mkdir()
    (store.folder / "decisions.json").write_text(text)
    with pytest.raises(MembenchError, match=r"decisions.json is damaged") as raised:
        read_decisions(store, MACHINE)
    assert raised.value.code is ExitCode.STORE

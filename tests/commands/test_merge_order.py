"""Shards joined in any order, at once or by and by, once or again: the bytes are the same."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from functools import cache
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support import boards
from support.cli import Cli

from membench.commands.merge import read_source
from membench.commands.merge import take_in
from membench.planning.plan import BASELINES
from membench.records import Manifest
from membench.records import Record
from membench.store.decisions import machine_of
from membench.store.decisions import record_decision
from membench.store.joining import join_manifests
from membench.store.store import Store

NAMES = ("dropout", "mixup", "label-smoothing", "placebo")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what it holds after a crash is not asked here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@cache
def board() -> tuple[Manifest, list[Record]]:
    plan = boards.manifest(
        suite="made-up", tasks=("mnist5k/mlp",), choosing=(0,), confirming=(1,), images=8
    )
    entries = sorted(plan.entries, key=lambda entry: (entry.name != "none", entry.name))
    ids = sorted(plan.cells)[::6]  # merging does not ask whether a row is complete
    cells = {cell_id: plan.cells[cell_id] for cell_id in ids}
    plan = replace(plan, entries=tuple(entries), cells=cells)
    return plan, boards.records(plan, images=8)


def shard(names: set[str]) -> tuple[Manifest, list[Record]]:
    """Return a part of the board: these entries and the baseline."""
    plan, records = board()
    kept = {*names, *BASELINES}
    records = [record for record in records if record.regularizer in kept]
    ids = {record.id for record in records}
    return replace(
        plan,
        entries=tuple(entry for entry in plan.entries if entry.name in kept),
        cells={cell_id: key for cell_id, key in plan.cells.items() if cell_id in ids},
    ), records


def write(folder: Path, plan: Manifest, records: list[Record]) -> Path:
    store = Store(folder / "records")
    with store.writer() as writer:
        writer.append(records)
    store.write_manifest(plan)
    return folder


def merged(folder: Path, *steps: list[Path]) -> dict[str, bytes]:
    """Join folders into one, each step by itself, and return the files that git keeps."""
    store = Store(folder / "records")
    for step in steps:
        take_in(store, [read_source(one) for one in step])
    return {path.name: path.read_bytes() for path in store.folder.glob("*.json*")}


#: of every record of a shard: what two machines may say otherwise about the same cell
CHANGES = (
    {"seconds": 1.5, "pack": "x1"},
    {"seconds": 2.5, "pack": "x2", "reason": "another"},
    {"status": "failed", "reason": "died", "train": ()},
    {"val": (0.25,)},  # a conflict
)
SHARDS = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES)), st.lists(st.sampled_from(CHANGES), max_size=2)),
    min_size=1,
    max_size=4,
)


@given(SHARDS, st.randoms(use_true_random=False), st.data())
@settings(max_examples=10, deadline=None)
def test_no_order_grouping_or_repetition_changes_a_byte(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[tuple[set[str], list[dict[str, object]]]],
    rng: random.Random,
    data: st.DataObject,
) -> None:
    base = tmp_path_factory.mktemp("orders")
    folders = []
    for number, (names, changes) in enumerate(shards):
        plan, records = shard(names)
        for change in changes:  # of some of the cells
            records += [replace(one, **change) for one in records[:: number + 2]]
        folders.append(write(base / str(number), plan, records))
    at_once = merged(base / "at once", folders)
    turned = rng.sample(folders, len(folders))
    assert merged(base / "turned", turned) == at_once
    cut = data.draw(st.integers(0, len(turned)))
    steps = [step for step in (turned[:cut], turned[cut:], turned[:1]) if step]
    assert merged(base / "by and by", *steps) == at_once
    parts = [[folder] for folder in turned]
    assert merged(base / "by and by", *parts) == at_once  # all of them again


def test_the_shards_of_a_board_are_the_board(tmp_path: Path) -> None:
    plan, records = board()
    whole = write(tmp_path / "whole", plan, records)
    Store(whole / "records").merge()
    parts = [{"dropout", "placebo"}, {"mixup"}, {"label-smoothing"}]
    folders = [write(tmp_path / str(i), *shard(part)) for i, part in enumerate(parts)]
    assert merged(tmp_path / "joined", folders) == merged(whole)


@given(
    st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_joining_plans_is_idempotent_and_takes_any_order(
    parts: list[set[str]], rng: random.Random
) -> None:
    def join(one: Manifest, other: Manifest) -> Manifest:
        return join_manifests(one, other, "there")

    plans = [shard(part)[0] for part in parts]
    joined = reduce(join, plans, plans[0])
    assert reduce(join, rng.sample(plans, len(plans))).to_json() == joined.to_json()
    assert join(joined, rng.choice(plans)) == joined
    assert joined == join(shard(set().union(*parts))[0], plans[0])


def test_a_measurement_takes_the_place_of_what_failed_here(tmp_path: Path) -> None:
    plan, records = board()
    failed = [replace(one, status="failed", reason="died", train=()) for one in records]
    folders = [write(tmp_path / "failed", plan, failed), write(tmp_path / "whole", plan, records)]
    merged(tmp_path / "board", *([folder] for folder in folders))
    statuses = {r.status for r in Store(tmp_path / "board" / "records").read().records.values()}
    assert statuses == {"ok"}


def test_measurements_that_differ_are_both_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, records = board()
    other = [replace(records[0], val=(0.25,)), *records[1:]]
    folders = [write(tmp_path / "one", plan, records), write(tmp_path / "two", plan, other)]
    merged(tmp_path / "board", folders)
    said = f"1 cells have measurements in one environment that differ, {records[0].id} for one"
    assert said in capsys.readouterr().out
    (conflict,) = Store(tmp_path / "board" / "records").read().conflicts
    assert [conflict.kept, *conflict.others] in (records[:1] + other[:1], other[:1] + records[:1])


def test_which_decision_is_obeyed_follows_from_the_folders_and_not_from_their_order(
    tmp_path: Path,
) -> None:
    folders = []
    for name, precision in (("one", "medium"), ("two", "highest")):
        folders.append(write(tmp_path / name, *shard({"dropout"})))
        store = Store(tmp_path / name / "records")
        record_decision(store, machine_of({}, "cpu"), "mnist5k/mlp", {"precision": precision})
    once = merged(tmp_path / "a", folders)
    assert b"precision" in once["decisions.json"]
    assert merged(tmp_path / "b", folders[::-1]) == once


def test_whole_packs_of_a_torn_shard_are_taken_and_the_folder_is_left_as_it_is(
    tmp_path: Path,
) -> None:
    plan, records = board()
    store = Store(tmp_path / "torn" / "records")
    with store.writer() as writer:
        writer.append(records[:-2])
        writer.append(records[-2:])
    store.write_manifest(plan)
    writer.path.write_bytes(writer.path.read_bytes()[:-5])
    before = writer.path.read_bytes()
    merged(tmp_path / "board", [tmp_path / "torn"])
    taken = Store(tmp_path / "board" / "records").read().records.values()
    assert {record.id for record in taken} == {record.id for record in records[:-2]}
    assert writer.path.read_bytes() == before


def test_without_a_folder_what_other_machines_left_in_the_board_s_own_is_merged(
    cli: Cli, tmp_path: Path
) -> None:
    plan, records = board()
    store = Store(write(tmp_path / "shared", plan, records) / "records")
    (path,) = store.shards.glob("*.jsonl")
    path.rename(path.with_name("elsewhere-1-0123abcd.jsonl"))
    assert store.merge() == 0
    code, out, err = cli("merge", "--out", "shared")
    assert (code, err) == (0, "")
    assert "the whole board: shared/README.md" in out
    assert not list(store.shards.glob("*.jsonl"))
    assert len(store.read().records) == len(records)
    code, _, err = cli("merge", "--out", "nowhere")
    assert (code, "no run has been recorded in nowhere" in err) == (4, True)

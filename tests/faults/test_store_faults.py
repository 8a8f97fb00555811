"""Faults of the files of a store: each is reported in one line, and gives no wrong value."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli import REPO
from support.stored_records import make_record
from support.trainers import make_pack
from support.trainers import make_records

from membench.commands.training import Acknowledged
from membench.commands.training import TrainingOutcome
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.files import host_name
from membench.records import Manifest
from membench.records import Record
from membench.store.shards import FileContents
from membench.store.shards import encode
from membench.store.shards import encode_line
from membench.store.shards import read_merged
from membench.store.shards import read_shard
from membench.store.store import LINE_COUNTS
from membench.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def write(store: Store, *packs: list[Record]) -> Path:
    with store.writer() as writer:
        for pack in packs:
            writer.append(pack)
    return writer.path


def test_any_flipped_bit_of_a_commit_line_is_damage_and_costs_its_pack_alone(store: Store) -> None:
    """Its line end too, also at the end of the shard, where a torn pack would end."""
    path = write(store, [make_record(0)], [make_record(1), make_record(2)], [make_record(3)])
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for last in (5, 7):  # of the pack in the middle, and of the last one
        end = len(b"".join(lines[:last]))
        for at in range(end - len(lines[last - 1]), end):
            for bit in range(8):
                flipped = bytearray(data)
                flipped[at] ^= 1 << bit
                part = read_shard(path, bytes(flipped))
                assert part.damaged
                assert not part.torn
                seeds = [record.seed for record in part.records]
                assert seeds[:1] == [0]
                assert set(seeds) < {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("reader", [read_shard, read_merged])
def test_every_flipped_bit_of_a_file_is_told_as_damage_and_gives_no_other_record(
    store: Store, reader: Callable[[Path, bytes], FileContents]
) -> None:
    records = [make_record(seed) for seed in range(4)]
    path = write(store, records[:2], records[2:3], records[3:])
    data = path.read_bytes()
    if reader is read_merged:
        data = b"".join(map(encode, records))
    kept = 0
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        part = reader(path, bytes(flipped))
        assert part.damaged
        assert not part.torn
        assert len(part.records) < len(records)
        assert all(record in records for record in part.records)
        kept += len(part.records)
    print(
        f"{8 * len(data)} of {8 * len(data)} flips told, {kept / (8 * len(data)):.1f} records kept"
    )


def test_a_merge_sets_no_acknowledged_pack_aside_as_torn(store: Store) -> None:
    """It is damage, which is told; its bytes are kept."""
    path = write(store, [make_record(0)], [make_record(1)])
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    (told,) = store.read().warnings
    assert f"{path.name}:4 is damaged" in told
    store.merge()
    lines = bytes(data).splitlines(keepends=True)
    assert path.with_suffix(".damaged").read_bytes() == b"".join(lines[2:])
    assert not list(store.shards.glob("*.torn"))


def test_garbage_in_a_live_shard_costs_its_pack_alone_and_news_go_on(store: Store) -> None:
    """As a plugin appends it to the shard of its worker, or of another."""
    news = store.news()
    with store.writer() as writer:
        writer.append([make_record(0)])
        with open(writer.path, "ab") as other:
            other.write(b"garbage\n" * 3)
        writer.append([make_record(1)])
        writer.append([make_record(2)])
        assert [record.seed for record in news.read()] == [0, 2]
        contents = store.read()
        assert [record.seed for record in contents.records.values()] == [0, 2]
        assert "does not match; the cells of its pack (lines 3 to 7)" in contents.warnings[0]
        store.merge()  # its writer lives: it stays
    store.merge()
    assert [record.seed for record in store.read().records.values()] == [0, 2]


def test_acknowledged_cells_whose_shard_is_damaged_are_counted_and_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = make_pack()
    acknowledged = Acknowledged()
    acknowledged.on_event(Event(kind="stored", worker=0, pack=pack, done=1.0))
    path = write(store, make_records(pack))
    assert acknowledged.check(store) == 0
    path.write_bytes(b"garbage\n" + path.read_bytes())
    assert acknowledged.check(store) == 2
    assert f"2 cells that were stored do not count, {pack.cells[0].id} for one" in (
        capsys.readouterr().err
    )
    outcome = TrainingOutcome(Summary(ok=2, damaged=2), failed_before=0)
    assert outcome.exit_code(problems=False) is ExitCode.STORE


def test_reports_go_on_where_a_shard_is_damaged_and_say_so(store: Store, cli: Callable) -> None:
    plan = Manifest("s", 1, (), (), (), (), {}, {}, (), {}).to_json()
    path = write(store, [make_record(0)])
    (store.folder / "s.plan.json").write_text(json.dumps(plan))
    path.write_bytes(path.read_bytes() + b"garbage\n")
    code, out, _ = cli("status", "--out", str(store.folder.parent))
    assert code == ExitCode.OK
    assert f"{path.name}:3 is damaged" in out.replace("\n", "")
    _, _, err = cli("report", "--out", str(store.folder.parent))
    assert f"{path.name}:3 is damaged" in err


def test_zeros_that_a_loss_of_power_leaves_are_a_torn_pack(store: Store) -> None:
    path = write(store, [make_record(0)])
    line = encode(make_record(1))
    for tail in (bytes(3000), line[:20] + bytes(len(line)) + b"\n" + line):
        part = read_shard(path, path.read_bytes() + tail)
        assert (len(part.records), part.damaged, part.torn) == (1, [], tail)


def test_lines_that_are_gone_from_a_merged_file_are_counted_until_the_next_merge(
    store: Store,
) -> None:
    write(store, [make_record(seed, key=f"0{seed}") for seed in range(5)])
    write(store, [make_record(5, key="1f")])
    store.merge()
    assert store.read().missing == ()
    path = store.folder / "0.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:3]))
    (store.folder / "1.jsonl").unlink()
    first, second = store.read().missing
    assert "0.jsonl has 2 of the 5 lines" in first
    assert "1.jsonl has 0 of the 1 lines" in second
    store.merge()
    assert store.read().missing == ()
    store.drop({"04"})
    assert store.read().missing == ()


def test_a_store_from_before_lines_were_counted_is_whole(store: Store) -> None:
    write(store, [make_record(0)])
    store.merge()
    for content in (None, "", "[" * 100_000, "3"):
        (store.folder / LINE_COUNTS).unlink(missing_ok=True)
        if content is not None:
            (store.folder / LINE_COUNTS).write_text(content)
        assert store.read().missing == ()


def test_cells_that_were_stored_and_are_gone_end_the_run_with_exit_code_11(store: Store) -> None:
    """As by `git clean -fdX` in mid-run, after which no worker has anything more to write."""
    pack = make_pack()
    acknowledged = Acknowledged()
    acknowledged.on_event(Event(kind="stored", worker=0, pack=pack, done=1.0))
    path = write(store, make_records(pack))
    acknowledged.check(store)
    store.merge()
    acknowledged.check(store)
    assert not path.exists()
    (store.folder / f"{pack.keys[1][0]}.jsonl").unlink()
    message = rf"cells that were stored in .* are gone, {re.escape(pack.cells[1].id)} for one"
    with pytest.raises(MembenchError, match=message) as raised:
        acknowledged.check(store)
    assert raised.value.code is ExitCode.DISK


#: What may be in a file's place, each with what is said of it.
ODD: dict[str, Callable[[Path], object]] = {
    "it is a folder": Path.mkdir,
    "it is a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
    "symbolic links": lambda path: path.symlink_to(path.name),
    "it is no file": os.mkfifo,  # would hang who opens it
}


@pytest.mark.parametrize("reason", ODD)
@pytest.mark.parametrize("name", ["0.jsonl", "smoke.plan.json", f"shards/{host_name()}-1-a.jsonl"])
def test_what_is_no_file_in_the_place_of_one_is_named(store: Store, name: str, reason: str) -> None:
    write(store, [make_record(0)])
    ODD[reason](store.folder / name)
    for look in (store.read, store.manifests, store.merge):
        if (name == "smoke.plan.json") != (look == store.manifests):
            continue
        with pytest.raises(MembenchError, match=rf"{name}: .*{reason}") as raised:
            look()
        assert raised.value.code is ExitCode.STORE


@pytest.mark.parametrize("name", ["0.jsonl", "smoke.plan.json"])
def test_commands_say_so_in_one_line_and_exit_with_10(
    name: str, store: Store, cli: Callable
) -> None:
    write(store, [make_record(0)])
    os.mkfifo(store.folder / name)
    for command in ("status", "report"):
        code, _, err = cli(command, "--out", str(store.folder.parent))
        assert code == ExitCode.STORE
        assert err.splitlines()[-1].startswith(f"membench: cannot read {store.folder / name}")


@pytest.mark.parametrize("change", [{"cells": None}, {"tasks": {}}, {"suite": 3}, {"entries": 1}])
def test_a_plan_with_a_field_of_another_type_is_damaged(
    store: Store, change: dict[str, object]
) -> None:
    plan = Manifest("s", 1, (), (), (), (), {}, {}, (), {}).to_json()
    store.folder.mkdir()
    path = store.folder / "s.plan.json"
    path.write_text(json.dumps(plan))
    assert list(store.manifests()) == ["s"]
    for text in (json.dumps({**plan, **change}), "[" * 100_000):
        path.write_text(text)
        with pytest.raises(MembenchError, match=r"s\.plan\.json is damaged") as raised:
            store.manifests()
        assert raised.value.code is ExitCode.STORE


def test_a_record_with_a_right_checksum_and_a_field_of_another_type_is_damage(
    store: Store,
) -> None:
    store.folder.mkdir()
    line = encode_line({**make_record(0).to_json(), "train": "high"})
    (store.folder / "0.jsonl").write_bytes(line)
    with pytest.raises(MembenchError, match=r"0\.jsonl:1 is damaged: .*its train is str"):
        store.read()


def test_carriage_returns_are_named_as_such_and_all_damage_is_counted(store: Store) -> None:
    write(store, [make_record(seed) for seed in range(4)])
    store.merge()
    paths = sorted(store.folder.glob("?.jsonl"))
    before = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.write_bytes(before[path].replace(b"\n", b"\r\n"))
    with pytest.raises(MembenchError, match=r"carriage return, as 4 lines.*gitattributes"):
        store.read()
    for path in paths:
        path.write_bytes(before[path].replace(b"0.1", b"0.2"))
    with pytest.raises(MembenchError, match=r"checksum.*and so on: 3 more in"):
        store.read()


def test_git_converts_no_line_end_of_records_pages_and_code() -> None:
    paths = ["leaderboard/records/0.jsonl", "leaderboard/README.md", "anywhere/shards/a.jsonl"]
    command = ["git", "-C", str(REPO), "check-attr", "text", "--", *paths]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [f"{path}: text: unset" for path in paths]

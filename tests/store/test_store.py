"""The store: acknowledged records stay, damage is reported, no order of events changes bytes."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import fields
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from support.cli import REPO
from support.stored_records import VERSIONS
from support.stored_records import make_record

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import host_name
from membench.records import Entry
from membench.records import Manifest
from membench.records import Record
from membench.records import digest
from membench.store import store as store_module
from membench.store.shards import decode
from membench.store.shards import encode
from membench.store.shards import encode_line
from membench.store.shards import read_merged
from membench.store.shards import read_shard
from membench.store.store import Store
from membench.store.store import deduplicate


def write(store: Store, *packs: list[Record]) -> Path:
    """The packs in a shard whose writer has ended."""
    with store.writer() as writer:
        for pack in packs:
            writer.append(pack)
    return writer.path


def merged_bytes(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.glob("*.jsonl")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    records = [make_record(seed) for seed in range(3)]
    write(store, records)
    assert sorted(records, key=lambda r: r.key) == list(store.read().records.values())


def test_a_line_is_the_records_json_and_its_checksum() -> None:
    line = json.loads(encode(make_record()))
    crc = line.pop("crc")
    assert line == json.loads(json.dumps(make_record().to_json()))
    assert re.fullmatch("[0-9a-f]{8}", crc)


def test_an_absent_store_is_empty(store: Store) -> None:
    assert store.read().records == {} and store.manifests() == {} and store.merge() == 0
    assert not store.folder.exists()


def test_a_writer_that_wrote_nothing_leaves_nothing(store: Store) -> None:
    path = write(store)
    assert not path.exists() and store.merge() == 0


def test_a_number_that_is_not_finite_is_refused_before_anything_is_written(store: Store) -> None:
    with store.writer() as writer:
        with pytest.raises(ValueError, match="not JSON compliant"):
            writer.append([make_record(0), make_record(1, train=(float("nan"),))])
        writer.append([make_record(2)])
    assert [record.seed for record in store.read().records.values()] == [2]


def test_a_key_that_cannot_name_a_file_is_refused(store: Store) -> None:
    with store.writer() as writer, pytest.raises(ValueError, match="not hexadecimal"):
        writer.append([make_record(key="../../etc/passwd")])


def test_a_shard_cut_at_any_byte_of_its_last_pack_keeps_the_packs_before(store: Store) -> None:
    path = write(store, [make_record(0), make_record(1)], [make_record(2), make_record(3)])
    data = path.read_bytes()
    start = data.index(b"\n", data.index(b'{"commit":2')) + 1
    for end in range(start, len(data)):
        part = read_shard(path, data[:end])
        assert [record.seed for record in part.records] == [0, 1]
        assert part.damaged == []
        assert part.torn == data[start:end]
    assert len(read_shard(path, data).records) == 4


def test_torn_lines_are_counted_and_put_aside_when_merged(store: Store) -> None:
    path = write(store, [make_record(0)], [make_record(1), make_record(2)])
    path.write_bytes(path.read_bytes()[:-5])
    assert store.read().torn == 3
    store.merge()
    assert store.read().torn == 0
    assert path.with_suffix(".torn").read_bytes().count(b'"schema":2') == 2


@pytest.mark.parametrize("reader", [read_shard, read_merged])
def test_any_flipped_bit_is_reported_and_gives_no_other_record(
    store: Store, reader: object
) -> None:
    packs = [[make_record(0), make_record(1)], [make_record(2)]]
    path = write(store, *packs)
    if reader is read_merged:
        path.write_bytes(b"".join(map(encode, chain(*packs))))
    data = bytearray(path.read_bytes())
    for at in range(len(data)):
        flip = 1 << random.Random(at).randrange(8)
        data[at] ^= flip
        part = reader(path, bytes(data))
        assert part.damaged or part.torn
        assert all(record in [make_record(seed) for seed in range(3)] for record in part.records)
        data[at] ^= flip


def test_an_error_names_the_damaged_line_and_a_command_that_mends_it(store: Store) -> None:
    store.folder.mkdir()
    path = store.folder / "0.jsonl"
    path.write_bytes(b"".join(encode(make_record(seed, key=f"0{seed}")) for seed in range(5)))
    store.shards.mkdir()
    lines = path.read_bytes().splitlines(keepends=True)
    number = 3
    lines[number - 1] = lines[number - 1].replace(b"0.1", b"0.9")
    path.write_bytes(b"".join(lines))
    for action in (store.read, store.merge):
        with pytest.raises(
            MembenchError, match=rf"{path.name}:{number} is damaged.*checksum"
        ) as caught:
            action()
        assert caught.value.code is ExitCode.STORE
    assert len(store.read(damaged_ok=True).damaged) == 1
    command = re.search(r"\((sed .*)\)", str(caught.value))[1]
    subprocess.run([*command.split(), path], check=True)
    expected = [0, 1, 3, 4]
    assert expected == sorted(record.seed for record in store.read().records.values())


def test_damage_of_a_shard_costs_its_pack_alone_is_told_and_put_aside_by_a_merge(
    store: Store,
) -> None:
    path = write(
        store, [make_record(0), make_record(1)], [make_record(2), make_record(3)], [make_record(4)]
    )
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"0.1", b"0.9")
    path.write_bytes(b"".join(lines))
    contents = store.read()
    assert sorted(record.seed for record in contents.records.values()) == [0, 1, 4]
    (told,) = contents.warnings
    assert f"{path.name}:4 is damaged: its checksum does not match; the cells of its pack" in told
    assert "(lines 4 to 6)" in told
    store.merge()
    contents = store.read()
    assert sorted(record.seed for record in contents.records.values()) == [0, 1, 4]
    assert contents.warnings == ()
    assert path.with_suffix(".damaged").read_bytes() == b"".join(lines[3:6])
    assert not path.exists()


def test_a_line_missing_from_the_middle_of_a_shard_is_damage(store: Store) -> None:
    path = write(store, [make_record(0), make_record(1)], [make_record(2)])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    contents = store.read()
    assert "its pack has 1 of 2 lines" in contents.warnings[0]
    assert [record.seed for record in contents.records.values()] == [2]


@pytest.mark.parametrize("change", [{"schema": 1}, {"flavour": "sweet"}])
def test_a_line_of_another_version_is_refused(store: Store, change: dict[str, object]) -> None:
    store.folder.mkdir()
    (store.folder / "0.jsonl").write_bytes(encode_line({**make_record().to_json(), **change}))
    with pytest.raises(MembenchError, match=r"0.jsonl:1 .*another version of membench"):
        store.read()


def test_measurements_that_disagree_are_both_kept_and_reported(store: Store) -> None:
    first, second = sorted((make_record(accuracy=0.1), make_record(accuracy=0.2)), key=encode)
    for record in (second, first):
        write(store, [record])
    for _ in range(2):
        contents = store.read()
        assert list(contents.records.values()) == [first]
        assert [(c.kept, c.others) for c in contents.conflicts] == [(first, (second,))]
        assert "was measured 2 times" in str(contents.conflicts[0])
        store.merge()


def test_another_environment_pack_or_duration_is_no_conflict(store: Store) -> None:
    write(
        store,
        [
            make_record(),
            make_record(seconds=3.0, pack="x9"),
            make_record(numerics="of another processor"),
            make_record(env=digest("gpu"), accuracy=0.3),
        ],
    )
    contents = store.read()
    assert contents.conflicts == () and len(contents.records) == 2


@pytest.mark.parametrize("status", ["ok", "diverged", "skipped"])
@pytest.mark.parametrize("wrong", ["failed", "timeout"])
@pytest.mark.parametrize("env", [digest(VERSIONS), digest({})])
def test_a_measurement_replaces_what_went_wrong(
    store: Store, status: str, wrong: str, env: str
) -> None:
    measured = make_record(status=status)
    versions = VERSIONS if env == measured.env else {}
    incident = make_record(status=wrong, env=env, versions=versions, train=())
    for records in ([measured, incident], [incident, measured]):
        assert deduplicate(records) == [measured]
    assert deduplicate([incident, replace(incident, reason="again")]) != []


RECORDS = st.builds(
    make_record,
    seed=st.integers(0, 5),
    status=st.sampled_from(["ok", "diverged", "failed", "timeout"]),
    accuracy=st.sampled_from([0.1, 0.2]),
    reason=st.sampled_from(["", "x"]),
    env=st.sampled_from(["a", "b"]),
)


@given(
    st.lists(st.lists(RECORDS, min_size=1, max_size=3), min_size=1, max_size=6),
    st.randoms(),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_merging_gives_the_same_bytes_in_any_order_and_loses_no_measurement(
    tmp_path_factory: pytest.TempPathFactory,
    packs: list[list[Record]],
    rng: random.Random,
    data: st.DataObject,
) -> None:
    base = tmp_path_factory.mktemp("merge")
    once, stepwise = Store(base / "once"), Store(base / "stepwise")
    write(once, *packs)
    once.merge()
    for pack in rng.sample(packs, len(packs)):
        write(stepwise, pack)
        if data.draw(st.booleans()):
            stepwise.merge()
    stepwise.merge()
    assert merged_bytes(once) == merged_bytes(stepwise)
    assert once.merge() == 0 and merged_bytes(once) == merged_bytes(stepwise)
    kept = [decode(line) for text in merged_bytes(once).values() for line in text.splitlines()]
    measured = [replace(record, reason="") for record in kept]
    for record in chain(*packs):
        assert record.status in ("failed", "timeout") or replace(record, reason="") in measured


def test_news_are_the_records_written_since_each_pack_once_and_whole(store: Store) -> None:
    write(store, [make_record(0)])
    with store.writer() as writer:
        writer.append([make_record(1)])
        news = store.news()
        assert news.read() == []
        writer.append([make_record(2), make_record(3)])
        assert [record.seed for record in news.read()] == [2, 3]
        assert news.read() == []
        line = encode(make_record(4))
        os.write(writer._fd, line[:20])
        assert news.read() == []  # half a line
        os.write(writer._fd, line[20:] + encode_line({"commit": 1}))
        assert [record.seed for record in news.read()] == [4]
    write(store, [make_record(5)])
    assert [record.seed for record in news.read()] == [5]
    store.merge()
    assert news.read() == []


@pytest.mark.parametrize(
    ("failure", "stays"), [({"env": "a"}, True), ({"env": "b"}, False), ({}, False)]
)
def test_a_failure_stays_until_its_own_environment_has_measured_the_key(
    store: Store, failure: dict[str, str], stays: bool
) -> None:
    key = make_record().key
    versions = {"torch": failure["env"]} if failure else {}
    failed = replace(make_record(key=key), env=digest(versions), versions=versions, status="failed")
    measured = make_record(key=key, env=digest({"torch": "b"}), versions={"torch": "b"})
    kept = {record.status for record in deduplicate([failed, measured])}
    assert kept == ({"failed", "ok"} if stays else {"ok"})


def test_a_merge_leaves_a_live_writers_shard_and_its_lines(store: Store) -> None:
    with store.writer() as writer:
        writer.append([make_record(0)])
        assert store.merge() == 0 and writer.path.exists()
        writer.append([make_record(1)])
        with writer.path.open("ab") as file:
            file.write(b'{"half a line')
        assert len(store.read().records) == 2
        assert store.read().torn == 0
    assert store.read().torn == 1
    assert store.merge() == 1 and len(store.read().records) == 2


def test_a_writer_takes_another_shard_if_a_merge_took_its_empty_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    thefts = iter([True])

    def merge_first(fd: int, how: int) -> None:
        if next(thefts, False):
            assert store.merge() == 1
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", merge_first)
    path = write(store, [make_record(0)])
    assert path.exists() and len(store.read().records) == 1


def test_a_shard_that_has_grown_since_the_merge_read_it_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer had not locked it when the merge began, and has ended by now."""
    write(store, [make_record(0)])
    late = store.shards / f"{host_name()}-1-late.jsonl"
    late.touch()
    real = store_module.deduplicate

    def write_meanwhile(records: Iterable[Record]) -> list[Record]:
        kept = real(records)
        late.write_bytes(encode(make_record(1)) + encode_line({"commit": 1}))
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "deduplicate", write_meanwhile)
        assert store.merge() == 1
    assert late.exists()
    assert store.merge() == 1
    assert sorted(record.seed for record in store.read().records.values()) == [0, 1]


class Killed(BaseException):
    """The process is gone: nothing after this call happened."""


def kill_at(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """The k-th system call that changes the disk never returns, and was not done."""
    calls = iter(range(1, 10**6))

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            if next(calls) >= k:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fsync", "replace", "unlink"):
        wrap(name)


def test_a_merge_killed_at_any_system_call_loses_nothing(tmp_path: Path) -> None:
    def prepare(folder: Path) -> Store:
        store = Store(folder)
        write(store, [make_record(0), make_record(1, status="failed")])
        store.merge()
        write(store, [make_record(1)], [make_record(2)])
        torn = write(store, [make_record(3)], [make_record(4)])
        torn.write_bytes(torn.read_bytes()[:-5])
        return store

    undisturbed = prepare(tmp_path / "undisturbed")
    expected = undisturbed.read().records
    undisturbed.merge()
    for k in range(1, 1000):
        store = prepare(tmp_path / str(k))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, k)
            try:
                store.merge()
            except Killed:
                pass
            else:
                break
        assert expected == store.read().records
        store.merge()
        assert merged_bytes(undisturbed) == merged_bytes(store)
        assert not list(store.shards.glob("*.tmp")) and not list(store.shards.glob("*.jsonl"))
    assert k > 10


def test_a_failed_fsync_is_a_disk_error_and_the_shard_takes_nothing_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    writer = store.writer()
    writer.append([make_record(0)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(MembenchError, match="Input/output error") as caught:
            writer.append([make_record(1)])
    assert caught.value.code is ExitCode.DISK
    size = writer.path.stat().st_size
    with pytest.raises(MembenchError, match="a write failed before"):
        writer.append([make_record(2)])
    assert size == writer.path.stat().st_size
    writer.close()
    assert make_record(0) in store.read().records.values()


FILL = """
import resource, sys
from pathlib import Path
from support.stored_records import make_record
from membench.errors import MembenchError
from membench.store.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
writer, done = Store(Path(sys.argv[1])).writer(), 0
try:
    while True:
        writer.append([make_record(2 * done), make_record(2 * done + 1)])
        done += 1
except MembenchError as error:
    print(done, int(error.code), error)
"""


def test_a_full_disk_is_exit_code_11_and_keeps_what_was_acknowledged(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, store.folder],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{REPO}:{REPO / 'tests'}"},
    )
    packs, code, message = done.stdout.split(" ", 2)
    assert int(packs) > 1 and int(code) == 11 and "File too large" in message
    contents = store.read()
    assert len(contents.records) == 2 * int(packs) and contents.torn > 0


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MembenchError, match="cannot write") as caught:
        Store(tmp_path / "file" / "records").writer()
    assert caught.value.code is ExitCode.DISK


def make_manifest(suite: str = "smoke") -> Manifest:
    entry = Entry("dropout", "model", ((0.1,), (0.5,)), ("hidden",), skipped={"digits/mlp": "why"})
    recipes = {"digits/mlp": {"lr": 0.1, "epochs": 40}}
    cells = {make_record(s).id: make_record(s).key for s in range(3)}
    return Manifest(
        suite,
        1,
        ("digits/mlp",),
        ("real", "randY"),
        (0,),
        (1, 2),
        recipes,
        {"digits": "ab"},
        (entry,),
        cells,
    )


def test_manifests_come_back_and_an_equal_one_is_not_written_again(store: Store) -> None:
    store.write_manifest(make_manifest())
    path = store.shards / "smoke.plan.json"
    before = path.stat()
    store.write_manifest(make_manifest())
    assert before.st_ino == path.stat().st_ino
    store.write_manifest(make_manifest("quick"))
    assert {"quick": make_manifest("quick"), "smoke": make_manifest()} == store.manifests()
    assert store.read().records == {}


def test_a_manifest_that_came_after_an_interrupted_run_counts(store: Store) -> None:
    """As with `git pull`; what the interrupted run has planned, the next one plans again."""
    store.write_manifest(make_manifest())
    unmerged = store.shards / "smoke.plan.json"
    pulled = replace(make_manifest(), commit="pulled")
    text = json.dumps(pulled.to_json())
    (store.folder / "smoke.plan.json").write_text(text)
    os.utime(unmerged, ns=(0, 0))  # long before
    assert store.manifests() == {"smoke": pulled}
    store.merge()
    assert store.manifests() == {"smoke": pulled}
    assert not unmerged.exists()


def test_a_manifest_is_joined_with_the_one_that_another_run_has_kept_meanwhile(
    store: Store,
) -> None:
    def join(there: Manifest, mine: Manifest) -> Manifest:
        return replace(mine, cells={**there.cells, **mine.cells})

    theirs = replace(make_manifest(), cells={"a": "1", "b": "2"})
    assert store.join_manifest(theirs, join) == theirs
    mine = replace(make_manifest(), cells={"b": "3", "c": "4"})
    kept = store.join_manifest(mine, join)
    assert kept.cells == {"a": "1", "b": "3", "c": "4"}
    assert store.manifests() == {"smoke": kept}


def test_a_manifest_replaces_the_one_that_git_keeps_only_when_the_store_is_merged(
    store: Store,
) -> None:
    store.write_manifest(make_manifest())
    store.merge()
    kept = store.folder / "smoke.plan.json"
    before = kept.read_bytes()
    store.write_manifest(make_manifest())
    assert not list(store.shards.glob("*.plan.json"))
    newer = replace(make_manifest(), commit="abc")
    store.write_manifest(newer)
    assert kept.read_bytes() == before and store.manifests() == {"smoke": newer}
    store.merge()
    assert b"abc" in kept.read_bytes() and store.manifests() == {"smoke": newer}


@pytest.mark.parametrize("text", ["{", "[]", '{"schema":1}', '{"schema":9}'])
def test_a_damaged_manifest_is_named(store: Store, text: str) -> None:
    store.folder.mkdir()
    (store.folder / "smoke.plan.json").write_text(text)
    with pytest.raises(MembenchError, match=r"smoke.plan.json is damaged") as caught:
        store.manifests()
    assert caught.value.code is ExitCode.STORE


def test_a_suite_name_cannot_leave_the_folder(store: Store) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        store.write_manifest(make_manifest("../x"))


def test_the_readme_describes_every_field() -> None:
    text = (REPO / "leaderboard/records/README.md").read_text()
    described = set(
        re.findall("`([a-z_]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)))
    )
    assert {field.name for field in fields(Record)} | {"schema", "crc"} <= described
    rows = re.findall(r"^\| (`[^|]*) \|", text.partition("## Fields")[0], re.MULTILINE)
    described = set(re.findall("`([a-z_]+)`", "".join(rows)))
    assert {field.name for field in fields(Manifest)} <= described


WRITE_MANY = """
import sys
from pathlib import Path
from support.stored_records import make_record
from membench.store.store import Store
with Store(Path(sys.argv[1])).writer() as writer:
    for i in range(50):
        writer.append([make_record(1000 * int(sys.argv[2]) + 20 * i + j) for j in range(20)])
"""


@pytest.mark.slow
def test_many_processes_write_at_once_and_nothing_is_lost_while_merging(store: Store) -> None:
    env = {"PYTHONPATH": f"{REPO}:{REPO / 'tests'}"}
    command = [sys.executable, "-c", WRITE_MANY, store.folder]
    writers = [subprocess.Popen([*command, str(i)], env=env) for i in range(8)]
    while any(writer.poll() is None for writer in writers):
        store.merge()
        store.read()
    store.merge()
    assert [writer.returncode for writer in writers] == [0] * 8
    assert len(store.read().records) == 8000 and not list(store.shards.glob("*.jsonl"))


@pytest.mark.slow
def test_a_hundred_thousand_records_are_read_in_half_a_minute(store: Store) -> None:
    bits = {
        "train_bits": "f" * 250,
        "test_bits": "e" * 500,
        "train": (1 / 3,) * 8,
        "val": (1 / 7,) * 8,
    }
    store.folder.mkdir()
    for digit in "0123456789abcdef":
        lines = (
            encode(make_record(seed, key=f"{digit}{seed:063}", **bits)) for seed in range(6250)
        )
        (store.folder / f"{digit}.jsonl").write_bytes(b"".join(lines))
    start = time.perf_counter()
    assert len(store.read().records) == 100_000
    assert time.perf_counter() - start < 30


def test_how_cells_ended_is_what_their_records_say(store: Store) -> None:
    write(store, [make_record(0), make_record(1, status="failed", versions={})])
    torn = write(store, [make_record(2)], [make_record(3)])
    torn.write_bytes(torn.read_bytes()[:-5])
    contents, ends = store.read(), store.read_ends()
    assert ends.by_key.keys() == contents.by_key.keys()
    for key, (record,) in contents.by_key.items():
        (end,) = ends.by_key[key]
        assert (end.key, end.env, end.status) == (record.key, record.env, record.status)
        assert end.versions == bool(record.versions)
    assert (ends.torn, ends.conflicts, ends.missing) == (contents.torn, (), ())
    write(store, [make_record(0, accuracy=0.2)])
    assert store.read_ends().conflicts == store.read().conflicts != ()


def test_a_line_that_is_no_record_s_has_no_end(store: Store) -> None:
    store.folder.mkdir()
    line = make_record(0).to_json()
    for value in ({**line, "schema": 1}, {**line, "key": 3}, {"architecture": "a", "schema": 2}):
        (store.folder / "0.jsonl").write_bytes(encode_line(value))
        with pytest.raises(MembenchError, match="another version of membench wrote it"):
            store.read_ends()

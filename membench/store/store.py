"""The store of records: a folder that workers write, and the plan and the report read.

The folder holds merged files, which git keeps, and manifests of suites; `shards` in it holds what
is not merged yet, one file a writer, which git ignores. `leaderboard/records/README.md` documents
the format.

Machines may share the folder, and the file system's locks may end at each of them: Lustre mounted
with `localflock`, NFS with `local_lock=flock`. Reading and writing need no lock. A merge takes
records away, and so takes place only where no other machine has a shard; on request it takes those
of all. A machine that merges has a shard there, so that of two which begin at once one at most goes
on.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from typing import Generic
from typing import TypeVar

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.files import host_name
from membench.files import make_folder
from membench.files import open_file
from membench.files import read_file
from membench.files import replace_file
from membench.files import scratch_files
from membench.files import sync_folder
from membench.files import write_file
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.store.shards import CorruptLines
from membench.store.shards import End
from membench.store.shards import FileContents
from membench.store.shards import News
from membench.store.shards import Writer
from membench.store.shards import decode
from membench.store.shards import decode_end
from membench.store.shards import encode
from membench.store.shards import host_of
from membench.store.shards import lock
from membench.store.shards import parse_merged
from membench.store.shards import parse_shard
from membench.store.shards import read_merged
from membench.store.shards import torn_end

T = TypeVar("T")  #: what is kept of a line
#: Statuses of a measured cell. Another one says what went wrong, until the same key is measured.
MEASURED = ("ok", "diverged", "skipped")
#: How many lines each merged file had when it was written, beside them.
LINE_COUNTS = "lines.json"
#: Fields in which two measurements of one key in one environment may differ.
_NOT_METRICS = ("reason", "pack", "seconds", "numerics")


@dataclass(frozen=True)
class Conflict:
    """Measurements of one key in one environment that differ, so something is not deterministic."""

    kept: Record  #: the one that is used
    others: tuple[Record, ...]

    def __str__(self) -> str:
        return f"{self.kept.id} was measured {1 + len(self.others)} times, with different results"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is to be said of the store, beside what it holds."""

    torn: int = 0  #: lines of packs that their writer did not live to end
    conflicts: tuple[Conflict, ...] = ()
    damaged: tuple[CorruptLines, ...] = ()  #: in shards; with `damaged_ok` in any file
    missing: tuple[str, ...] = ()  #: a sentence for each merged file that has lost lines

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong and costs cells, which are trained again: a sentence each."""
        if not self.damaged:
            return self.missing
        first = self.damaged[0]
        more = f" (and {len(self.damaged) - 1} more)" if len(self.damaged) > 1 else ""
        sentence = (
            f"{first.path}:{first.line} is damaged{more}: {first.reason}; the cells of its pack "
            f"({first.lines}) do not count and are trained again"
        )
        return (*self.missing, sentence)


@dataclass(frozen=True, kw_only=True)
class Contents(Condition):
    """The contents of the store."""

    records: dict[tuple[str, str], Record]  #: (key, environment) -> record, sorted

    @cached_property
    def by_key(self) -> dict[str, list[Record]]:
        """The records of each key, one for each environment."""
        records: dict[str, list[Record]] = {}
        for (key, _), record in self.records.items():
            records.setdefault(key, []).append(record)
        return records


@dataclass(frozen=True, kw_only=True)
class Ends(Condition):
    """How the cells of the store ended."""

    by_key: dict[str, list[End]]


@dataclass(frozen=True, kw_only=True)
class _Files(Generic[T]):
    """What all files of records hold; the fields are as of `Condition`."""

    lines: list[T]
    torn: int
    damaged: tuple[CorruptLines, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Store:
    """A folder of records, which any number of processes may read and write.

    Reading needs no lock; each process writes through its own `Writer`.
    """

    folder: Path

    @property
    def shards(self) -> Path:
        """The folder in which writers append."""
        return self.folder / "shards"

    def writer(self) -> Writer:
        """Return a writer with a new shard.

        Raises:
            MembenchError: with `ExitCode.DISK`; the folder cannot be written.
        """
        return Writer(self.shards)

    def news(self) -> News:
        """Return a reader of the records that are written from now on."""
        return News(self.shards)

    def read(self, *, damaged_ok: bool = False) -> Contents:
        """Return all records that are whole.

        A damaged line of a shard costs its pack, and is listed: whoever runs a plugin lets it write
        there, and the others' records are none the worse. A merged file is damaged by nobody who
        trains.

        Args:
            damaged_ok: leave damaged lines of merged files out and list them too, instead of
                raising.

        Raises:
            MembenchError: with `ExitCode.STORE`; a merged file is damaged. Names the file, the line
                and the fix.
        """
        files = self._read_all(decode, damaged_ok=damaged_ok)
        records, conflicts = _by_environment(deduplicate(files.lines))
        return Contents(
            records=records,
            torn=files.torn,
            conflicts=tuple(conflicts),
            damaged=files.damaged,
            missing=files.missing,
        )

    def read_ends(self) -> Ends:
        """Return how all cells ended, which takes half as long as all of their records.

        Where one was measured twice, the records say whether the measurements differ.

        Raises:
            MembenchError: as of `read`.
        """
        files = self._read_all(decode_end)
        by_key: dict[str, list[End]] = {}
        measured = set()
        measured_twice = False
        for end in files.lines:
            by_key.setdefault(end.key, []).append(end)
            if end.status in MEASURED:
                place = end.key, end.env
                measured_twice = measured_twice or place in measured
                measured.add(place)
        return Ends(
            by_key=by_key,
            torn=files.torn,
            conflicts=self.read().conflicts if measured_twice else (),
            damaged=files.damaged,
            missing=files.missing,
        )

    def other_hosts(self) -> list[str]:
        """List the other machines that have shards here; until they are merged, no other is."""
        hosts = {host_of(path) for path in self.shards.glob("*.jsonl")}
        return sorted(hosts - {host_name()})

    def merge(self, *, all_hosts: bool = False) -> int:
        """Move the records of dead writers' shards into the sorted files `0.jsonl` to `f.jsonl`.

        Manifests and decisions that were written beside the shards move to the merged files too,
        unless those that are there were written later. Nothing is moved while another machine has
        shards here, which a lock alone cannot say to be dead.

        The bytes depend on the records alone, not on the order of writing or merging. A merge that
        is killed loses nothing: a shard is removed only when what it held is durable elsewhere.

        Args:
            all_hosts: take the other machines' shards too. If one of them is at work all the same,
                and our lock does not reach it, its run ends at the next pack, with exit code 11.

        Returns:
            How many shards were merged and removed.

        Raises:
            MembenchError: with `ExitCode.STORE` as `read` does, or with `ExitCode.DISK`.
        """
        if not self.shards.is_dir():
            return 0
        # The writer's empty shard tells other machines that this one is merging.
        with disk_errors("merge", self.folder), self.locked(), self.writer() as own:
            if self.other_hosts() and not all_hosts:
                return 0
            for leftover in self.shards.glob(scratch_files("*" if all_hosts else host_name())):
                leftover.unlink(missing_ok=True)
            abandoned: dict[Path, int] = {}
            for path in sorted(set(self.shards.glob("*.jsonl")) - {own.path}):
                size = _abandoned_size(path)
                if size is not None:
                    abandoned[path] = size
            damaged = self._write_merged()
            for path in sorted(self.shards.glob("*.json")):
                if not path.is_file():
                    read_file(path)  # says what is wrong
                if self._places(path.name)[0] == path:
                    os.replace(path, self.folder / path.name)
                else:
                    path.unlink()
            sync_folder(self.folder)
            removed = 0
            for path, size in abandoned.items():
                removed += _remove(path, size, damaged.get(path, []))
            sync_folder(self.shards)
        return removed

    def drop(self, keys: Collection[str]) -> int:
        """Remove all records of some keys, of every environment, for good.

        What no run is writing is merged first.

        Returns:
            How many records were removed.

        Raises:
            MembenchError: a run is writing records here (USAGE), with `ExitCode.STORE` as `read`
                does, or with `ExitCode.DISK`.
        """
        self.merge()
        with disk_errors("write", self.folder), self.locked(), self.writer() as own:
            shards = set(self.shards.glob("*.jsonl")) - {own.path}
            if self.other_hosts():
                raise MembenchError(
                    f"{', '.join(self.other_hosts())} has records in {self.shards}: when no run is "
                    f"at work there, `membench merge --out {self.folder.parent}` takes them in"
                )
            if shards:
                raise MembenchError(
                    f"a run is writing records in {self.folder}: wait for its end, or end it"
                )
            removed = 0
            kept = {}
            for path in sorted(self.folder.glob("?.jsonl")):
                records = read_merged(path, read_file(path)).records
                kept[path.name] = [record for record in records if record.key not in keys]
                removed += len(records) - len(kept[path.name])
            self._replace_merged(kept)
            sync_folder(self.folder)
        return removed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock under which files are merged, and files beside the shards replaced."""
        make_folder(self.shards)
        fd = os.open(self.shards / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def join_manifest(
        self, manifest: Manifest, join: Callable[[Manifest, Manifest], Manifest]
    ) -> Manifest:
        """Keep what a suite planned, joined with what another run has planned meanwhile.

        Args:
            manifest: what this run has planned.
            join: gives the manifest to keep, of the one that is there and this one.

        Returns:
            The manifest that is kept.

        Raises:
            MembenchError: with `ExitCode.DISK`; the file cannot be written.
        """
        name = _manifest_name(manifest)
        with disk_errors("write", self.shards), self.locked():
            while True:
                before = self.read_file(name)
                there = self.manifests().get(manifest.suite)
                joined = manifest
                if there is not None and there != manifest:
                    joined = join(there, manifest)
                # a machine that the lock does not reach may have written meanwhile
                if self.read_file(name) == before:
                    self.write_manifest(joined)
                    return joined

    def replace_manifest(self, manifest: Manifest) -> None:
        """Keep what a suite planned in place of what is there, and beside the merged records.

        Raises:
            MembenchError: with `ExitCode.DISK`; the file cannot be written.
        """
        with disk_errors("write", self.shards), self.locked():
            self.write_manifest(manifest)
        self.merge()

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep what a suite planned, as `<suite>.plan.json`; an equal file is left alone.

        It is kept beside the shards until they are merged, so that a run that is interrupted
        changes no file that git keeps.

        Raises:
            MembenchError: with `ExitCode.DISK`; the file cannot be written.
            ValueError: the suite's name cannot name a file.
        """
        name = _manifest_name(manifest)
        text = json.dumps(manifest.to_json(), sort_keys=True, indent=1, allow_nan=False) + "\n"
        if self.read_file(name) != text.encode():
            path = self.shards / name
            with disk_errors("write", path):
                make_folder(self.shards)
                replace_file(path, text.encode(), scratch=self.shards)

    def read_file(self, name: str) -> bytes | None:
        """Return a file beside the records or beside the shards, whichever was written later.

        That is the one beside the shards, of a run that has not come to its end, unless the other
        has been replaced since, as by `git pull`. None if there is neither.
        """
        # the second time for what a merge has moved to the folder meanwhile
        for path in (*self._places(name), self.folder / name):
            with suppress(FileNotFoundError):
                return read_file(path)
        return None

    def write_json(self, name: str, value: Any) -> None:
        """Write a file beside the shards, from where a merge moves it; the store must be locked."""
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
        replace_file(self.shards / name, text.encode(), scratch=self.shards)

    def _places(self, name: str) -> list[Path]:
        """List where a file is that stands beside records and shards, the last written first."""
        times = {}
        for path in (self.shards / name, self.folder / name):
            with suppress(FileNotFoundError, NotADirectoryError):
                times[path] = path.lstat().st_mtime_ns  # a link may lead nowhere, or in a circle
        return sorted(times, key=lambda path: -times[path])

    def manifests(self) -> dict[str, Manifest]:
        """Return the manifests by suite; of two of one suite, the one that was written later.

        Raises:
            MembenchError: with `ExitCode.STORE`; a file is damaged.
        """
        names = set()
        for folder in (self.shards, self.folder):
            names |= {path.name for path in folder.glob("*.plan.json")}
        manifests = {}
        for name in sorted(names):
            text = self.read_file(name)
            if text is not None:
                manifest = _parse_manifest(self.folder / name, text)
                manifests[manifest.suite] = manifest
        return manifests

    def _read_all(self, decode: Callable[[bytes], T], *, damaged_ok: bool = False) -> _Files[T]:
        """Read every line of records; the errors are those of `read`."""
        counts = self._line_counts()
        shards, merged = self._read_files(decode)
        if counts != self._line_counts():  # a merge has been at work
            counts = {}
        if not damaged_ok:
            _refuse_damage(merged.values())
        files = [*shards, *merged.values()]
        return _Files(
            lines=list(_all_lines(files)),
            torn=sum(_count_lines(file.torn) for file in files),
            damaged=tuple(damage for file in files for damage in file.damaged),
            missing=tuple(self._missing_lines(counts, merged)),
        )

    def _read_files(
        self, decode: Callable[[bytes], T]
    ) -> tuple[list[FileContents[T]], dict[str, FileContents[T]]]:
        """Read every file of records: the shards, and the merged files by name.

        Shards come first: what a merge moves meanwhile is then read twice. The other way round it
        would not be read at all.
        """
        shards = [_read_live_shard(path, decode) for path in sorted(self.shards.glob("*.jsonl"))]
        merged = {}
        for path in sorted(self.folder.glob("?.jsonl")):
            with open_file(path) as file:
                merged[path.name] = parse_merged(path, file, decode)
        return shards, merged

    def _write_merged(self) -> dict[Path, list[CorruptLines]]:
        """Write all records that are on disk into the merged files that they belong to.

        Returns:
            What is damaged in shards, by shard: these packs are not among the records.
        """
        shards, merged = self._read_files(decode)
        _refuse_damage(merged.values())
        by_name: dict[str, list[Record]] = {name: [] for name in merged}
        for record in deduplicate(_all_lines([*shards, *merged.values()])):
            by_name.setdefault(f"{record.key[0]}.jsonl", []).append(record)
        self._replace_merged(by_name)
        return {shard.damaged[0].path: shard.damaged for shard in shards if shard.damaged}

    def _replace_merged(self, records: Mapping[str, Sequence[Record]]) -> None:
        """Write the merged files where they differ, and how many lines they have.

        The counts are away meanwhile: if this is killed, nothing is said of lines.

        Args:
            records: of every merged file, by its name, in order.
        """
        counts = self._line_counts()
        counted = {name: len(of_file) for name, of_file in records.items()}
        for name, of_file in records.items():
            path = self.folder / name
            data = b"".join(map(encode, of_file))  # of one file at a time: the store may be large
            if not path.is_file() or path.read_bytes() != data:
                (self.folder / LINE_COUNTS).unlink(missing_ok=True)
                replace_file(path, data, scratch=self.shards)
                counts = {}
        if counted != counts:
            text = json.dumps(counted, sort_keys=True, indent=1) + "\n"
            replace_file(self.folder / LINE_COUNTS, text.encode(), scratch=self.shards)

    def _line_counts(self) -> dict[str, int]:
        """Return how many lines each merged file had when it was written; {} if that is unknown."""
        try:
            counts = json.loads(read_file(self.folder / LINE_COUNTS))
            return {str(name): int(count) for name, count in counts.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def _missing_lines(
        self, counts: Mapping[str, int], merged: Mapping[str, FileContents[Any]]
    ) -> Iterator[str]:
        for name, count in sorted(counts.items()):
            file = merged.get(name, FileContents[Any]())
            lines = len(file.records) + len(file.damaged)
            if lines < count:
                yield (
                    f"{self.folder / name} has {lines} of the {count} lines that were written: "
                    "their cells are trained again, unless the file is restored"
                )


def _refuse_damage(files: Iterable[FileContents[Any]]) -> None:
    """Raise the error of the first damage, if there is any."""
    damaged = [damage for file in files for damage in file.damaged]
    if damaged:
        raise damage_error(damaged)


def damage_error(damaged: Sequence[CorruptLines]) -> MembenchError:
    """Return the error of the first damage, which says how much more there is.

    Args:
        damaged: at least one.
    """
    error = damaged[0].error()
    ends = sum("carriage return" in damage.reason for damage in damaged)
    if ends:
        return MembenchError(
            f"{damaged[0].path}:{damaged[0].line} ends with a carriage return, as {ends} lines of "
            "the records do: git or an editor has changed their line ends; put `*.jsonl -text` "
            "into .gitattributes and check the files out again, or remove them (sed -i 's/\\r$//')",
            ExitCode.STORE,
        )
    if len(damaged) > 1:
        files = len({damage.path for damage in damaged})
        more = f"{len(damaged) - 1} more in {files} file{'s' if files > 1 else ''}"
        return MembenchError(f"{error} (and so on: {more})", ExitCode.STORE)
    return error


def deduplicate(records: Iterable[Record]) -> list[Record]:
    """Return the records that are worth keeping, sorted by key, environment and line.

    Of equal measurements of a key in one environment, one is kept; of measurements that differ (a
    conflict), all; and what went wrong only if the key has no measurement in that environment, or
    in any if the failure does not name one. The result is the same for any order and grouping of
    the records.
    """
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    kept: list[Record] = []
    for key in sorted(by_key):
        kept += _deduplicate_key(by_key[key])
    return kept


def _deduplicate_key(records: list[Record]) -> list[Record]:
    if len(records) == 1:
        return records
    measured = {record.env for record in records if record.status in MEASURED}
    kept: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda record: (record.env, encode(record))):
        if record.status in MEASURED:
            kept.setdefault((record.env, _metrics(record)), record)
        elif record.env not in measured and (record.versions or not measured):
            kept.setdefault((record.env, ""), record)  # of failures, one for each environment
    return list(kept.values())


def metrics(record: Record) -> dict[str, Any]:
    """Return the fields in which measurements of one key in one environment must agree."""
    fields = record.to_json()
    for name in _NOT_METRICS:
        fields.pop(name, None)
    return fields


def _metrics(record: Record) -> str:
    return canonical(metrics(record))


def _by_environment(
    records: list[Record],
) -> tuple[dict[tuple[str, str], Record], list[Conflict]]:
    """Return the first record of each key and environment, and the conflicts with it."""
    first_records: dict[tuple[str, str], Record] = {}
    others: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        place = record.key, record.env
        if first_records.setdefault(place, record) is not record:
            others.setdefault(place, []).append(record)
    return first_records, [Conflict(first_records[p], tuple(o)) for p, o in others.items()]


def _all_lines(files: Iterable[FileContents[T]]) -> Iterator[T]:
    for file in files:
        yield from file.records


def _count_lines(data: bytes) -> int:
    """Count lines, a last one without its line end included."""
    unended = bool(data) and not data.endswith(b"\n")
    return data.count(b"\n") + unended


def _manifest_name(manifest: Manifest) -> str:
    """Return the name of a manifest's file.

    Raises:
        ValueError: the suite's name cannot name a file.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", manifest.suite):
        raise ValueError(f"{manifest.suite!r} cannot name a file")
    return f"{manifest.suite}.plan.json"


def _read_live_shard(path: Path, decode: Callable[[bytes], T]) -> FileContents[T]:
    """Read a shard whose writer may be alive; its last lines are then not torn but on their way."""
    fd = lock(path)  # before reading: a writer that is dead now stays dead
    live = fd is None or host_of(path) != host_name()  # where a lock may not reach
    try:
        with open_file(path) as file:
            contents = parse_shard(path, file, decode, live=live)
    except FileNotFoundError:
        # A merge removed it; its records are in the merged files, which are read later.
        return FileContents[T]()
    finally:
        if fd is not None:
            os.close(fd)
    if live:
        contents.torn = b""
    return contents


def _abandoned_size(path: Path) -> int | None:
    """Return the size of a shard whose writer is dead; None if the writer lives."""
    fd = lock(path)
    if fd is None:
        return None
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _remove(path: Path, size: int, damaged: Sequence[CorruptLines]) -> bool:
    """Remove a shard whose packs are merged.

    Its torn lines and its damaged packs are put aside, to be looked at.

    An empty shard may be one that its writer had not locked yet when the merge began. If it is
    locked or has grown by now, it stays.

    Args:
        path: the shard.
        size: its bytes when the merge began.
        damaged: its packs that are not merged.

    Returns:
        Whether it was removed.
    """
    fd = lock(path)
    if fd is None:
        return False
    try:
        if os.fstat(fd).st_size != size:
            return False
        with open_file(path) as file:
            torn = torn_end(file)
        if torn:
            write_file(path.with_suffix(".torn"), torn)
        if damaged:
            write_file(path.with_suffix(".damaged"), _damaged_packs(path.read_bytes(), damaged))
        path.unlink()
        return True
    finally:
        os.close(fd)


def _damaged_packs(data: bytes, damaged: Iterable[CorruptLines]) -> bytes:
    """Return the lines of a shard that are lost, each pack's once."""
    lines = data.split(b"\n")
    lost: dict[int, bytes] = {}
    for damage in damaged:
        for number in range(damage.first, damage.last + 1):
            lost[number] = lines[number - 1]
    return b"\n".join(lost.values()) + b"\n"


def _parse_manifest(path: Path, text: bytes) -> Manifest:
    try:
        return Manifest.from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = (
            f"{path} is damaged: {error}; restore the file, or delete it and run the suite again"
        )
        raise MembenchError(message, ExitCode.STORE) from error

"""The records that were measured, on disk: written by workers, one shard each, read by the plan and the report.

`leaderboard/records` holds merged files, which git keeps; `shards` in it what was not merged yet, which git ignores.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.files import make_folder
from membench.files import replace_file
from membench.files import sync_folder
from membench.files import write_file
from membench.records import Manifest
from membench.records import Record
from membench.records import canonical
from membench.store.shards import CorruptLines
from membench.store.shards import FileContents
from membench.store.shards import Writer
from membench.store.shards import encode
from membench.store.shards import lock
from membench.store.shards import read_merged
from membench.store.shards import read_shard

#: A cell that ended so was measured. Any other status says what went wrong, until a measurement of the same key comes.
MEASURED = ("ok", "diverged", "skipped")
_NOT_METRICS = ("reason", "pack", "seconds")


@dataclass(frozen=True)
class Conflict:
    """Measurements of one key in one environment that do not agree: the engine or a plugin is not deterministic."""

    kept: Record
    others: tuple[Record, ...]

    def __str__(self) -> str:
        return f"{self.kept.id} was measured {1 + len(self.others)} times, with different results"


@dataclass(frozen=True)
class Contents:
    """What the store holds."""

    records: dict[tuple[str, str], Record]  #: (key, env) -> record, sorted
    torn: int = 0  #: lines of packs that their writer did not live to end
    conflicts: tuple[Conflict, ...] = ()
    damaged: tuple[CorruptLines, ...] = ()


@dataclass(frozen=True)
class Store:
    """A folder of records. Reading needs no lock; any number of processes write, each with a `Writer` of its own."""

    folder: Path

    @property
    def shards(self) -> Path:
        """Where writers append."""
        return self.folder / "shards"

    def writer(self) -> Writer:
        """A writer with a new shard. Raises `MembenchError` (DISK) if the folder cannot be written."""
        return Writer(self.shards)

    def read(self, *, damaged_ok: bool = False) -> Contents:
        """All records that are whole.

        Raises:
            MembenchError: with `ExitCode.STORE`, naming the file, the line and the fix, if one is damaged; with
                `damaged_ok`, such lines are left out and listed instead.
        """
        parts = self._parts()
        damaged = tuple(damage for part in parts for damage in part.damaged)
        if damaged and not damaged_ok:
            raise damaged[0].error()
        torn = sum(
            part.torn.count(b"\n") + (not part.torn.endswith(b"\n")) for part in parts if part.torn
        )
        records, conflicts = _by_environment(
            deduplicate(record for part in parts for record in part.records)
        )
        return Contents(records, torn, conflicts, damaged)

    def merge(self) -> int:
        """Move the records of dead writers' shards into the sorted files `0.jsonl` to `f.jsonl`; count those shards.

        The bytes depend on the records alone, not on the order of writing or merging. Killed at any point, nothing is
        lost: shards go only when what they held is durable elsewhere. Raises as `read` does, and for disk errors.
        """
        if not self.shards.is_dir():
            return 0
        with disk_errors("merge", self.folder), ExitStack() as stack:
            _acquire(self.shards / ".lock", stack)
            for leftover in self.shards.glob("*.tmp"):
                leftover.unlink()
            dead = {
                path: size
                for path in sorted(self.shards.glob("*.jsonl"))
                if (size := _abandoned_size(path)) is not None
            }
            self._write_merged()
            retired = sum(_remove(path, size) for path, size in dead.items())
            sync_folder(self.shards)
        return retired

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep what a suite planned, as `<suite>.plan.json`."""
        text = json.dumps(manifest.to_json(), sort_keys=True, indent=1, allow_nan=False) + "\n"
        path = self.folder / f"{manifest.suite}.plan.json"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", manifest.suite):
            raise ValueError(f"{manifest.suite!r} cannot name a file")
        if not path.is_file() or path.read_bytes() != text.encode():
            with disk_errors("write", path):
                make_folder(self.shards)
                replace_file(path, text.encode(), scratch=self.shards)

    def manifests(self) -> dict[str, Manifest]:
        """Suite -> its manifest. Raises `MembenchError` (STORE) for a file that is none."""
        found = [_manifest(path) for path in sorted(self.folder.glob("*.plan.json"))]
        return {manifest.suite: manifest for manifest in found}

    def _parts(self) -> list[FileContents]:
        """Every file. Shards first: what a merge moves meanwhile is then read twice, the other way round not at all."""
        shards = [_shard(path) for path in sorted(self.shards.glob("*.jsonl"))]
        return shards + [
            read_merged(path, path.read_bytes()) for path in sorted(self.folder.glob("?.jsonl"))
        ]

    def _write_merged(self) -> None:
        parts = self._parts()
        for damage in (damage for part in parts for damage in part.damaged):
            raise damage.error()
        files: dict[str, list[bytes]] = {path.name: [] for path in self.folder.glob("?.jsonl")}
        for record in deduplicate(record for part in parts for record in part.records):
            files.setdefault(f"{record.key[0]}.jsonl", []).append(encode(record))
        for name, lines in files.items():
            path, data = self.folder / name, b"".join(lines)
            if not path.is_file() or path.read_bytes() != data:
                replace_file(path, data, scratch=self.shards)


def deduplicate(records: Iterable[Record]) -> list[Record]:
    """What is worth keeping, sorted by key, environment and line; the same for any order and grouping of the records.

    One of equal measurements, all different ones of a key (a conflict), and what went wrong only without any of these.
    """
    by_key: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    return [record for key in sorted(by_key) for record in _deduplicate_key(by_key[key])]


def _deduplicate_key(records: list[Record]) -> list[Record]:
    if len(records) == 1:
        return records
    measured = [record for record in records if record.status in MEASURED]
    kept: dict[tuple[str, str], Record] = {}
    for record in sorted(measured or records, key=lambda record: (record.env, encode(record))):
        kept.setdefault((record.env, _metrics(record) if measured else ""), record)
    return list(kept.values())


def _metrics(record: Record) -> str:
    """What two measurements of the same key in the same environment must agree in."""
    return canonical(
        {name: value for name, value in record.to_json().items() if name not in _NOT_METRICS}
    )


def _by_environment(
    settled: list[Record],
) -> tuple[dict[tuple[str, str], Record], tuple[Conflict, ...]]:
    """(key, env) -> the first record, and where there are others."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in settled:
        groups[record.key, record.env].append(record)
    conflicts = tuple(
        Conflict(first, tuple(others)) for first, *others in groups.values() if others
    )
    return {at: group[0] for at, group in groups.items()}, conflicts


def _shard(path: Path) -> FileContents:
    """A shard's packs; a live writer's last lines are not torn but on their way."""
    fd = lock(path)  # before reading: who is dead now stays dead
    try:
        part = read_shard(path, path.read_bytes())
    except (
        FileNotFoundError
    ):  # a merge took it; its records are in the merged files, which are read later
        return FileContents()
    finally:
        if fd is not None:
            os.close(fd)
    return part if fd is not None else FileContents(part.records, b"", part.damaged)


def _acquire(path: Path, stack: ExitStack) -> None:
    """Wait for the lock of merging, and keep it for the stack's life."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    stack.callback(os.close, fd)
    fcntl.flock(fd, fcntl.LOCK_EX)


def _abandoned_size(path: Path) -> int | None:
    """The size of a shard whose writer is dead; `None` if it lives."""
    fd = lock(path)
    if fd is None:
        return None
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _remove(path: Path, size: int) -> bool:
    """Remove a shard whose packs are merged; what its writer did not end is put aside, to be looked at.

    A shard that was empty may be one that its writer had not locked yet: not if it is locked, or has grown, by now.
    """
    fd = lock(path)
    if fd is None:
        return False
    try:
        if os.fstat(fd).st_size != size:
            return False
        torn = read_shard(path, path.read_bytes()).torn
        if torn:
            write_file(path.with_suffix(".torn"), torn)
        path.unlink()
        return True
    finally:
        os.close(fd)


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.from_json(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = (
            f"{path} is damaged: {error}; restore the file, or delete it and run the suite again"
        )
        raise MembenchError(message, ExitCode.STORE) from error

"""How records lie on disk: one line of canonical JSON with a checksum each, in shards that only one process writes.

`Writer` appends packs, all lines or none; `read_shard` and `read_merged` give back what is whole and say what is not.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.files import make_folder
from membench.files import sync_folder
from membench.files import write_all
from membench.records import Record
from membench.records import canonical

_CRC = b',"crc":"'
_FIELD = len(_CRC) + 9  # 8 hex digits and the closing quote


@dataclass(frozen=True)
class CorruptLines:
    """Lines that were once whole and are not any more, or that another membench wrote."""

    path: Path
    line: int  #: the bad line, from 1
    first: int  #: first and last line that go with it: its pack in a shard, itself in a merged file
    last: int
    why: str

    def error(self) -> MembenchError:
        """What is wrong, where, and how to mend it."""
        lines = (
            f"line {self.first}"
            if self.first == self.last
            else f"lines {self.first} to {self.last}"
        )
        fix = f"restore the file, or delete {lines} (sed -i {self.first},{self.last}d): their cells are trained again"
        return MembenchError(
            f"{self.path}:{self.line} is damaged: {self.why}; {fix}", ExitCode.STORE
        )


@dataclass
class FileContents:
    """What one file holds."""

    records: list[Record] = field(default_factory=list)
    torn: bytes = b""  #: the lines after the last whole pack: the writer died, or is writing now
    damaged: list[CorruptLines] = field(default_factory=list)


def encode_line(value: dict[str, Any]) -> bytes:
    """One stored line: the value's canonical JSON with its own CRC-32 added as the field `crc`."""
    line = canonical({**value, "crc": "00000000"}).encode()
    at = line.find(_CRC)
    rest = line[:at] + line[at + _FIELD :]
    return b'%s%s%08x"%s\n' % (line[:at], _CRC, zlib.crc32(rest), line[at + _FIELD :])


def decode_line(line: bytes) -> dict[str, Any]:
    """The inverse of `seal`, without the end of the line. Raises `ValueError`.

    The checksum is of the bytes as they are, not of what they parse to: any flipped bit is seen, `1e5` -> `1E5` too.
    """
    at = line.find(
        _CRC
    )  # the first is the top level's: within strings a quote has a backslash before it
    rest = line[:at] + line[at + _FIELD :]
    if at < 0 or line[at : at + _FIELD] != b'%s%08x"' % (_CRC, zlib.crc32(rest)):
        raise ValueError("its checksum does not match")
    return json.loads(rest)


def encode(record: Record) -> bytes:
    """The record's line."""
    return encode_line(record.to_json())


def decode(line: bytes) -> Record:
    """The line's record. Raises `ValueError`."""
    value = decode_line(line)
    try:
        return Record.from_json(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"another version of membench wrote it ({error})") from error


def _committed(line: bytes) -> int | None:
    """How many lines the pack has that this line ends; `None`: it is not such a line."""
    if not line.startswith(
        b'{"commit":'
    ):  # records start with their first field in alphabetical order
        return None
    try:
        return decode_line(line)["commit"]
    except ValueError:
        return None


def read_shard(path: Path, data: bytes) -> FileContents:
    """The whole packs of a shard; a damaged line costs its pack, a pack without its last line is torn."""
    part, pack, first = FileContents(), [], 1
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        count = _committed(line)
        if count is None:
            pack.append(line)
            continue
        records, damaged = _decode_all(path, pack, first, last=number)
        if not damaged and len(records) != count:
            damaged = [
                CorruptLines(
                    path, number, first, number, f"its pack has {len(records)} of {count} lines"
                )
            ]
        part.records += [] if damaged else records
        part.damaged += damaged
        pack, first = [], number + 1
    part.torn = b"\n".join([*pack, lines[-1]])
    return part


def read_merged(path: Path, data: bytes) -> FileContents:
    """The lines of a merged file; each stands for itself. It was written atomically: a torn end is damage."""
    part = FileContents()
    lines = data.split(b"\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], start=1):
        records, damaged = _decode_all(path, [line], number, last=number)
        part.records += records
        part.damaged += damaged
    return part


def _decode_all(
    path: Path, lines: list[bytes], first: int, last: int
) -> tuple[list[Record], list[CorruptLines]]:
    records, damaged = [], []
    for number, line in enumerate(lines, start=first):
        try:
            records.append(decode(line))
        except ValueError as error:
            damaged.append(CorruptLines(path, number, first, last, str(error)))
    return records, damaged


class Writer:
    """Appends packs to a shard of its own, which it holds locked: while it lives, no merge takes the shard away."""

    def __init__(self, folder: Path) -> None:
        with disk_errors("write", folder):
            make_folder(folder)
            self.path, self._fd = _open_shard(folder)
        self._usable = True

    def append(self, records: Sequence[Record]) -> None:
        """Make a pack's records durable, all or none.

        Raises:
            MembenchError: with `ExitCode.DISK`. The shard takes nothing more then: after a failed fsync the kernel
                calls the lost pages clean, so that a second try would lie.
            ValueError: a number is not finite, or a key is not hexadecimal; nothing was written.
        """
        if not self._usable:
            raise MembenchError(
                f"cannot write {self.path}: a write failed before; start again", ExitCode.DISK
            )
        data = b"".join([*map(_checked, records), encode_line({"commit": len(records)})])
        self._usable = False  # also if a signal's exception ends the write half-way
        with disk_errors("write", self.path):
            write_all(self._fd, data)
            os.fsync(self._fd)
        self._usable = True

    def close(self) -> None:
        """Unlock the shard; remove it if it holds nothing."""
        if self._fd < 0:
            return
        if os.fstat(self._fd).st_size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd, self._usable = -1, False

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(record: Record) -> bytes:
    """The record's line, if its key can name a merged file."""
    if not re.fullmatch("[0-9a-f]+", record.key):
        raise ValueError(f"the key of {record.id} is not hexadecimal: {record.key!r}")
    return encode(record)


def _open_shard(folder: Path) -> tuple[Path, int]:
    host = re.sub("[^A-Za-z0-9]+", "_", platform.node()) or "host"
    while True:
        path = folder / f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if (
            path.exists()
        ):  # else a merge took the empty file for a dead writer's before it was locked
            sync_folder(folder)
            return path, fd
        os.close(fd)


def lock(path: Path) -> int | None:
    """An open file descriptor that holds the file's lock; `None` if a live process has it or we may not."""
    try:
        fd = os.open(
            path, os.O_RDWR | os.O_CLOEXEC
        )  # NFS locks exclusively only what is open for writing
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd

"""The files of records: one line of canonical JSON with a checksum for each record.

A shard is written by one process, in packs that end with a commit line: `Writer` appends a pack
whole or not at all, `News` follows several. A merged file holds records alone, sorted. `read_shard`
and `read_merged` return what is whole and report what is not.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import sys
import uuid
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Generic
from typing import NamedTuple
from typing import TypeVar

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.files import host_name
from membench.files import make_folder
from membench.files import sync_folder
from membench.files import write_all
from membench.records import SCHEMA
from membench.records import Record
from membench.records import canonical

T = TypeVar("T")  #: what is kept of a line

#: How a commit line begins. No record does: its fields are sorted, `architecture` is the first.
_COMMIT = b'{"commit":'
_ZEROS = bytes(16)
_CRC_PREFIX = b',"crc":"'
_CRC_FIELD_SIZE = len(_CRC_PREFIX) + 9  #: bytes: 8 hex digits and the closing quote


@dataclass(frozen=True, kw_only=True)
class CorruptLines:
    """Lines that were whole once and are not any more, or that another membench wrote."""

    path: Path
    line: int  #: the bad line, from 1
    first: int  #: first line that is lost with it: of its pack in a shard, itself in a merged file
    last: int  #: last line that is lost with it
    reason: str

    @property
    def lines(self) -> str:
        """The lines that are lost, in words."""
        if self.first == self.last:
            return f"line {self.first}"
        return f"lines {self.first} to {self.last}"

    def error(self) -> MembenchError:
        """Return the error that says what is wrong, where, and how to mend it."""
        message = (
            f"{self.path}:{self.line} is damaged: {self.reason}; restore the file, or delete "
            f"{self.lines} (sed -i {self.first},{self.last}d): their cells are trained again"
        )
        return MembenchError(message, ExitCode.STORE)


class End(NamedTuple):
    """How a cell ended: what is needed of its record to count it, read in half the time."""

    key: str
    env: str
    status: str
    versions: bool  #: whether it names its environment


@dataclass
class FileContents(Generic[T]):
    """The contents of one file."""

    records: list[T] = field(default_factory=list)
    torn: bytes = b""  #: the lines after the last whole pack: the writer died, or is writing now
    damaged: list[CorruptLines] = field(default_factory=list)


def encode_line(value: dict[str, Any]) -> bytes:
    """Return one stored line: the value's canonical JSON with its CRC-32 as the field `crc`."""
    line = canonical({**value, "crc": "00000000"}).encode()
    start = line.find(_CRC_PREFIX)
    before, after = line[:start], line[start + _CRC_FIELD_SIZE :]
    return b'%s%s%08x"%s\n' % (before, _CRC_PREFIX, zlib.crc32(before + after), after)


def decode_line(line: bytes) -> dict[str, Any]:
    """Return the value of a stored line, given without its line end: the inverse of `encode_line`.

    The checksum is of the bytes, not of what they parse to, so that any flipped bit is seen: one
    that turns `1e5` into `1E5` too.

    Raises:
        ValueError: the checksum does not match.
    """
    # The first such bytes are the top level's: within a string, a quote has a backslash before it.
    start = line.find(_CRC_PREFIX)
    end = start + _CRC_FIELD_SIZE
    rest = line[:start] + line[end:]
    if start < 0 or line[start:end] != b'%s%08x"' % (_CRC_PREFIX, zlib.crc32(rest)):
        ending = ", and it ends with a carriage return" if line.endswith(b"\r") else ""
        raise ValueError(f"its checksum does not match{ending}")
    try:
        return json.loads(rest.decode())
    except RecursionError as error:
        raise ValueError("its brackets are too many") from error


def encode(record: Record) -> bytes:
    """Return the record's line."""
    return encode_line(record.to_json())


def decode(line: bytes) -> Record:
    """Return the record of a line, given without its line end.

    Raises:
        ValueError: the line is damaged, or another version of membench wrote it.
    """
    value = decode_line(line)
    try:
        return Record.from_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"another version of membench wrote it ({error})") from error


def decode_end(line: bytes) -> End:
    """Return how the cell of a line ended, as `decode` returns all of its record.

    Raises:
        ValueError: as of `decode`; of the other fields, nothing is noticed.
    """
    value = decode_line(line)
    try:
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']!r}")
        return End(
            key=sys.intern(value["key"]),
            env=sys.intern(value["env"]),
            status=sys.intern(value["status"]),
            versions=bool(value["versions"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"another version of membench wrote it ({error!r})") from error


def read_shard(path: Path, data: bytes | BinaryIO, *, live: bool = False) -> FileContents[Record]:
    """Return the records of the whole packs of a shard; the arguments are as of `parse_shard`."""
    return parse_shard(path, data, decode, live=live)


def parse_shard(
    path: Path, data: bytes | BinaryIO, decode: Callable[[bytes], T], *, live: bool = False
) -> FileContents[T]:
    """Return the whole packs of a shard.

    A damaged line costs its pack. The lines of a pack without its commit line are torn: what a
    writer that is killed leaves is the beginning of what it wrote, whole lines and a piece.

    Args:
        path: names the shard in what is reported.
        data: its bytes, or a file of them, of which a pack at a time is held.
        decode: makes of a line, without its line end, what is kept of it.
        live: its writer may be at work, or on another machine: what follows the last whole pack may
            not have come whole, and is torn whatever it is.
    """
    contents = FileContents[T]()
    pack: list[bytes] = []
    first = 1  #: number of the pack's first line
    unended = b""
    for number, line in enumerate(_lines(data), start=1):
        if not line.endswith(b"\n"):
            unended = line
            break
        line = line[:-1]  # noqa: PLW2901
        if not line.startswith(_COMMIT):
            pack.append(line)
            continue
        records, damaged = _decode_lines(path, pack, decode, first, last=number)
        damaged += _commit_damage(path, line, len(pack), first, number)
        if damaged:
            contents.damaged += damaged
        else:
            contents.records += records
        pack = []
        first = number + 1
    damaged = [] if live else _tail_damage(path, pack, unended, first)
    contents.damaged += damaged
    if not damaged:
        contents.torn = b"\n".join([*pack, unended])
    return contents


def torn_end(file: BinaryIO) -> bytes:
    """Return what follows the last commit line of a shard."""
    torn: list[bytes] = []
    for line in file:
        torn.append(line)
        if line.startswith(_COMMIT) and line.endswith(b"\n"):
            torn.clear()
    return b"".join(torn)


def _commit_damage(
    path: Path, line: bytes, lines: int, first: int, number: int
) -> list[CorruptLines]:
    """Return what is wrong with a commit line, or with the number of lines that it ends.

    Args:
        path: of the shard.
        line: the commit line.
        lines: how many its pack has.
        first: number of the first of them.
        number: of the commit line.
    """
    try:
        count = decode_line(line)["commit"]
        reason = "" if count == lines else f"its pack has {lines} of {count} lines"
    except ValueError as error:
        reason = str(error)
    if not reason:
        return []
    return [CorruptLines(path=path, line=number, first=first, last=number, reason=reason)]


def _tail_damage(path: Path, pack: list[bytes], unended: bytes, first: int) -> list[CorruptLines]:
    """Return what no writer can have left after the last commit line of a shard.

    A whole line has a right checksum, and a commit line is the last that is written of a pack: with
    more behind it, it was not its line end that was written there. A file system that lost power
    leaves zeros.
    """
    if _ZEROS in unended or any(_ZEROS in line for line in pack):
        return []
    last = first + len(pack) - (not unended)
    _, damaged = _decode_lines(path, pack, decode, first, last=last)
    if unended.startswith(_COMMIT):
        with suppress(ValueError):
            decode_line(unended[:-1])
            reason = "its line end is another byte"
            damaged.append(
                CorruptLines(path=path, line=last, first=first, last=last, reason=reason)
            )
    return damaged


def read_merged(path: Path, data: bytes | BinaryIO) -> FileContents[Record]:
    """Return the records of a merged file; the arguments are as of `parse_merged`."""
    return parse_merged(path, data, decode)


def parse_merged(
    path: Path, data: bytes | BinaryIO, decode: Callable[[bytes], T]
) -> FileContents[T]:
    """Return the lines of a merged file.

    Each line stands for itself. The file was written atomically, so that a torn end is damage.

    Args:
        path: names the file in what is reported.
        data: its bytes, or a file of them.
        decode: makes of a line, without its line end, what is kept of it.
    """
    contents = FileContents[T]()
    for number, line in enumerate(_lines(data), start=1):
        one = [line.removesuffix(b"\n")]
        records, damaged = _decode_lines(path, one, decode, number, last=number)
        contents.records += records
        contents.damaged += damaged
    return contents


def _lines(data: bytes | BinaryIO) -> Iterator[bytes]:
    """Return the lines, each with its line end, which the last may lack."""
    return iter(io.BytesIO(data) if isinstance(data, bytes) else data)


class News:
    """Reads the records that are appended to the shards of a folder, each once.

    Args:
        folder: of the shards. What they hold already is not news.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}  #: shard -> bytes of whole packs that were read
        self.read()

    def read(self) -> list[Record]:
        """Return the records of the whole packs that are new since the last call.

        Damage costs its pack, which has no news; `Store.read` tells it.
        """
        records: list[Record] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            start = self._read.get(path, 0)
            try:
                with open(path, "rb") as shard:
                    shard.seek(start)
                    data = shard.read()
            except FileNotFoundError:  # merged by someone else, or empty and closed
                continue
            contents = read_shard(path, data, live=True)
            self._read[path] = start + len(data) - len(contents.torn)
            records += contents.records
        return records


def _decode_lines(
    path: Path, lines: list[bytes], decode: Callable[[bytes], T], first: int, last: int
) -> tuple[list[T], list[CorruptLines]]:
    """Decode lines from number `first` on; what is damaged costs all lines up to `last`."""
    records = []
    damaged = []
    for number, line in enumerate(lines, start=first):
        try:
            records.append(decode(line))
        except ValueError as error:
            damaged.append(
                CorruptLines(path=path, line=number, first=first, last=last, reason=str(error))
            )
    return records, damaged


class Writer:
    """Appends packs to a new shard, which it holds locked so that no merge takes it away.

    Args:
        folder: where the shard is made.

    Raises:
        MembenchError: with `ExitCode.DISK`; the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        with disk_errors("write", folder):
            make_folder(folder)
            self.path, self._fd = _open_shard(folder)
        self._usable = True

    def append(self, records: Sequence[Record]) -> None:
        """Make a pack's records durable, all or none.

        Raises:
            MembenchError: with `ExitCode.DISK`: the disk refuses, or the shard has been removed.
                It takes nothing more then: after a failed fsync the kernel calls the lost pages
                clean, so that a second try would lie.
            ValueError: a number is not finite, or a key is not hexadecimal; nothing was written.
        """
        if not self._usable:
            raise MembenchError(
                f"cannot write {self.path}: a write failed before; start again", ExitCode.DISK
            )
        lines = [_encode_checked(record) for record in records]
        lines.append(encode_line({"commit": len(records)}))
        self._usable = False  # stays so if the write fails, or a signal's exception ends it
        with disk_errors("write", self.path):
            write_all(self._fd, b"".join(lines))
            os.fsync(self._fd)
            removed = os.fstat(self._fd).st_nlink == 0
        if removed:  # by `rm`, or by a merge on a machine that our lock does not reach
            raise MembenchError(
                f"{self.path} was removed while it was written: its last {len(records)} records "
                "are lost; start again",
                ExitCode.DISK,
            )
        self._usable = True

    def close(self) -> None:
        """Unlock the shard; remove it if it holds nothing, and else leave that to a merge."""
        if self._fd < 0:
            return
        fd, self._fd, self._usable = self._fd, -1, False
        try:
            # a disk that refuses has been named by `append`, in whose place this must not be told
            with suppress(OSError):
                if os.fstat(fd).st_size == 0:
                    self.path.unlink()
        finally:
            os.close(fd)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _encode_checked(record: Record) -> bytes:
    """Return the record's line, if its key can name a merged file."""
    if not re.fullmatch("[0-9a-f]+", record.key):
        raise ValueError(f"the key of {record.id} is not hexadecimal: {record.key!r}")
    return encode(record)


def _open_shard(folder: Path) -> tuple[Path, int]:
    """Make and lock a new shard. Returns its path and a file descriptor."""
    while True:
        path = folder / f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(path, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Before it was locked, a merge may have removed it as an empty shard of a dead writer.
            is_there = path.exists()
            if is_there:
                sync_folder(folder)
        except BaseException:
            os.close(fd)
            raise
        if is_there:
            return path, fd
        os.close(fd)


def host_of(path: Path) -> str:
    """Return on which machine a shard was written, as `membench.files.host_name` names it."""
    return path.name.partition("-")[0]


def lock(path: Path) -> int | None:
    """Lock a shard. Returns an open file descriptor, to be closed by the caller.

    Returns None if a live process holds the lock, or if we may not open the file.
    """
    try:
        # NFS locks exclusively only what is open for writing.
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd

"""A disk that refuses, is full, loses its power, or whose writer is killed, at a chosen call.

`FaultyDisk` stands between `os` and the files below a folder. It counts the calls that change
them, lets one of them fail, and knows what a disk has that keeps only what was synced: the bytes of
a file after `fsync` of the file, its name after `fsync` of its folder.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Errors of a disk, each with the calls that give it.
REFUSED = {
    errno.ENOSPC: ("open", "mkdir", "write", "fsync", "replace"),
    errno.EIO: ("open", "mkdir", "write", "fsync", "replace", "unlink"),
    errno.EROFS: ("open", "mkdir", "write", "fsync", "replace", "unlink"),
}
ALL_CALLS = REFUSED[errno.EIO]
Choose = Callable[[int], int]  #: takes n and returns a number from 0 to n


class Killed(BaseException):
    """The process is gone: nothing after this call happened."""


@dataclass(frozen=True)
class Fault:
    """What happens to a call."""

    at: int  #: which call that changes files, from 1
    number: int = 0  #: of the error; 0: the process is killed
    lasting: bool = True  #: every later call fails too
    part: float = 0.0  #: how much of a `write` is done before, in [0, 1]


@dataclass(eq=False)
class _File:
    """A file by whatever name, or a folder."""

    handle: int  #: an open descriptor, so that the system gives its inode to no other
    synced: bytes = b""

    def now(self) -> bytes:
        return Path(f"/proc/self/fd/{self.handle}").read_bytes()


@dataclass(frozen=True)
class _Renaming:
    """A file got, changed or lost its name; None: it had none, or has none."""

    file: _File
    before: Path | None
    after: Path | None

    def is_in(self, folder: Path) -> bool:
        return any(path is not None and path.parent == folder for path in (self.before, self.after))


class FaultyDisk:
    """The files below a folder, which exists.

    Args:
        folder: what it holds is on the disk already.
        patch: replaces the functions of `os`, and puts them back.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls = 0  #: that were to change files, since the last fault was set
        self._fault: Fault | None = None
        self._real: dict[str, Callable[..., Any]] = {}
        self._open_files: dict[int, _File] = {}
        self._open_folders: dict[int, Path] = {}
        self._files: dict[Path, _File] = {}
        self._synced: dict[Path, _File] = {}  #: by the names that are on the disk
        self._renamings: list[_Renaming] = []  #: that are not on the disk yet
        self._handles: list[int] = []
        for name in (*ALL_CALLS, "close"):
            self._real[name] = getattr(os, name)
        for path in folder.rglob("*"):
            self._take_in(path)
        for name in self._real:
            patch.setattr(os, name, getattr(self, f"_{name}"))

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Let a call fail."""
        self.calls, self._fault = 0, fault
        try:
            yield
        finally:
            self._fault = None

    def close(self) -> None:
        """Let go of the files."""
        while self._handles:
            self._real["close"](self._handles.pop())

    def lose_power(self, choose: Choose) -> None:
        """Leave in the folder what a disk may have; whoever has a file open must have closed it.

        Of names that were not synced any may be there or not; of bytes any first part, or zeros.
        """
        for renaming in self._renamings:
            if choose(1):
                _rename(self._synced, renaming)
        contents = {}
        for path, file in self._synced.items():
            if not path.is_relative_to(self.folder) or not _is_reachable(path, self):
                continue
            contents[path] = None if _is_folder(file) else _survivor(file, choose)
        times = {path: os.stat(f"/proc/self/fd/{self._synced[path].handle}") for path in contents}
        self.close()
        self._files, self._synced, self._renamings = {}, {}, []
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else self._real["unlink"](path)
        for path, data in sorted(contents.items()):
            if data is None:
                self._real["mkdir"](path)
            else:
                path.write_bytes(data)
                os.utime(path, ns=(times[path].st_atime_ns, times[path].st_mtime_ns))
            self._take_in(path)

    def _take_in(self, path: Path) -> None:
        """Take note of a file that is on the disk."""
        self._synced[path] = self._register(path)
        if path.is_file():
            self._synced[path].synced = path.read_bytes()

    def _meet(self, call: str) -> float:
        """Count a call. Returns how much of it is to be done, if it fails at a part of it."""
        self.calls += 1
        fault = self._fault
        if fault is None or self.calls < fault.at or (self.calls > fault.at and not fault.lasting):
            return 1.0
        if fault.number == 0:
            if call == "write" and self.calls == fault.at and fault.part:
                return fault.part
            raise Killed
        if call not in REFUSED[fault.number]:
            return 1.0
        if call == "write" and self.calls == fault.at and fault.part:
            return fault.part
        raise OSError(fault.number, os.strerror(fault.number))

    def _is_mine(self, path: object) -> bool:
        return isinstance(path, str | Path) and Path(path).is_relative_to(self.folder)

    def _register(self, path: Path) -> _File:
        handle = self._real["open"](path, os.O_PATH)
        self._handles.append(handle)
        self._files[path] = _File(handle)
        return self._files[path]

    def _note(self, file: _File, before: Path | None, after: Path | None) -> None:
        renaming = _Renaming(file, before, after)
        self._renamings.append(renaming)
        _rename(self._files, renaming)

    def _open(self, path: Any, flags: int, *arguments: Any, **more: Any) -> int:
        writing = flags & (os.O_WRONLY | os.O_RDWR)
        if not self._is_mine(path) or not (writing or os.path.isdir(path)):
            return self._real["open"](path, flags, *arguments, **more)
        is_new = not os.path.lexists(path)
        if writing:
            self._meet("open")
        fd: int = self._real["open"](path, flags, *arguments, **more)
        path = Path(path)
        if not writing:
            self._open_folders[fd] = path
            return fd
        if is_new:
            self._note(self._register(path), None, path)
        self._open_files[fd] = self._files[path]
        return fd

    def _close(self, fd: int) -> None:
        self._open_files.pop(fd, None)
        self._open_folders.pop(fd, None)
        self._real["close"](fd)

    def _write(self, fd: int, data: Any) -> int:
        if fd not in self._open_files:
            return self._real["write"](fd, data)
        part = self._meet("write")
        # as a disk that is nearly full does, which refuses at the next call
        return self._real["write"](fd, bytes(data)[: max(1, int(part * len(data)))])

    def _fsync(self, fd: int) -> None:
        if fd in self._open_files:
            self._meet("fsync")
            self._open_files[fd].synced = self._open_files[fd].now()
        elif fd in self._open_folders:
            self._meet("fsync")
            self._sync_names(self._open_folders[fd])
        else:
            self._real["fsync"](fd)

    def _sync_names(self, folder: Path) -> None:
        last = {}
        for place, renaming in enumerate(self._renamings):
            if renaming.is_in(folder):
                last[renaming.file] = place
        later = []
        for place, renaming in enumerate(self._renamings):
            if place <= last.get(renaming.file, -1):
                _rename(self._synced, renaming)
            else:
                later.append(renaming)
        self._renamings = later

    def _mkdir(self, path: Any, *arguments: Any, **more: Any) -> None:
        if not self._is_mine(path) or os.path.lexists(path):
            self._real["mkdir"](path, *arguments, **more)
            return
        self._meet("mkdir")
        self._real["mkdir"](path, *arguments, **more)
        path = Path(path)
        self._note(self._register(path), None, path)

    def _replace(self, before: Any, after: Any, **more: Any) -> None:
        if not self._is_mine(before):
            self._real["replace"](before, after, **more)
            return
        self._meet("replace")
        self._real["replace"](before, after, **more)
        self._note(self._files[Path(before)], Path(before), Path(after))

    def _unlink(self, path: Any, **more: Any) -> None:
        if not self._is_mine(path) or not os.path.lexists(path):
            self._real["unlink"](path, **more)
            return
        self._meet("unlink")
        self._real["unlink"](path, **more)
        self._note(self._files[Path(path)], Path(path), None)


def _rename(files: dict[Path, _File], renaming: _Renaming) -> None:
    if renaming.before is not None and files.get(renaming.before) is renaming.file:
        del files[renaming.before]
    if renaming.after is not None:
        files[renaming.after] = renaming.file


def _is_folder(file: _File) -> bool:
    return Path(f"/proc/self/fd/{file.handle}").is_dir()


def _is_reachable(path: Path, disk: FaultyDisk) -> bool:
    return path.parent == disk.folder or (
        path.parent in disk._synced and _is_reachable(path.parent, disk)
    )


def _survivor(file: _File, choose: Choose) -> bytes:
    """Return what is left of a file: what was synced, and of what was added later a part."""
    now = file.now()
    if not now.startswith(file.synced):
        return file.synced
    more = now[len(file.synced) :]
    kept = more[: choose(len(more))]
    # the size of a file may be on the disk, and its bytes not
    return file.synced + (bytes(len(kept)) if kept and choose(1) else kept)

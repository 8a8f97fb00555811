"""Writing that survives a crash: whole writes, fsync of files and folders, atomic replacement. Used by the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from membench.errors import ExitCode
from membench.errors import MembenchError


@contextmanager
def disk_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into the one line that the user sees, with the exit code for disks."""
    try:
        yield
    except OSError as error:
        message = f"cannot {action} {path}: {error.strerror}; all that was stored before is intact"
        raise MembenchError(message, ExitCode.DISK) from error


def write_all(fd: int, data: bytes) -> None:
    """`os.write` until nothing is left: a full disk may take a part and fail only at the next call."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Make new, replaced and removed names in the folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_file(path: Path, data: bytes) -> None:
    """A new, durable file; its name becomes durable with `sync_folder`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, scratch: Path) -> None:
    """Put the data where `path` is: a reader, or a crash at any point, finds all of the old or all of the new bytes.

    Args:
        scratch: where the bytes are written first; on the same file system. What a crash leaves there is garbage.
    """
    temporary = scratch / f"{path.name}.{os.getpid()}.tmp"
    write_file(temporary, data)
    os.replace(temporary, path)
    sync_folder(path.parent)


def cache_folder() -> Path:
    """`$MEMBENCH_CACHE`, else `$XDG_CACHE_HOME/membench`, else `~/.cache/membench`; it need not exist yet."""
    if own := os.environ.get("MEMBENCH_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        return Path(base) / "membench"
    try:
        return Path.home() / ".cache" / "membench"
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir()) / f"membench-{os.getuid()}"

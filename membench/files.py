"""Writing that survives a crash, and the cache folder.

A file is durable once its bytes and its name are on the disk: `write_file` and `replace_file` sync
the bytes, `sync_folder` the names.
"""

from __future__ import annotations

import atexit
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from membench.errors import ExitCode
from membench.errors import MembenchError


@contextmanager
def disk_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into the one line that the user sees.

    Raises:
        MembenchError: with the exit code `DISK`; reads "cannot `action` `path`: reason".
    """
    try:
        yield
    except OSError as error:
        message = f"cannot {action} {path}: {error.strerror}; all that was stored before is intact"
        raise MembenchError(message, ExitCode.DISK) from error


def read_file(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        FileNotFoundError: there is nothing of that name.
        MembenchError: as of `open_file`.
    """
    with open_file(path) as file:
        return file.read()


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file of which others may have made something else, as a folder or a pipe.

    Raises:
        FileNotFoundError: there is nothing of that name.
        MembenchError: with `ExitCode.STORE`; it cannot be read, or is no file.
    """
    try:
        # O_NONBLOCK: to open a pipe would wait for who writes into it
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode):
                yield file
                return
            reason = "it is a folder" if stat.S_ISDIR(mode) else "it is no file"
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise
        reason = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            reason = "it is a link that leads nowhere"
        elif isinstance(error, IsADirectoryError):
            reason = "it is a folder"
    raise MembenchError(
        f"cannot read {path}: {reason}; put the file back, or move away what is there",
        ExitCode.STORE,
    )


def write_all(fd: int, data: bytes) -> None:
    """Call `os.write` until nothing is left.

    A full disk may take a part of the data and fail at the next call only.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_file(path: Path, data: bytes) -> None:
    """Write a file whose bytes are durable; its name becomes durable with `sync_folder`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(
    path: Path, data: bytes, *, scratch: Path | None = None, durable: bool = True
) -> None:
    """Replace a file atomically: a reader finds all of the old or all of the new bytes.

    Args:
        path: the file to make or to replace; its folder exists.
        data: the new content.
        scratch: the folder in which the bytes are written first, on the same file system; by
            default that of `path`. A crash may leave a file there that matches `scratch_files`; an
            exception leaves none.
        durable: wait until the disk has the bytes and the name, so that a crash of the machine
            loses neither. Records need it. Pages and caches do not: they can be made again.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    temporary = (scratch or path.parent) / f".{path.name}.{host_name()}-{os.getpid()}.tmp"
    try:
        if durable:
            write_file(temporary, data)
        else:
            temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def scratch_files(host: str = "*") -> str:
    """Return the pattern of the files that `replace_file` leaves where it is killed.

    Args:
        host: on which it ran, from `host_name`; of any by default.
    """
    return f".*.{host}-*.tmp"


def host_name() -> str:
    """Return this machine's name as a part of file names: letters, digits and underscores."""
    return re.sub("[^A-Za-z0-9]+", "_", platform.node()) or "host"


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, durably.

    One that is there may have been made by a process that was killed, or whose disk failed, before
    its name was durable. Its parents' names are: they were synced before it was made.
    """
    is_there = folder.is_dir()
    if not is_there:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    try:
        sync_folder(folder.parent)
    except PermissionError:  # somebody else made it, where we may not look
        if not is_there:
            raise


def sync_folder(folder: Path) -> None:
    """Make new, replaced and removed names in the folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cache_folder() -> Path:
    """Find membench's cache folder, which need not exist yet.

    It is `$MEMBENCH_CACHE`, else `$XDG_CACHE_HOME/membench`, else `~/.cache/membench`. What lies
    there is believed, and compiled programs are loaded as code. So one that was not named for
    membench and is another user's, as after `su`, is not used, but an empty one of this process.
    """
    configured = os.environ.get("MEMBENCH_CACHE")
    if configured:
        return Path(configured).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification: a relative path is to be ignored
        folder = Path(base) / "membench"
    else:
        try:
            folder = Path.home() / ".cache" / "membench"
        except RuntimeError:  # a container's user without a home folder
            return _cache_for_the_homeless()
    return folder if _is_own(folder) else _private_folder()


def _cache_for_the_homeless() -> Path:
    """Return a folder for temporary files of our own, where everybody may make one of its name."""
    folder = Path(tempfile.gettempdir()) / f"membench-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if _is_own(folder) and not folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return folder
    return _private_folder()


def _is_own(folder: Path) -> bool:
    """Tell whether a folder is ours, and the link to it if it is one; one to be made will be."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return {folder.lstat().st_uid, folder.stat().st_uid} == {os.getuid()}
    return True


def _private_folder() -> Path:
    """Make a folder that only this process and its children know, and that goes with it."""
    folder = tempfile.mkdtemp(prefix="membench-")
    os.environ["MEMBENCH_CACHE"] = folder  # for the workers
    atexit.register(_remove_at_exit, folder, os.getpid())
    return Path(folder)


def _remove_at_exit(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a copy of the process that is ending
        shutil.rmtree(folder, ignore_errors=True)

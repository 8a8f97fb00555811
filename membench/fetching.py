"""Downloads for data sets: resumed where the server allows it, and checked by MD5.

A file that is not complete lies beside its final path as `NAME.part`; the final path only holds a
file whose checksum is right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.error import URLError
from urllib.request import Request
from urllib.request import urlopen

import membench
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors

#: (bytes that are here, bytes in all or 0 if unknown), of the file in progress
Progress = Callable[[int, int], None]
TIMEOUT = 30.0  #: seconds without a byte
_BLOCK = 1 << 16  #: bytes


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded."""

    name: str
    urls: tuple[str, ...]  #: of the same bytes; tried in order
    md5: str  #: in hex


def fetch_files(folder: Path, files: Iterable[Remote], progress: Progress) -> None:
    """Download files into a folder; a complete one that is there is left alone.

    Args:
        folder: made if it does not exist.
        files: to download.
        progress: called as bytes arrive.

    Raises:
        MembenchError: no address gave the file (exit code FETCH; what has arrived is kept), or the
            disk did not take it (DISK).
    """
    with disk_errors("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = folder / file.name
        if path.exists() and md5(path) == file.md5:
            continue
        part = folder / f"{file.name}.part"
        _fetch_from_any(file, part, progress)
        os.replace(part, path)


def md5(path: Path) -> str:
    """Compute a file's MD5, in hex: against damage, not against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch_from_any(file: Remote, part: Path, progress: Progress) -> None:
    """Download a file from the first address that gives it.

    Raises:
        MembenchError: no address does; gives the reason of each.
    """
    failures = []
    is_reached = False
    for url in file.urls:
        try:
            return _fetch_checked(url, file.md5, part, progress)
        except (OSError, HTTPException) as error:
            failures.append(f"{url}: {_reason(error)}")
            is_reached = is_reached or not _is_unreachable(error)
    message = f"cannot fetch {file.name} from {'; '.join(failures)}"
    size = _size(part)
    if size:
        message += f"; {size:,} bytes are kept, the same command goes on"
    if not is_reached:
        path = part.with_suffix("")
        message += f"; without a network, put the file (MD5 {file.md5}) at {path} and repeat"
    raise MembenchError(message, ExitCode.FETCH)


def _fetch_checked(url: str, expected: str, part: Path, progress: Progress) -> None:
    """Complete `part` and check its MD5.

    Raises:
        OSError: the address does not give a file with that MD5.
        HTTPException: its answer is broken.
    """
    resumed = _size(part) > 0
    _fetch_rest(url, part, progress)
    actual = md5(part)
    if actual == expected:
        return
    part.unlink()
    if not resumed:
        raise OSError(f"what it gives has MD5 {actual}, not {expected}, and was removed")
    # The bytes that were there may have been the beginning of another file.
    _fetch_checked(url, expected, part, progress)


def _fetch_rest(url: str, part: Path, progress: Progress) -> None:
    """Receive the missing bytes; after a break, try again as long as each request brings some."""
    while True:
        before = _size(part)
        try:
            return _request(url, part, progress)
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise


def _request(url: str, part: Path, progress: Progress) -> None:
    """Make one request: for the rest of the file if the server can give it, else for all of it."""
    have = _size(part)
    headers = {"User-Agent": f"membench/{membench.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # no byte comes after those that are here: the checksum tells whether all are
        raise
    with response:
        start = have if _starts_at(response, have) else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else 0
        done = _save(response, part, start, lambda done: progress(done, total))
    if done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _starts_at(response: HTTPResponse, position: int) -> bool:
    """Tell whether the server honoured a request for the bytes from a position on."""
    content_range = response.headers.get("Content-Range", "")
    is_part = response.status == HTTPStatus.PARTIAL_CONTENT
    return is_part and content_range.startswith(f"bytes {position}-")


def _save(response: HTTPResponse, part: Path, start: int, progress: Callable[[int], None]) -> int:
    """Append a response to `part`, or write `part` anew if `start` is 0.

    Returns:
        The size of `part` in the end.
    """
    done = start
    with disk_errors("write", part):
        file = part.open("ab" if start else "wb", buffering=0)
    with file:
        while block := response.read(_BLOCK):
            with disk_errors("write", part):
                file.write(block)
            done += len(block)
            progress(done)
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_unreachable(error: Exception) -> bool:
    """Tell whether no server answered at all."""
    return isinstance(error, TimeoutError) or (
        isinstance(error, URLError) and not isinstance(error, HTTPError)
    )


def _reason(error: Exception) -> str:
    """Say in a few words why a download failed."""
    if isinstance(error, HTTPError):
        return f"the server said {error.code} {error.reason}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT:g} seconds"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

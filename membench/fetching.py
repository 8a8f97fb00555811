"""Files from the net, resumed where the server allows and checked by MD5: what the shipped data sets fetch with.

What has arrived of a file lies beside its place as `NAME.part`; the place itself only ever holds a file whose sum fits.
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

Progress = Callable[
    [int, int], None
]  #: (bytes that are here, bytes of the file or 0 if unknown), of the file at hand
TIMEOUT = 30.0  #: seconds without a byte
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A file that can be had."""

    name: str
    urls: tuple[str, ...]  #: of the same bytes; tried in order
    md5: str


def fetch_files(folder: Path, files: Iterable[Remote], progress: Progress) -> None:
    """Bring the files into the folder; one that is there and whole is left alone.

    Raises:
        MembenchError: no address gave the file (FETCH; what has arrived is kept), or the disk did not take it (DISK).
    """
    with disk_errors("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        place = folder / file.name
        if not (place.exists() and md5(place) == file.md5):
            part = folder / f"{file.name}.part"
            _from_anywhere(file, part, progress)
            os.replace(part, place)


def md5(path: Path) -> str:
    """In hex; against damage, not against malice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _from_anywhere(file: Remote, part: Path, progress: Progress) -> None:
    """The first address that gives the file. Raises `MembenchError` with what each of them said."""
    said = []
    for url in file.urls:
        try:
            return _whole(url, file.md5, part, progress)
        except (OSError, HTTPException) as error:
            said.append(f"{url}: {_reason(error)}")
    kept = f"; {_size(part):,} bytes are kept, the same command goes on" if _size(part) else ""
    raise MembenchError(f"cannot fetch {file.name} from {'; '.join(said)}{kept}", ExitCode.FETCH)


def _whole(url: str, expected: str, part: Path, progress: Progress) -> None:
    """All of the file in `part`. Raises `OSError` or `HTTPException` where the address does not give it."""
    resumed = _size(part) > 0
    _go_on(url, part, progress)
    found = md5(part)
    if found == expected:
        return
    part.unlink()
    if not resumed:
        raise OSError(f"what it gives has MD5 {found}, not {expected}, and was removed")
    _whole(url, expected, part, progress)  # what lay there may have been another file's beginning


def _go_on(url: str, part: Path, progress: Progress) -> None:
    """Receive what is missing; a connection that breaks is taken up again as long as each brings something."""
    while True:
        before = _size(part)
        try:
            return _receive(url, part, progress)
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise


def _receive(url: str, part: Path, progress: Progress) -> None:
    """One request: the rest of the file where the server can give it, else all of it."""
    have = _size(part)
    headers = {"User-Agent": f"membench/{membench.__version__}", "Accept-Encoding": "identity"}
    wanted = {"Range": f"bytes={have}-"} if have else {}
    try:
        answer = urlopen(Request(url, headers=headers | wanted), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing comes after what is here: the checksum tells whether that is all
        raise
    with answer:
        start = have if _starts_at(answer, have) else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else 0
        done = _save(answer, part, start, lambda done: progress(done, total))
    if done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _starts_at(answer: HTTPResponse, have: int) -> bool:
    """Did the server honour the range?"""
    is_part = answer.status == HTTPStatus.PARTIAL_CONTENT
    return is_part and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _save(answer: HTTPResponse, part: Path, start: int, progress: Callable[[int], None]) -> int:
    """Append from `start` on, or begin anew at 0. Returns how many bytes are there at the end."""
    done = start
    with disk_errors("write", part):
        file = part.open("ab" if start else "wb", buffering=0)
    with file:
        while block := answer.read(_BLOCK):
            with disk_errors("write", part):
                file.write(block)
            done += len(block)
            progress(done)
    return done


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    """In a few words."""
    if isinstance(error, HTTPError):
        return f"the server said {error.code} {error.reason}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT:g} seconds"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

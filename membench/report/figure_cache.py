"""Figures that were drawn before, kept in the user's cache folder.

A figure takes up to a second to draw, and many stay the same when a board is written again. The
cache is never needed: what is damaged, or cannot be written, is drawn.
"""

from __future__ import annotations

import hashlib
import os
import platform
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import membench
from membench.files import cache_folder
from membench.files import replace_file
from membench.report.contents import FigureData

MAX_BYTES = 20_000_000  #: of all figures that are kept; one takes some 30 kB


@dataclass(frozen=True)
class FigureCache:
    """A folder with a file for each figure, named by a digest of all that decides its bytes."""

    folder: Path

    @classmethod
    def open(cls) -> FigureCache:
        """Return the cache in the user's cache folder, which need not exist yet."""
        return cls(cache_folder() / "figures")

    def get(self, data: FigureData) -> bytes | None:
        """Return the figure's SVG; None if it is not kept, or if its file is damaged."""
        path = self._path(data)
        try:
            svg = zlib.decompress(path.read_bytes())  # checks a checksum
        except (OSError, zlib.error):
            return None
        with suppress(OSError):
            os.utime(path)  # the files that were not used for longest go first
        return svg

    def put(self, data: FigureData, svg: bytes) -> None:
        """Keep a figure. A folder that cannot be written to is no error."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._path(data), zlib.compress(svg), durable=False)
            self._remove_oldest()

    def _path(self, data: FigureData) -> Path:
        # The spelling of frozen records of text and floats holds every bit of them.
        text = f"{_drawing_code()}\n{data!r}"
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.svg.zlib"

    def _remove_oldest(self) -> None:
        """Remove what was not used for longest, until the rest takes at most `MAX_BYTES`."""
        files = []
        for path in self.folder.iterdir():
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
        total = 0
        for _, size, path in sorted(files, reverse=True):
            total += size
            if total > MAX_BYTES:
                path.unlink(missing_ok=True)


@cache
def _drawing_code() -> str:
    """Return a digest of the code that draws: membench's, and the versions of what it draws with.

    It covers every module of membench, so that no list of those that draw can lack one.
    """
    digest = hashlib.sha256(platform.python_version().encode())
    for package in ("matplotlib", "numpy"):
        digest.update(f"{package} {version(package)}\n".encode())
    root = Path(membench.__file__).parent
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()

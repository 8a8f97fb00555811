"""What plugins say about themselves, remembered between runs: `membench list` need not import them, nor torch.

One JSON file in the user's cache folder. It is never trusted over the plugin's file, and never needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import membench
from membench.files import cache_folder
from membench.files import replace_file

SCHEMA = 2  #: raised when the fields of a remembered plugin change
FILE = f"plugins-{membench.__version__}-{SCHEMA}.json"  #: one a version: installations do not take turns in it
#: What decides how a plugin is read; in a checkout these change without a new version number.
_READERS = (
    "api.py",
    "probes.py",
    "studies.py",
    "registry/cache.py",
    "registry/entry.py",
    "registry/fingerprint.py",
    "registry/loading.py",
    "registry/validation.py",
)
MAX_SKIPS = 10_000  #: answers of `skip` that are kept


@dataclass
class PluginCache:
    """Remembered plugins by key; open, get and put, save."""

    folder: Path
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def open(cls, folder: Path | None = None) -> PluginCache:
        """What was saved; empty if there is nothing, or it is damaged."""
        folder = folder or cache_folder()
        try:
            stamp, _, text = (folder / FILE).read_text("utf-8").partition("\n")
        except (OSError, ValueError):
            return cls(folder)
        return cls(folder, json.loads(text)) if stamp == _checksum(text) else cls(folder)

    def get(self, key: str, path: Path) -> list[dict[str, Any]] | None:
        """What the plugin said, if its file is still the one that was read."""
        known = self.plugins.get(key)
        return known["entries"] if known and known["stamp"] == file_stamp(path) else None

    def put(
        self, key: str, path: Path, stamp: list[int] | None, entries: list[dict[str, Any]]
    ) -> None:
        """Remember; `stamp` is the file's from before it was read, so that an edit in between is noticed."""
        if stamp is not None:
            self.plugins[key] = {"path": str(path), "stamp": stamp, "entries": entries}
            self.changed = True

    def forget(self, key: str) -> None:
        """Read this plugin anew the next time."""
        self.changed |= self.plugins.pop(key, None) is not None

    def save(self) -> None:
        """Write atomically what changed, without the plugins whose file is gone; a read-only folder is no error."""
        if not self.changed:
            return
        text = json.dumps({k: v for k, v in self.plugins.items() if os.path.exists(v["path"])})
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            content = f"{_checksum(text)}\n{text}".encode()
            replace_file(self.folder / FILE, content, durable=False)


@dataclass
class SkipCache:
    """What `skip` answered, by a digest of all that decides it: planning imports neither the plugin nor torch again."""

    path: Path
    answers: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def open(cls) -> SkipCache:
        """What was put there before; empty if there is nothing, or it is damaged."""
        path = cache_folder() / f"skips-{membench.__version__}.json"
        try:
            stamp, _, text = path.read_text("utf-8").partition("\n")
        except (OSError, ValueError):
            return cls(path)
        return cls(path, json.loads(text)) if stamp == _checksum(text) else cls(path)

    def put(self, key: str, answer: str | None) -> None:
        """Remember, atomically, among the newest `MOST_SKIPS`; a read-only folder is no error."""
        self.answers = dict([*self.answers.items(), (key, answer)][-MAX_SKIPS:])
        text = json.dumps(self.answers)
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            content = f"{_checksum(text)}\n{text}".encode()
            replace_file(self.path, content, durable=False)


def file_stamp(path: Path) -> list[int] | None:
    """What changes when a file does: [size, mtime_ns]; None if it cannot be seen."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _checksum(text: str) -> str:
    """Of the text and of those who wrote it: what other code remembered counts as damaged."""
    readers = [file_stamp(Path(__file__).parents[1] / name) for name in _READERS]
    return hashlib.sha256(json.dumps([readers, text]).encode()).hexdigest()

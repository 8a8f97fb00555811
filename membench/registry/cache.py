"""Remember between runs what plugins said, so that most commands import neither plugins nor torch.

`PluginCache` holds the entries of each plugin, `SkipCache` the answers of `skip`. Each is one JSON
file in the user's cache folder. A cache is never trusted over the plugin's file, and never needed.
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
from typing import ClassVar
from typing import Self

import membench
from membench.files import cache_folder
from membench.files import replace_file
from membench.registry.local_files import DEFINING
from membench.registry.local_files import file_stamp
from membench.registry.local_files import stamps

SCHEMA = 6  #: raised when the fields of a remembered plugin change
MAX_SKIPS = 10_000  #: how many answers of `skip` are kept
#: The modules that decide how a plugin is read. In a checkout they change without a new version.
_READERS = (
    "api.py",
    "probes.py",
    "studies.py",
    "registry/apart.py",
    "registry/cache.py",
    "registry/entry.py",
    "registry/file_modules.py",
    "registry/fingerprint.py",
    "registry/loading.py",
    "registry/local_files.py",
    "registry/restored.py",
    "registry/validation.py",
)


@dataclass
class _CacheFile:
    """Values by key, kept in one JSON file that begins with a checksum.

    The file's name holds the version of membench, so that two installations do not overwrite each
    other's.
    """

    FILE_NAME: ClassVar[str]

    path: Path
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls) -> Self:
        """Return the cache as it was saved; empty if there is none, or if the file is damaged."""
        path = cache_folder() / cls.FILE_NAME
        try:
            checksum, _, text = path.read_text("utf-8").partition("\n")
        except (OSError, ValueError):
            return cls(path)
        if checksum != _checksum(text):
            return cls(path)
        return cls(path, json.loads(text))

    def write(self) -> None:
        """Replace the file atomically. A folder that cannot be written to is no error."""
        text = json.dumps(self.values)
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = f"{_checksum(text)}\n{text}".encode()
            replace_file(self.path, data, durable=False)


@dataclass
class PluginCache(_CacheFile):
    """The entries of each plugin, by the key of its source."""

    FILE_NAME = f"plugins-{membench.__version__}-{SCHEMA}.json"

    changed: bool = False

    def get(self, key: str, path: Path) -> list[dict[str, Any]] | None:
        """Return the plugin's entries if its files are still those that were read, else None."""
        plugin = self.values.get(key)
        if plugin is None or plugin["stamps"] != stamps(path, plugin["stamps"]):
            return None
        entries: list[dict[str, Any]] = plugin["entries"]
        return entries

    def put(
        self,
        key: str,
        path: Path,
        seen: dict[str, str | None],
        entries: list[dict[str, Any]],
    ) -> None:
        """Remember a plugin, in memory until `save`.

        Args:
            key: of the plugin's source.
            path: the defining file.
            seen: the `stamps` of its files from before they were read, so that an edit in between
                is noticed; if the defining file could not be read, nothing is remembered.
            entries: JSON-ready.
        """
        if seen[DEFINING] is not None:
            self.values[key] = {"path": str(path), "stamps": seen, "entries": entries}
            self.changed = True

    def forget(self, key: str) -> None:
        """Have this plugin read anew the next time."""
        if key in self.values:
            del self.values[key]
            self.changed = True

    def save(self) -> None:
        """Write the file if anything changed, without the plugins whose files are gone."""
        if not self.changed:
            return
        for key, plugin in list(self.values.items()):
            if not os.path.exists(plugin["path"]):
                del self.values[key]
        self.write()
        self.changed = False


@dataclass
class SkipCache(_CacheFile):
    """The answers of `skip`, by a digest of all that decides them; None means "can act there"."""

    FILE_NAME = f"skips-{membench.__version__}.json"

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str) -> str | None:
        """Return a remembered answer."""
        answer: str | None = self.values[key]
        return answer

    def put(self, key: str, answer: str | None) -> None:
        """Remember an answer and write the file, with the newest `MAX_SKIPS` answers."""
        self.values[key] = answer
        while len(self.values) > MAX_SKIPS:
            oldest = next(iter(self.values))
            del self.values[oldest]
        self.write()


def _checksum(text: str) -> str:
    """Return a hash of the text and of the code that wrote it.

    What other code remembered counts as damaged.
    """
    package = Path(membench.__file__).parent
    stamps = [file_stamp(package / name) for name in _READERS]
    return hashlib.sha256(json.dumps([stamps, text]).encode()).hexdigest()

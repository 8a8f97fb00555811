"""The plugin files of a run as bytes, so that they can be laid out on another machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from membench.api import PROJECT
from membench.errors import MembenchError
from membench.registry.discovery import PluginSource
from membench.registry.discovery import entry_points
from membench.registry.discovery import find_sources
from membench.registry.discovery import is_shipped
from membench.registry.discovery import shipped_folder
from membench.registry.local_files import read_plugin_files


@dataclass(frozen=True, kw_only=True)
class Luggage:
    """Files that do not ship, with their hashes, and what `-p` is to name where they are unpacked.

    Files keep their whole paths below the folder in which they are laid out, since a file's
    neighbours and the names of its folders may matter to what it imports.
    """

    folder: str  #: the working folder, without the leading slash
    files: Mapping[str, bytes]  #: path without the leading slash -> content
    sums: Mapping[str, str]  #: the same -> SHA-256, in hex
    plugins: tuple[str, ...]  #: paths of plugins, as in `files`, and names of modules, in order

    def unpack(self, root: Path) -> Path:
        """Lay the files out below a folder and return the working folder there.

        Raises:
            MembenchError: a file is not what was packed.
            OSError: a file cannot be written.
        """
        for name, content in self.files.items():
            if hashlib.sha256(content).hexdigest() != self.sums[name]:
                raise MembenchError(f"{name} came damaged: run the command again")
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        folder = root / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def requested(self, root: Path) -> list[str]:
        """Return what `-p` is to name once the files are laid out below a folder."""
        return [str(root / name) if name in self.files else name for name in self.plugins]


def pack_luggage(requested: Iterable[str], folder: Path, shipped: Path | None = None) -> Luggage:
    """Pack the files that plugins consist of which do not ship.

    Plugins that are modules of installed packages do not travel: they must be installed on the
    other machine too, and what is planned with another version of them is refused there.

    Args:
        requested: what `-p` names.
        folder: the working folder.
        shipped: the folder of membench's own plugins; default: where they were installed.
    """
    files: dict[str, bytes] = {}
    plugins: list[str] = []

    def ships(path: Path) -> bool:
        return is_shipped(str(path)) if shipped is None else path.is_relative_to(shipped)

    installed = set()
    for found in entry_points(PROJECT):
        if isinstance(found, PluginSource):
            installed.add(found.key)
    for source in find_sources(requested, folder, shipped or shipped_folder()):
        if not isinstance(source, PluginSource) or source.key in installed:
            continue
        if source.module:
            plugins.append(source.module)
        elif not ships(source.path):
            try:
                read = read_plugin_files(source.path)
            except (OSError, SyntaxError, ValueError):  # it was refused, and is in no pack
                continue
            files[_name(source.path)] = source.path.read_bytes()
            for helper, content in read.code.items():
                files[_name(read.folder / helper)] = content
            plugins.append(_name(source.path))
    return Luggage(
        folder=_name(folder.resolve()),
        files=files,
        sums={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        plugins=tuple(plugins),
    )


def _name(path: Path) -> str:
    return path.relative_to(path.anchor).as_posix()

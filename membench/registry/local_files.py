"""Find the files that a plugin consists of: its own, and the local ones that it imports. Pure.

Local is what lies in the folder of the plugin's file or below it, however it is imported there:
`import helper`, `from helper import x`, `from . import x`, `from .sub.mod import y`, `import
package.helper` where the folder is that package. Local files are followed in turn. Nothing is
executed: imports are read from the syntax trees, also those inside of functions. What is imported
by a computed name is not found, and what is covered may be too much, as when an installed package
has the name of a local file. `membench` is not followed, nor are installed packages.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from membench.api import PROJECT

#: Folders of installed packages: what lies beside a plugin there is no part of it.
_INSTALLED = ("site-packages", "dist-packages")
DEFINING = ""  #: the defining file, where places are named relative to its folder


@dataclass(frozen=True, kw_only=True)
class PluginFiles:
    """The code of a plugin as it was read once."""

    path: Path  #: the defining file
    tree: ast.Module  #: of the defining file
    code: Mapping[str, bytes]  #: text by file, relative to the folder; without the defining file
    #: Places in the folder that were looked for, relative to it, whether something was there or
    #: not: as long as none of them changes, reading again gives the same files.
    sought: tuple[str, ...]
    modules: frozenset[str]  #: names of local modules that are imported by their names alone

    @property
    def folder(self) -> Path:
        """The folder of the plugin."""
        return self.path.parent

    @property
    def helpers(self) -> tuple[str, ...]:
        """The local files that are imported, relative to the folder, sorted."""
        return tuple(sorted(self.code))


def read_plugin_files(path: Path, code: bytes | None = None) -> PluginFiles:
    """Read a plugin's file and the local files that it imports.

    Args:
        path: the defining file, symbolic links resolved.
        code: its content, if that has been read.

    Raises:
        OSError: the defining file cannot be read.
        SyntaxError, ValueError: it is no Python. A local file that is none counts by its bytes.
    """
    code = path.read_bytes() if code is None else code
    tree = ast.parse(code)
    search = _Search(path.parent)
    waiting = [(path, tree)]
    helpers: dict[str, bytes] = {}
    while waiting:
        importer, its_tree = waiting.pop()
        for found in search.imports(importer, its_tree):
            name = found.relative_to(path.parent).as_posix()
            if found == path or name in helpers:
                continue
            helpers[name] = found.read_bytes()
            helper = parse_or_none(helpers[name])
            if helper is not None:
                waiting.append((found, helper))
    return PluginFiles(
        path=path,
        tree=tree,
        code=helpers,
        sought=tuple(sorted(search.sought)),
        modules=frozenset(search.modules),
    )


def parse_or_none(code: bytes) -> ast.Module | None:
    """Return the syntax tree of a file; None if it is no Python."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError):
        return None


def stamps(path: Path, sought: Iterable[str]) -> dict[str, str | None]:
    """Return what identifies the content of a plugin's file and of places in its folder.

    It is SHA-256 in hex, "folder", or None where nothing can be read. Not size and time, which
    containers, `rsync -t` and `touch -r` keep.

    Args:
        path: the defining file, whose stamp is always among them, as `DEFINING`.
        sought: places relative to its folder.
    """
    found = {DEFINING: file_stamp(path)}
    for name in sought:
        place = path.parent / name if name else path
        found[name] = "folder" if place.is_dir() else file_stamp(place)
    return found


def file_stamp(path: Path) -> str | None:
    """Return SHA-256 of a file's content, in hex; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


@dataclass
class _Search:
    """Looks imports up in one folder, and remembers where it looked."""

    folder: Path
    sought: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)

    def imports(self, importer: Path, tree: ast.Module) -> Iterator[Path]:
        """Yield the local files that a file in the folder imports."""
        if self.folder.name in _INSTALLED:
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._absolute(alias.name.split("."))
            elif isinstance(node, ast.ImportFrom):
                names = node.module.split(".") if node.module else []
                for alias in node.names:  # what is imported from a package may be a module
                    imported = [*names, *([] if alias.name == "*" else [alias.name])]
                    if node.level:
                        yield from self._relative(importer, node.level, imported)
                    else:
                        yield from self._absolute(imported)

    def _absolute(self, names: list[str]) -> Iterator[Path]:
        """Yield the files of `import a.b.c`, if `a` is in the folder or the folder is `a` or `b`.

        The latter is how a plugin that is a module of a package names its neighbours.
        """
        if names[0] == PROJECT:
            return
        local = list(self._files(self.folder, names))
        if local:
            self.modules.add(names[0])
        yield from local
        for count in range(1, len(names)):
            if list(self.folder.parts[-count:]) == names[:count]:
                yield from self._file(self.folder / "__init__.py")
                yield from self._files(self.folder, names[count:])

    def _relative(self, importer: Path, level: int, names: list[str]) -> Iterator[Path]:
        """Yield the files of `from ..a import b`, which has two dots, so level 2."""
        base = importer.parents[min(level, len(importer.parents)) - 1]
        while names and not base.is_relative_to(self.folder):  # up, and perhaps down again
            base, names = base / names[0], names[1:]
        if base.is_relative_to(self.folder):
            yield from self._file(base / "__init__.py")
            yield from self._files(base, names)

    def _files(self, base: Path, names: list[str]) -> Iterator[Path]:
        """Yield the files that importing the dotted name executes, below a folder."""
        for name in names:
            yield from self._file(base / f"{name}.py")
            base /= name
            self._look(base)
            if not base.is_dir():
                return
            yield from self._file(base / "__init__.py")

    def _file(self, path: Path) -> Iterator[Path]:
        self._look(path)
        if path.is_file():
            yield path

    def _look(self, path: Path) -> None:
        self.sought.add(path.relative_to(self.folder).as_posix())

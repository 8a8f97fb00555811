"""Find the plugins without importing them.

They are in the shipped folder, in `./plugins/`, in what `-p` names, in the entry points of
installed packages, and in what `pyproject.toml` lists. The registry asks for the sources, and
`membench.registry.apart` reads those that the cache does not know.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tomllib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import Path

from membench.api import PROJECT
from membench.errors import MembenchError
from membench.text import one_line

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class PluginProblem:
    """A fault of a plugin, and how to correct it. The others go on, and the run exits 1."""

    origin: str  #: the file, module or distribution
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.origin}: {self.message}")


@dataclass(frozen=True)
class PluginSource:
    """One place that registers records: a file, or a module or object that can be imported."""

    path: Path  #: the defining file, symbolic links resolved
    origin: str  #: the file or distribution, as shown to people
    module: str = ""  #: the dotted name, if the plugin is imported by name and not by path
    attr: str = ""  #: the entry point's object in the module; "" is the module itself

    @property
    def key(self) -> str:
        """The identity of the plugin: equal however it was found."""
        return f"{self.path}:{self.attr}" if self.attr else str(self.path)

    @property
    def label(self) -> str:
        """The origin and, if the name of a distribution would not lead to it, the file."""
        return f"{self.origin} ({self.path})" if self.module else self.origin


Found = PluginSource | PluginProblem


def shipped_folder() -> Path:
    """Return the folder of membench's own plugins.

    It is inside the installed package, or at the top of a checkout.
    """
    installed = PACKAGE / "builtin"
    return installed if installed.is_dir() else PACKAGE.parent / "plugins"


def is_shipped(path: str) -> bool:
    """Tell whether a plugin's file ships with membench; "" is no file.

    What ships is in a folder of its kind, as `plugins/signals`. A file beside these folders is one
    that the user of a checkout has put there, as `membench new` does.
    """
    folder = shipped_folder()
    return bool(path) and Path(path).is_relative_to(folder) and Path(path).parent != folder


def find_sources(requested: Iterable[str], folder: Path, shipped: Path) -> Iterator[Found]:
    """Yield every plugin once, in the order of precedence: the first to take a name keeps it.

    Args:
        requested: what `-p` names: files, folders, modules.
        folder: the working folder, whose `plugins/` and `pyproject.toml` count.
        shipped: the folder of membench's own plugins.

    Raises:
        MembenchError: a requested plugin does not exist.
    """
    everything = chain(
        _in_folder(shipped),
        _in_folder(folder / "plugins"),
        chain.from_iterable(requested_sources(text, folder) for text in requested),
        entry_points(PROJECT),
        _configured(folder),
    )
    seen: set[str] = set()
    for found in everything:
        if isinstance(found, PluginSource):
            if found.key in seen:
                continue
            seen.add(found.key)
        yield found


def shipped_sources() -> list[PluginSource]:
    """Return the plugins that ship with membench."""
    return [one for one in _in_folder(shipped_folder()) if is_shipped(str(one.path))]


def requested_sources(text: str, folder: Path, option: str = "-p") -> list[Found]:
    """Return the plugins that `-p TEXT` names.

    Args:
        text: a file, a folder or a module.
        folder: the working folder.
        option: another one that names modules in the same way.

    Raises:
        MembenchError: there is no such file or module. A mistake in the command line stops the run;
            a plugin that cannot be imported does not.
    """
    named = _named(text, folder)
    for found in named:
        if isinstance(found, PluginProblem):
            raise MembenchError(f"{option} {one_line(text)}: {found.message}")
    return named


def _in_folder(folder: Path) -> Iterator[PluginSource]:
    """Yield all `*.py` below a folder.

    Names that start with `_` (helpers, `__pycache__`) or with `.` (copies that editors and
    notebooks make) are left out.
    """
    for path in sorted(folder.rglob("*.py")):
        names = path.relative_to(folder).parts
        if not path.is_dir() and not any(name.startswith(("_", ".")) for name in names):
            yield _file(path)


def entry_points(group: str) -> Iterator[Found]:
    """Yield what installed packages offer as entry points of a group; of `membench`, plugins."""
    points = importlib.metadata.entry_points(group=group)
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        origin = one_line(point.dist.name if point.dist else point.name)
        try:
            module, attr = point.module, point.attr or ""
        except AttributeError:  # the metadata's value does not have the form `module:object`
            yield PluginProblem(
                origin,
                f"entry point {point.name} = {point.value!r} must be module or module:object",
            )
        else:
            yield _module(module, origin, attr)


def _configured(folder: Path) -> Iterator[Found]:
    """Yield what `[tool.membench] plugins` in the folder's `pyproject.toml` lists."""
    path = folder / "pyproject.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get(PROJECT, {})
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError) as error:
        yield PluginProblem(_display_path(path), f"cannot be read: {error}")
        return
    names = table.get("plugins", []) if isinstance(table, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        message = 'write [tool.membench] with plugins = ["file.py", "module.name"]'
        yield PluginProblem(_display_path(path), message)
        return
    for name in names:
        yield from _named(name, folder)


def _named(text: str, folder: Path) -> list[Found]:
    """Return the plugins of a file, of all files in a folder, or of a module."""
    path = folder / Path(text).expanduser()
    if path.is_dir():
        return list(_in_folder(path))
    if not text.endswith(".py") and "/" not in text and os.sep not in text:
        return [_module(text, origin=text)]
    if path.suffix != ".py" or not path.is_file():
        message = "no such Python file; correct the path"
        return [PluginProblem(_display_path(path.resolve()), message)]
    return [_file(path)]


def _file(path: Path) -> PluginSource:
    path = path.resolve()
    return PluginSource(path, _display_path(path))


def _module(name: str, origin: str, attr: str = "") -> Found:
    try:
        spec = _find_spec(name)
    except Exception as error:  # an import hook of another package may raise anything
        reason = f"{type(error).__name__}: {error}"
        return PluginProblem(origin, f"module {name} cannot be looked for: {reason}")
    if spec is None:
        return PluginProblem(
            origin,
            f"no module named {name!r}; install it, or give a file's path, which ends in .py",
        )
    if not spec.has_location or not str(spec.origin).endswith(".py"):
        return PluginProblem(
            origin, f"module {name!r} is no Python file; name the module that has the @hookimpl"
        )
    return PluginSource(Path(str(spec.origin)).resolve(), origin, name, attr)


def _find_spec(name: str) -> ModuleSpec | None:
    """Return the module's spec without importing its parent packages.

    `importlib.util.find_spec` imports them, which may be slow (torch).
    """
    spec: ModuleSpec | None = None
    path: Sequence[str] | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        if spec is not None and path is None:  # the parent is no package
            return None
        spec = _ask_finders(".".join(parts[:count]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _ask_finders(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _display_path(path: Path) -> str:
    """Return a path relative to the package for what ships with it, else to the working folder."""
    if path.is_relative_to(shipped_folder()):
        return one_line(path.relative_to(PACKAGE.parent))
    try:
        return one_line(os.path.relpath(path))
    except ValueError:  # another drive of Windows
        return one_line(path)

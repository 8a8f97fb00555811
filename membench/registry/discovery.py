"""Where the plugins are: the shipped folder, `./plugins/`, `-p`, entry points, `pyproject.toml`; imports none of them.

The registry asks for the sources; loading imports what is new.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tomllib
from collections.abc import Iterable
from collections.abc import Iterator
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
    """What is wrong with a plugin, and how to mend it; the others go on, and the run exits 1."""

    origin: str  #: the file, module or distribution
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.origin}: {self.message}")


@dataclass(frozen=True)
class PluginSource:
    """One place that registers records: a file, or an importable module or object."""

    path: Path  #: the defining file, symbolic links resolved: what makes two sources one
    origin: str  #: as it is shown
    module: str = ""  #: dotted name, when it is imported by name and not by path
    attr: str = ""  #: the entry point's object in the module; "" is the module itself

    @property
    def key(self) -> str:
        """Equal for the same plugin, however it was found."""
        return f"{self.path}:{self.attr}" if self.attr else str(self.path)

    @property
    def label(self) -> str:
        """The origin and, if a distribution's name would not lead to it, the file."""
        return f"{self.origin} ({self.path})" if self.module else self.origin


Found = PluginSource | PluginProblem


def shipped_folder() -> Path:
    """membench's own plugins: inside the installed package, or at the top of a checkout."""
    inside = PACKAGE / "builtin"
    return inside if inside.is_dir() else PACKAGE.parent / "plugins"


def find_sources(requested: Iterable[str], folder: Path, shipped: Path) -> Iterator[Found]:
    """Every plugin once, in the order of precedence: the first to take a name keeps it.

    Raises:
        MembenchError: a plugin asked for by `-p` is not there.
    """
    seen: set[str] = set()
    for found in chain(
        _in_folder(shipped),
        _in_folder(folder / "plugins"),
        chain.from_iterable(requested_sources(text, folder) for text in requested),
        _entry_points(),
        _configured(folder),
    ):
        if isinstance(found, PluginSource):
            if found.key in seen:
                continue
            seen.add(found.key)
        yield found


def _in_folder(folder: Path) -> Iterator[PluginSource]:
    """All `*.py` below, but what starts with `_` (helpers, `__pycache__`) or `.` (editors' and notebooks' copies)."""
    for path in sorted(folder.rglob("*.py")):
        private = any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
        if not private and not path.is_dir():
            yield _file(path)


def _file(path: Path) -> PluginSource:
    real = path.resolve()
    return PluginSource(real, _display_path(real))


def _display_path(path: Path) -> str:
    """Relative to the installed package for what ships with it, else to the working folder."""
    if path.is_relative_to(shipped_folder()):
        return one_line(path.relative_to(PACKAGE.parent))
    try:
        return one_line(os.path.relpath(path))
    except ValueError:  # another drive of Windows
        return one_line(path)


def requested_sources(text: str, folder: Path) -> list[Found]:
    """What `-p TEXT` names; a mistyped command line stops the run, a broken file does not."""
    found = _named(text, folder)
    missing = [f.message for f in found if isinstance(f, PluginProblem)]
    if missing:
        raise MembenchError(f"-p {one_line(text)}: {missing[0]}")
    return found


def _named(text: str, folder: Path) -> list[Found]:
    """A file, all of a folder, or a module."""
    path = folder / Path(text).expanduser()
    if path.is_dir():
        return list(_in_folder(path))
    if not text.endswith(".py") and "/" not in text and os.sep not in text:
        return [_module(text, text)]
    if path.suffix != ".py" or not path.is_file():
        return [
            PluginProblem(
                _display_path(path.resolve()),
                "no such Python file; correct the path, or take the entry out",
            )
        ]
    return [_file(path)]


def _module(name: str, origin: str, attr: str = "") -> Found:
    try:
        spec = _spec(name)
    except Exception as error:  # an import hook of another package
        return PluginProblem(
            origin, f"module {name} cannot be looked for: {type(error).__name__}: {error}"
        )
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


def _spec(name: str) -> ModuleSpec | None:
    """`importlib.util.find_spec` without its import of the parent packages, which may be slow (torch)."""
    spec, path, done = None, None, ""
    for part in name.split("."):
        done = f"{done}.{part}" if done else part
        if spec is not None and path is None:  # the parent is no package
            return None
        spec = next((s for finder in sys.meta_path if (s := finder.find_spec(done, path))), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _entry_points() -> Iterator[Found]:
    for point in sorted(
        importlib.metadata.entry_points(group=PROJECT), key=lambda point: (point.name, point.value)
    ):
        origin = one_line(point.dist.name if point.dist else point.name)
        try:
            yield _module(point.module, origin, point.attr or "")
        except AttributeError:  # the metadata's value does not have the form `module:object`
            yield PluginProblem(
                origin,
                f"entry point {point.name} = {point.value!r} must be module or module:object",
            )


def _configured(folder: Path) -> list[Found]:
    """What `[tool.membench] plugins` of the working folder's `pyproject.toml` lists."""
    path = folder / "pyproject.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get(PROJECT, {})
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError) as error:
        return [PluginProblem(_display_path(path), f"cannot be read: {error}")]
    names = table.get("plugins", []) if isinstance(table, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return [
            PluginProblem(
                _display_path(path),
                'write [tool.membench] with plugins = ["file.py", "module.name"]',
            )
        ]
    return list(chain.from_iterable(_named(name, folder) for name in names))

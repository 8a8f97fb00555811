"""Run a plugin's file as a module, and the local files that it imports, from the bytes read.

`membench.registry.local_files` has found those files, `fingerprint` has hashed what is run here. A
file finds its neighbours by `from . import helper` and by `import helper`; the latter only if
nothing that is installed has that name. Neither `sys.path` nor bytecode on disk is used, so that a
helper cannot be another plugin's, or older than its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES
from importlib.machinery import FileFinder
from importlib.machinery import ModuleSpec
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType
from types import ModuleType
from typing import Any

from membench.registry.local_files import PluginFiles


def execute(files: PluginFiles, code: bytes) -> ModuleType:
    """Run a plugin's file as a module with a name of its own.

    Args:
        files: of the plugin.
        code: the defining file's text, which `files` were read for.
    """
    texts = {str(files.folder / name): text for name, text in files.code.items()}
    content = hashlib.sha256(os.fsencode(files.path))
    for text in (code, *texts.values()):
        content.update(b"\0" + text)
    stem = re.sub(r"[^0-9A-Za-z]", "_", files.path.stem)
    name = f"membench_plugin_{stem}_{content.hexdigest()[:12]}"

    spec = ModuleSpec(
        name, _Loader(name, str(files.path)), origin=str(files.path), is_package=bool(texts)
    )
    if spec.submodule_search_locations is not None:  # where `from . import helper` looks
        spec.submodule_search_locations.append(str(files.folder))
    module = module_from_spec(spec)
    module.__file__ = str(files.path)
    _FINDER.offer(name, files.folder, files.modules, texts)
    sys.modules[name] = module  # dataclasses and pickle look up the module of a class
    try:
        exec(compile(code, str(files.path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _Loader(SourceFileLoader):
    """Compiles a module from the text that was hashed; never from a file of bytecode."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        text = _FINDER.texts.get(path) or self.get_data(path)
        return compile(text, path, "exec", dont_inherit=True)


class _Finder:
    """Finds local files for the plugins' files that import them, and for nobody else."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}  #: by path, of all local files that were read
        self._folders: dict[str, Path] = {}  #: by the names that plugins import directly
        self._packages: set[str] = set()  #: modules found here, whose submodules are too

    def offer(
        self, plugin: str, folder: Path, modules: Iterable[str], texts: Mapping[str, bytes]
    ) -> None:
        """Offer a plugin the files in its folder, and withdraw others of these names.

        Args:
            plugin: the name of its module.
            folder: of its file.
            modules: that it imports by their names alone.
            texts: content by path.
        """
        self.texts.update(texts)
        self._packages.add(plugin)
        for name in modules:
            self._folders[name] = folder
            for loaded in list(sys.modules):
                is_ours = loaded.partition(".")[0] == name and loaded in self._packages
                if is_ours:  # of another plugin, or from before an edit
                    del sys.modules[loaded]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Find a module as `importlib` asks for it; None if it is no local file."""
        parent = name.rpartition(".")[0]
        if path is None and name in self._folders and not _is_installed(name, self._folders[name]):
            path = [str(self._folders[name])]
        elif parent not in self._packages:
            return None
        for folder in path or ():
            spec = FileFinder(folder, (_Loader, SOURCE_SUFFIXES)).find_spec(name)
            if spec is not None:
                self._packages.add(name)
                return spec
        return None


def _is_installed(name: str, folder: Path) -> bool:
    """Tell whether the name leads to a module elsewhere than in the folder."""
    for finder in sys.meta_path:
        if finder is not _FINDER and hasattr(finder, "find_spec"):  # old ones have none
            spec = finder.find_spec(name, None)
            if spec is not None and spec.loader is not None:  # no mere folder
                return not Path(spec.origin or "").is_relative_to(folder)
    return False


_FINDER: Any = _Finder()
sys.meta_path.insert(0, _FINDER)

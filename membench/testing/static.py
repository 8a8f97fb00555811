"""Checks of what a plugin's file says: summary, source, units, grid, names that its code uses.

Nothing is run, and no torch is imported.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable
from collections.abc import Iterator
from pathlib import Path

from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.subject import Subject
from membench.text import display_path

# --- the docstring and the grid -------------------------------------------------------------------


def summary(subject: Subject) -> None:
    """Check that the docstring's first sentence has 20 to 160 characters."""
    text = subject.entry.summary
    if not 20 <= len(text) <= 160:
        found = f"{text!r} has {len(text)} characters" if text else "there is none"
        raise Fault(f"the summary must be one sentence of 20 to 160 characters: {found}")


def source(subject: Subject) -> None:
    """Check that the docstring cites a source with a year. A control is nobody's invention."""
    if subject.entry.group == "control":
        raise NotApplicable("a control needs none")
    if not re.search(r"\b(1[89]|20)\d\d\b", subject.entry.source):
        raise Fault(
            "no source: nothing with a year follows the docstring's first sentence",
            mend="write authors, title and year after it, as in "
            '"Szegedy et al., 2016, arXiv:1512.00567."; '
            "a new idea cites its author, repository and year",
        )


def units(subject: Subject) -> None:
    """Check that the docstring has the word strength; a reader must judge what it says."""
    entry = subject.entry
    if entry.parts:
        raise NotApplicable("its parts say it")
    if entry.redraw:
        raise NotApplicable("its strength is a counter")
    if not re.search(r"\bstrength\b", f"{entry.summary} {entry.source}", re.IGNORECASE):
        raise Fault("the docstring does not say what a strength is: the word does not occur in it")


def grid(subject: Subject) -> None:
    """Check that strengths are finite and go from weak to strong.

    The registry has refused other than five different numbers, and off among them. A reader, and
    the rule for ties, go by their order.
    """
    entry = subject.entry
    for off, column in zip(entry.off, zip(*entry.strengths, strict=True), strict=True):
        infinite = [strength for strength in column if not math.isfinite(strength)]
        if infinite:
            raise Fault(
                f"strength {infinite[0]} is not finite",
                mend="only off may be inf; give a large number",
            )
        distances = [_distance(strength, off) for strength in column]
        if distances != sorted(distances):
            order = ", ".join(f"{strength:g}" for strength in column)
            raise Fault(f"strengths {order} do not go from weak to strong: off is {off:g}")


def _distance(strength: float, off: float) -> float:
    """Return how far a strength is from off; from an infinite off, small strengths are far."""
    if math.isinf(off):
        return -math.copysign(strength, off)
    return abs(strength - off)


# --- the names that the code uses -----------------------------------------------------------------

# fmt: off
#: Standard-library modules and packages that a regularizer may not import: they reach files,
#: clocks, processes or interpreter internals.
MODULES = frozenset({
    "os", "sys", "io", "pathlib", "shutil", "tempfile", "glob", "time", "datetime", "calendar",
    "inspect", "traceback", "gc", "ctypes", "socket", "ssl", "http", "urllib", "requests",
    "subprocess", "multiprocessing", "threading", "_thread", "concurrent", "asyncio", "signal",
    "platform", "getpass", "uuid", "secrets", "random", "pickle", "shelve", "sqlite3", "mmap",
    "importlib", "runpy", "builtins", "code", "linecache", "atexit", "resource", "psutil",
    "faulthandler", "tracemalloc", "marshal", "weakref", "pkgutil", "zipimport", "fcntl", "pty",
})
#: Builtin functions that it may not use, for the same reason.
BUILTINS = frozenset({
    "open", "exec", "eval", "compile", "__import__", "globals", "locals", "vars", "breakpoint",
    "input",
})
#: Attributes that lead behind an object.
ATTRIBUTES = frozenset({
    "__globals__", "__closure__", "__code__", "__dict__", "__subclasses__", "__builtins__",
    "__self__", "__func__", "f_back", "f_locals", "f_globals", "tb_frame", "gi_frame",
    "cr_frame", "environ",
})
#: Attributes of torch and numpy that reach files.
FILES = frozenset({
    "load", "save", "hub", "from_file", "fromfile", "memmap", "loadtxt", "savetxt",
    "genfromtxt", "os", "sys",
})
# fmt: on
#: Attributes of torch and numpy that are random numbers other than the lane's.
GENERATORS = frozenset({"random", "Generator", "manual_seed", "seed"})
#: The modules of membench that it may import.
OURS = frozenset({"membench", "membench.api", "membench.nn", "membench.data"})


def tensors_only(subject: Subject) -> None:
    """Check that a regularizer's file uses nothing but tensors, by its syntax tree.

    What is hidden from the tree (getattr with a computed name) is hidden from this check.
    """
    entry = subject.entry
    if entry.parts:
        raise NotApplicable("its parts are checked by themselves")
    for dataset in subject.registry.datasets.values():
        if dataset.path == entry.path:
            raise NotApplicable("the file also registers a data set, which may need files")
    for line, what in forbidden_names(ast.parse(Path(entry.path).read_bytes())):
        raise Fault(what, display_path(entry.path, line))


def forbidden_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, what it does) for each import and name that reaches for more than tensors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from _forbidden_imports(node.lineno, [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [str(node.module)]
            if node.module == "membench":  # its names are not modules, but for this one
                modules = [f"membench.{a.name}" for a in node.names if a.name == "engine"]
            yield from _forbidden_imports(node.lineno, modules)
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.lineno, f"uses {node.id}()"
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            is_library_s = owner in ("torch", "np", "numpy")
            if node.attr in ATTRIBUTES or (is_library_s and node.attr in FILES | GENERATORS):
                yield node.lineno, f"uses {owner}.{node.attr}"


def _forbidden_imports(line: int, modules: Iterable[str]) -> Iterator[tuple[int, str]]:
    for module in modules:
        package = module.partition(".")[0]
        if package in MODULES:
            yield line, f"imports {module}"
        elif package == "membench" and module not in OURS:
            yield line, f"imports {module}, which is not of the contract"

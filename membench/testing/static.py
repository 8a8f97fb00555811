"""What a plugin's file says: summary, source, units, grid, and what its code reaches for. No torch, nothing is run."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path

from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import display_path
from membench.testing.subject import Subject

#: Modules that know of more than one lane's tensors: files, clocks, processes, Python's own inside.
ELSEWHERE = frozenset(
    [
        "os",
        "sys",
        "io",
        "pathlib",
        "shutil",
        "tempfile",
        "glob",
        "time",
        "datetime",
        "calendar",
        "inspect",
        "traceback",
        "gc",
        "ctypes",
        "socket",
        "ssl",
        "http",
        "urllib",
        "requests",
        "subprocess",
        "multiprocessing",
        "threading",
        "_thread",
        "concurrent",
        "asyncio",
        "signal",
        "platform",
        "getpass",
        "uuid",
        "secrets",
        "random",
        "pickle",
        "shelve",
        "sqlite3",
        "mmap",
        "importlib",
        "runpy",
        "builtins",
        "code",
        "linecache",
        "atexit",
        "resource",
        "psutil",
        "faulthandler",
        "tracemalloc",
        "marshal",
        "weakref",
        "pkgutil",
        "zipimport",
        "fcntl",
        "pty",
    ]
)
BUILTINS = frozenset(
    [
        "open",
        "exec",
        "eval",
        "compile",
        "__import__",
        "globals",
        "locals",
        "vars",
        "breakpoint",
        "input",
    ]
)
INSIDE = frozenset(
    [
        "__globals__",
        "__closure__",
        "__code__",
        "__dict__",
        "__subclasses__",
        "__builtins__",
        "__self__",
        "__func__",
        "f_back",
        "f_locals",
        "f_globals",
        "tb_frame",
        "gi_frame",
        "cr_frame",
        "environ",
    ]
)
FILES = frozenset(
    [
        "load",
        "save",
        "hub",
        "from_file",
        "fromfile",
        "memmap",
        "loadtxt",
        "savetxt",
        "genfromtxt",
        "os",
        "sys",
    ]
)
GENERATORS = frozenset(
    ["random", "Generator", "manual_seed", "seed"]
)  #: of numbers that are not the lane's
OURS = frozenset(
    {"membench", "membench.api", "membench.nn", "membench.data"}
)  #: what a plugin may import of us


def summary(subject: Subject) -> None:
    """20 to 160 characters."""
    said = subject.entry.summary
    if not 20 <= len(said) <= 160:
        shape = f"{said!r} has {len(said)} characters" if said else "there is none"
        raise Fault(f"the summary must be one sentence of 20 to 160 characters: {shape}")


def source(subject: Subject) -> None:
    """A citation has a year; a control is nobody's invention."""
    if subject.entry.group == "control":
        raise NotApplicable("a control needs none")
    if not re.search(r"\b(1[89]|20)\d\d\b", subject.entry.source):
        raise Fault(
            "no source: nothing with a year follows the docstring's first sentence",
            mend='write authors, title and year after it, as in "Szegedy et al., 2016, arXiv:1512.00567."; a new idea '
            "cites its author, repository and year",
        )


def units(subject: Subject) -> None:
    """The word is enough: what it says, a reader must judge."""
    entry = subject.entry
    if entry.parts or entry.redraw:
        raise NotApplicable("its parts say it" if entry.parts else "its strength is a counter")
    if not re.search(r"\bstrength\b", f"{entry.summary} {entry.source}", re.IGNORECASE):
        raise Fault("the docstring does not say what a strength is: the word does not occur in it")


def grid(subject: Subject) -> None:
    """The registry has seen to five different numbers that are not off; here, that a reader and the tie rule can go by
    their order."""
    entry = subject.entry
    for place, column in enumerate(zip(*entry.strengths, strict=True)):
        infinite = [s for s in column if not math.isfinite(s)]
        if infinite:
            raise Fault(
                f"strength {infinite[0]} is not finite",
                mend="only off may be inf; give a large number",
            )
        away = _distances(column, entry.off[place])
        if away != sorted(away):
            order = ", ".join(f"{s:g}" for s in column)
            raise Fault(
                f"strengths {order} do not go from weak to strong: off is {entry.off[place]:g}"
            )


def _distances(column: tuple[float, ...], off: float) -> list[float]:
    """How far each is from off; from an infinite one, the small are far."""
    return [-math.copysign(s, off) if math.isinf(off) else abs(s - off) for s in column]


def tensors_only(subject: Subject) -> None:
    """By the file's syntax tree; what is hidden from it (getattr with a computed name) is hidden from this check."""
    entry = subject.entry
    if entry.parts:
        raise NotApplicable("its parts are checked by themselves")
    same_file = [e.kind for e in subject.registry.datasets.values() if e.path == entry.path]
    if same_file:
        raise NotApplicable("the file also registers a data set, which may need files")
    for line, what in reaches(ast.parse(Path(entry.path).read_bytes())):
        raise Fault(what, display_path(entry.path, line))


def reaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what it reaches for) of all that is not tensors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from _refused(node.lineno, [alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            of_us = node.module == "membench"
            names = [f"membench.{a.name}" for a in node.names] if of_us else [str(node.module)]
            yield from _refused(
                node.lineno, [n for n in names if not of_us or n in ("membench.engine",)]
            )
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.lineno, f"uses {node.id}()"
        elif isinstance(node, ast.Attribute):
            root = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in INSIDE or (
                root in ("torch", "np", "numpy") and node.attr in (FILES | GENERATORS)
            ):
                yield node.lineno, f"uses {root + '.' if root else '.'}{node.attr}"


def _refused(line: int, modules: list[str]) -> Iterator[tuple[int, str]]:
    for name in modules:
        root = name.partition(".")[0]
        if root in ELSEWHERE:
            yield line, f"imports {name}"
        elif root == "membench" and name not in OURS:
            yield line, f"imports {name}, which is not of the contract"

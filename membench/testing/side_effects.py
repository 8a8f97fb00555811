"""Instruments that show what a plugin's functions do besides computing their result.

Three kinds of side effect can be seen: changes of the process's global state (`global_state`), data
that a function keeps between calls (`fingerprint`), and files, frames or processes that it reaches
for (`Audit`). `side_effect_checks` uses them. Only the snapshot of global state imports torch.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import sys
import sysconfig
import threading
import types
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from membench.api import STAGES
from membench.text import display_path

# --- global state ---------------------------------------------------------------------------------


def global_state() -> dict[str, Any]:
    """Take a snapshot of what all code of a process shares, by name."""
    import torch

    return {
        "torch's random state": sha256(torch.get_rng_state().numpy()),
        "numpy's random state": repr(np.random.get_state()),
        "random's state": hash(random.getstate()),
        "torch's default type": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "an environment variable": dict(os.environ),
        "the working folder": os.getcwd(),
        "sys.path": list(sys.path),
        "the recursion limit": sys.getrecursionlimit(),
        "the number of threads": threading.active_count(),
    }


def changed_state(before: dict[str, Any]) -> list[str]:
    """Return the names of what differs from an earlier snapshot of the global state."""
    after = global_state()
    return [name for name, value in before.items() if value != after[name]]


@contextmanager
def preserved_globals() -> Iterator[None]:
    """Restore random states and torch's settings afterwards.

    Inside, random states are others than before and settings are the defaults, so that a function
    which sets either to a fixed value is seen to change it on every call.
    """
    import torch

    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    dtype = torch.get_default_dtype()
    precision = torch.get_float32_matmul_precision()
    try:
        torch.rand(1)
        np.random.rand()
        random.random()
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)


# --- what is kept between calls -------------------------------------------------------------------

_MAX_DEPTH = 6  #: levels of containers that are looked into


def fingerprint(parts: Iterable[Any], paths: tuple[str, ...]) -> dict[str, str]:
    """Describe all data that the functions of some records can reach.

    That is closures, defaults, attributes, and the globals of the plugin's own modules. Equal data
    have equal descriptions, so a function that keeps something between calls changes one of them.

    Args:
        parts: A regularizer's parts, or another record whose functions have names of stages.
        paths: The files that define them.

    Returns:
        Descriptions by name, such as `weights.count` for a variable in the closure of `weights`.
    """
    descriptions: dict[str, str] = {}
    for part in parts:
        for stage in STAGES:
            function = getattr(part, stage, None)
            if function is None:
                continue
            descriptions.update(_function_data(stage, function, paths, _MAX_DEPTH))
            module = sys.modules.get(getattr(_unwrapped(function), "__module__", None) or "")
            if module is None or getattr(module, "__file__", None) not in paths:
                continue
            for name, value in vars(module).items():
                if not name.startswith("__"):
                    descriptions[name] = describe_data(value, paths, _MAX_DEPTH)
    return descriptions


def _unwrapped(function: Any) -> Any:
    """Return the function under partial objects and a wrapper."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__wrapped__", function)


def _function_data(
    name: str, function: Any, paths: tuple[str, ...], depth: int
) -> Iterator[tuple[str, str]]:
    """Yield (name, description) of what a function holds: closure, defaults, attributes."""
    describe = functools.partial(describe_data, paths=paths, depth=depth)
    if isinstance(function, types.FunctionType):
        cells = function.__closure__ or ()
        for variable, cell in zip(function.__code__.co_freevars, cells, strict=True):
            yield f"{name}.{variable}", describe(_cell_contents(cell))
        yield f"{name} (defaults)", describe([function.__defaults__, function.__kwdefaults__])
        for attribute, value in vars(function).items():
            yield f"{name}.{attribute}", describe(value)
    elif isinstance(function, functools.partial):
        yield f"{name} (partial)", describe([function.args, function.keywords])
        yield from _function_data(name, function.func, paths, depth)
    else:
        yield name, describe(function)


def _cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def describe_data(value: Any, paths: tuple[str, ...], depth: int) -> str:
    """Describe a value so that equal data have equal descriptions.

    Args:
        value: What to describe.
        paths: The plugin's files; functions defined elsewhere are described by their names alone.
        depth: Levels of containers to look into; below them the type's name is all.

    Returns:
        The description.
    """
    describe = functools.partial(describe_data, paths=paths, depth=depth - 1)
    kind = type(value).__name__
    if depth == 0 or isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
        return kind
    if isinstance(value, type):
        return f"class {value.__name__}"
    if isinstance(value, types.FunctionType):
        is_plugin_s = value.__code__.co_filename in paths
        data = dict(_function_data("", value, paths, depth - 1)) if is_plugin_s else ""
        return f"def {value.__name__} {data}"
    if isinstance(value, (list, tuple, set, frozenset)) or kind == "deque":
        return f"{kind}[{', '.join(map(describe, value))}]"
    if isinstance(value, dict):
        items = [f"{describe(key)}: {describe(item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, np.ndarray) or _is_tensor(value):
        return f"tensor {tuple(value.shape)} {_hash_of_values(value)}"
    if type(value).__module__ in ("builtins", "itertools") or isinstance(value, (int, float, str)):
        return f"{kind} {value!r}"
    return f"{kind} {describe(getattr(value, '__dict__', None))}"


def _is_tensor(value: Any) -> bool:
    """Return whether the value is a torch tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "requires_grad")


def _hash_of_values(array: Any) -> str:
    try:
        return sha256(np.asarray(array.detach().cpu()) if _is_tensor(array) else array)
    except Exception:  # a tensor of many lanes, kept beyond its run
        return "of a run"


def sha256(array: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256 of an array's bytes in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# --- files, frames, processes ---------------------------------------------------------------------

#: Audit events (docs.python.org, "Audit events table") that no regularizer has a reason to cause.
EVENTS = (
    "open",
    "os.",
    "sys._",
    "gc.",
    "socket.",
    "subprocess.",
    "ctypes.",
    "shutil.",
    "tempfile.",
    "glob.",
    "pathlib.",
    "object.",
)
_STDLIB = sysconfig.get_path("stdlib")


class Audit:
    """While active, records which of the `EVENTS` a plugin's own code causes.

    Python cannot remove an audit hook, so one is installed and asks which audit is active.

    Args:
        paths: The plugin's files.
    """

    _active: Audit | None = None
    _installed = False

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self.events: list[tuple[str, str]] = []  #: (event, file:line in the plugin)

    def __enter__(self) -> None:
        if not Audit._installed:
            sys.addaudithook(Audit._hook)
            Audit._installed = True
        Audit._active = self

    def __exit__(self, *error: object) -> None:
        Audit._active = None

    @staticmethod
    def _hook(event: str, args: tuple[Any, ...]) -> None:
        audit = Audit._active
        if audit is None or not event.startswith(EVENTS):
            return
        Audit._active = None  # looking at frames causes events too
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _is_python_s(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None and frame.f_code.co_filename in audit.paths:
            audit.events.append((event, display_path(frame.f_code.co_filename, frame.f_lineno)))
        Audit._active = audit


def _is_python_s(path: str) -> bool:
    """Return whether a code object's file is Python's own, not of an installed package."""
    return path.startswith("<") or (path.startswith(_STDLIB + os.sep) and "-packages" not in path)

"""A print of all data that a plugin's functions can reach, so that what they keep between calls shows. No torch."""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import numpy as np

from membench.api import STAGES

_DEEP = 6  #: levels of containers that are looked into


def kept(parts: Iterable[Any], paths: tuple[str, ...]) -> dict[str, str]:
    """A print of all data that the parts' functions can reach: module globals, closures, attributes, defaults."""
    found: dict[str, str] = {}
    for part in parts:
        for stage in STAGES:
            function = getattr(part, stage)
            if function is not None:
                found |= dict(_function(stage, function, paths))
                module = sys.modules.get(getattr(inner(function), "__module__", None) or "")
                if module is not None and getattr(module, "__file__", None) in paths:
                    found |= {n: print_of(v, paths) for n, v in vars(module).items() if not n.startswith("__")}
    return found


def inner(function: Any) -> Any:
    """The function under partial objects and wrappers."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__wrapped__", function)


def _function(name: str, function: Any, paths: tuple[str, ...], depth: int = _DEEP) -> Iterator[tuple[str, str]]:
    """(name, print) of what the function holds: closure, defaults, attributes."""
    look = functools.partial(print_of, paths=paths, depth=depth)
    if isinstance(function, types.FunctionType):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        yield from ((f"{name}.{free}", look(_content(cell))) for free, cell in cells)
        yield f"{name} (defaults)", look([function.__defaults__, function.__kwdefaults__])
        yield from ((f"{name}.{key}", look(value)) for key, value in vars(function).items())
    elif isinstance(function, functools.partial):
        yield f"{name} (partial)", look([function.args, function.keywords])
        yield from _function(name, function.func, paths, depth)
    else:
        yield name, look(function)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def print_of(value: Any, paths: tuple[str, ...], depth: int = _DEEP) -> str:  # noqa: PLR0911 - one a type
    """Equal for equal data; of what cannot be looked into, the type."""
    again = functools.partial(print_of, paths=paths, depth=depth - 1)
    if depth == 0 or isinstance(value, (types.ModuleType, type(len))):
        return type(value).__name__
    if isinstance(value, type):
        return f"class {value.__name__}"
    if isinstance(value, types.FunctionType):
        own = value.__code__.co_filename in paths
        return f"def {value.__name__} {dict(_function('', value, paths, depth - 1)) if own else ''}"
    if isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        return f"{type(value).__name__}[{', '.join(map(again, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{again(k)}: {again(v)}' for k, v in value.items())}}}"
    if (hasattr(value, "detach") and hasattr(value, "requires_grad")) or isinstance(value, np.ndarray):
        return f"tensor {tuple(value.shape)} {_bytes(value)}"
    if type(value).__module__ in ("builtins", "itertools") or isinstance(value, (int, float, str)):
        return f"{type(value).__name__} {value!r}"
    return f"{type(value).__name__} {again(getattr(value, '__dict__', None))}"


def _bytes(value: Any) -> str:
    try:
        return sha(np.asarray(value.detach().cpu()) if hasattr(value, "detach") else value)
    except Exception:  # a tensor of many lanes, kept beyond its run
        return "of a run"


def sha(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

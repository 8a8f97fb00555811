"""A print of all data that a plugin's functions can reach, so that what they keep between calls shows. No torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import random
import sys
import sysconfig
import threading
import types
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from membench.api import STAGES
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import Subject
from membench.testing.check import display_path
from membench.testing.check import source_location

_DEEP = 6  #: levels of containers that are looked into


def fingerprint(parts: Iterable[Any], paths: tuple[str, ...]) -> dict[str, str]:
    """A print of all data that the parts' functions can reach: module globals, closures, attributes, defaults."""
    found: dict[str, str] = {}
    for part in parts:
        for stage in STAGES:
            function = getattr(part, stage)
            if function is not None:
                found |= dict(_function(stage, function, paths))
                module = sys.modules.get(getattr(inner(function), "__module__", None) or "")
                if module is not None and getattr(module, "__file__", None) in paths:
                    found |= {
                        n: print_of(v, paths)
                        for n, v in vars(module).items()
                        if not n.startswith("__")
                    }
    return found


def inner(function: Any) -> Any:
    """The function under partial objects and wrappers."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__wrapped__", function)


def _function(
    name: str, function: Any, paths: tuple[str, ...], depth: int = _DEEP
) -> Iterator[tuple[str, str]]:
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
    if (hasattr(value, "detach") and hasattr(value, "requires_grad")) or isinstance(
        value, np.ndarray
    ):
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


#: Audit events (docs.python.org, "Audit events table") of what a regularizer has no business with.
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


# --- global state -----------------------------------------------------------------------------------------------------


def world_state() -> dict[str, Any]:
    """What all of a process shares, by name."""
    import torch

    return {
        "torch's random state": sha(torch.get_rng_state().numpy()),
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


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


@contextmanager
def preserved_globals() -> Iterator[None]:
    """Random states moved on and settings as they come: what an earlier call has set, the next one changes again."""
    import torch

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    settings = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.rand(1), np.random.rand(), random.random()
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        torch.set_default_dtype(settings[0])
        torch.set_float32_matmul_precision(settings[1])


def globals_untouched(subject: Subject) -> None:
    """By hand, where torch's generators would not raise as they do in a stacked step."""
    bench = subject.bench
    for stage in bench.roles:
        with preserved_globals():
            step = bench.step(bench.strongest)
            before = world_state()
            bench.act(step, stage)
            changed = _changed(before, world_state())
        if changed:
            raise Fault(
                f"{stage} changes {', '.join(changed)}",
                source_location(getattr(bench.parts[0], stage)),
            )


def import_is_quiet(subject: Subject) -> None:
    """The file's code is run once more, under another name."""
    source = subject.entry.plugin_source
    if source is None or source.module:
        raise NotApplicable("it is no file of its own")
    name = f"membench_imported_again_{sha(np.frombuffer(source.key.encode(), np.uint8))[:12]}"
    spec = importlib.util.spec_from_file_location(name, source.path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with preserved_globals():
        before = world_state()
        try:
            exec(
                compile(source.path.read_bytes(), str(source.path), "exec", dont_inherit=True),
                module.__dict__,
            )
        finally:
            del sys.modules[name]
        changed = _changed(before, world_state())
    if changed:
        raise Fault(f"importing it changes {', '.join(changed)}", display_path(str(source.path), 1))


# --- what is kept -----------------------------------------------------------------------------------------------------


def keeps_nothing(subject: Subject) -> None:
    """After the calls by hand and, where it runs, a whole stacked run."""
    bench = subject.bench
    for stage in bench.roles:
        bench.first_call(stage)
    stacks = subject.outcomes.get("stacks")
    if stacks is None or stacks.status != "failed":
        bench.alone  # noqa: B018
    after = fingerprint(bench.parts, subject.paths)
    changed = [name for name in after if bench.kept_before.get(name) != after[name]]
    if changed:
        raise Fault(
            f"{changed[0]} is another after a run: runs would hear of each other",
            _home(subject, changed[0]),
        )


def _home(subject: Subject, name: str) -> str:
    """The function that the name leads with, as in `weights.count`."""
    found = getattr(subject.records[0], name.partition(".")[0].partition(" ")[0], None)
    return source_location(found) if callable(found) else ""


# --- files, stacks ----------------------------------------------------------------------------------------------------


class Audit:
    """While active, writes down which audit events the plugin's own code causes; a hook can never be taken off."""

    _active: Audit | None = None
    _installed = False

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths, self.seen = paths, []  #: (event, line)

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
        Audit._active = None  # what follows causes events of its own
        frame = sys._getframe(1)
        while frame is not None and _of_python(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is not None and frame.f_code.co_filename in audit.paths:
            audit.seen.append((event, display_path(frame.f_code.co_filename, frame.f_lineno)))
        Audit._active = audit


def _of_python(path: str) -> bool:
    return path.startswith("<") or (path.startswith(_STDLIB + os.sep) and "-packages" not in path)


def looks_nowhere(subject: Subject) -> None:
    """By Python's audit events, during a second call of each function."""
    bench = subject.bench
    for stage in bench.roles:
        bench.first_call(stage)
    for event, where in bench.audit.seen:
        raise Fault(f"causes {event!r}: it looks for more than it is given", where)

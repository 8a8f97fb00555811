"""Checks that a plugin has no side effects: at import, on global state, between calls, on files."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np

from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.side_effects import changed_state
from membench.testing.side_effects import fingerprint
from membench.testing.side_effects import global_state
from membench.testing.side_effects import preserved_globals
from membench.testing.side_effects import sha256
from membench.testing.subject import Subject
from membench.text import display_path


def import_is_quiet(subject: Subject) -> None:
    """Check that importing the file changes no global state.

    Its code is run once more, under another name.
    """
    source = subject.entry.plugin_source
    if source is None or source.module:
        raise NotApplicable("it is no file of its own")
    name = f"membench_imported_again_{sha256(np.frombuffer(source.key.encode(), np.uint8))[:12]}"
    spec = importlib.util.spec_from_file_location(name, source.path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    code = compile(source.path.read_bytes(), str(source.path), "exec", dont_inherit=True)
    sys.modules[name] = module
    with preserved_globals():
        before = global_state()
        try:
            exec(code, module.__dict__)
        finally:
            del sys.modules[name]
        changed = changed_state(before)
    if changed:
        raise Fault(f"importing it changes {', '.join(changed)}", display_path(str(source.path), 1))


def globals_untouched(subject: Subject) -> None:
    """Check that no function changes global state.

    Functions are called unstacked: in a stacked step torch's generators raise, and nothing shows.
    """
    bench = subject.bench
    for stage in bench.stages:
        with preserved_globals():
            step = bench.step(bench.strongest)
            before = global_state()
            bench.call_stage(step, stage)
            changed = changed_state(before)
        if changed:
            where = source_location(getattr(bench.parts[0], stage))
            raise Fault(f"{stage} changes {', '.join(changed)}", where)


def keeps_nothing(subject: Subject) -> None:
    """Check that functions keep nothing between calls, nor in a stacked run if it stacks."""
    bench = subject.bench
    for stage in bench.stages:
        bench.first_call_error(stage)
    stacks = subject.outcomes.get("stacks")
    if stacks is None or stacks.status != "failed":
        _ = bench.strongest_run
    for name, description in fingerprint(bench.parts, subject.paths).items():
        if bench.fingerprint_before.get(name) != description:
            raise Fault(
                f"{name} is another after a run: runs would hear of each other",
                _function_location(subject, name),
            )


def _function_location(subject: Subject, name: str) -> str:
    """Return the place of the function that a name begins with, as in `weights.count`."""
    stage = name.partition(".")[0].partition(" ")[0]
    function = getattr(subject.records[0], stage, None)
    return source_location(function) if callable(function) else ""


def looks_nowhere(subject: Subject) -> None:
    """Check that functions cause no audit event: open no file, walk no stack, start nothing."""
    bench = subject.bench
    for stage in bench.stages:
        bench.first_call_error(stage)
    for event, where in bench.audit.events:
        raise Fault(f"causes {event!r}: it looks for more than it is given", where)

"""From a sound record to the plain data that an entry of the registry holds beside its name. Loading calls it. Pure."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import fields
from functools import partial
from typing import Any

from membench.api import Architecture
from membench.api import Composite
from membench.api import Dataset
from membench.api import Regularizer
from membench.api import Signal
from membench.plugin_code import reach_hash
from membench.probes import Probe
from membench.studies import Study

_PLAIN = (bool, int, float, str, bytes, type(None))


def details(record: Any) -> dict[str, Any]:
    """The fields of its `PluginEntry` that only a record of its kind has."""
    return _DETAILS[type(record)](record)


def own_hash(record: Any, tree: ast.Module) -> str:
    """The code hash of a record that a study keeps to itself: of what its functions reach in the study's file.

    So a new analysis, figure or arm leaves the cells that were trained with the record as they are. The values that
    closures and partials hold count by their text.
    """
    found = [part for field in fields(record) for part in _functions(getattr(record, field.name))]
    names = {part.__qualname__.split(".")[0] for part in found if callable(part)}
    values = [repr(part) for part in found if not callable(part)]
    return reach_hash(tree, names, [type(record).__name__, record.name, *values])


def _functions(value: Any) -> Iterator[Any]:
    """A function or class, and all that is bound in them: functions and classes as such, the rest as plain values."""
    if isinstance(value, partial):
        yield from _bound([value.func, *value.args, *value.keywords.items()])
    elif inspect.isfunction(value) or inspect.isclass(value):
        yield value
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        yield from _bound([*cells, *(getattr(value, "__defaults__", None) or ())])


def _bound(value: Any) -> Iterator[Any]:
    if isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _bound(part)
    elif isinstance(value, dict):
        yield from _bound(list(value.items()))
    elif callable(value):
        yield from _functions(value)
    else:  # of another object the class, and what is plain in it
        yield type(value)
        yield from (v for v in getattr(value, "__dict__", {}).values() if isinstance(v, _PLAIN))


def _regularizer(record: Regularizer) -> dict[str, Any]:
    return {
        "group": record.group,
        "acts_on": record.acts_on,
        "strengths": tuple((float(strength),) for strength in record.strengths),
        "off": (float(record.off),),
        "redraw": bool(record.redraw),
        "has_skip": record.skip is not None,
    }


def _composite(record: Composite) -> dict[str, Any]:
    return {"strengths": tuple(tuple(map(float, row)) for row in record.strengths)}


def _signal(record: Signal) -> dict[str, Any]:
    return {"noise": record.noise, "acts_on": (record.noise,) if record.noise else ()}


_DETAILS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Regularizer: _regularizer,
    Composite: _composite,
    Architecture: lambda record: {"recipe": asdict(record.recipe)},
    Dataset: lambda record: {"has_fetch": record.fetch is not None},
    Signal: _signal,
    Probe: lambda record: {},
    Study: lambda record: {"group": record.figure},
}

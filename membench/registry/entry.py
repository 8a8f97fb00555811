"""From a sound record to the plain data that an entry of the registry holds beside its name. Loading calls it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from membench.api import Architecture
from membench.api import Composite
from membench.api import Dataset
from membench.api import Regularizer
from membench.api import Signal
from membench.probes import Probe
from membench.studies import Study


def kind_fields(record: Any) -> dict[str, Any]:
    """The fields of its `PluginEntry` that only a record of its kind has."""
    return _DETAILS[type(record)](record)


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

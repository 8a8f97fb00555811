"""What is refused in a record before it can cost a run: illegal names, grids, stages that contradict each other.

Loading calls `fault` for each record that a plugin returns. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Real
from typing import Any

from membench.api import STAGES
from membench.api import Architecture
from membench.api import Composite
from membench.api import Dataset
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.probes import WHEN
from membench.probes import Probe
from membench.studies import SCALES
from membench.studies import Arm
from membench.studies import Study

#: Which table of the registry a record belongs to.
KINDS: dict[type, str] = {
    Regularizer: "regularizers",
    Composite: "regularizers",
    Architecture: "architectures",
    Dataset: "datasets",
    Signal: "signals",
    Probe: "probes",
    Study: "studies",
}
GRID = 5  #: settings of whatever is ranked: the board picks the best one, so all must have as many tries
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SIGNAL = re.compile(r"[A-Za-z0-9-]+")


def singular(kind: str) -> str:
    """ "studies" -> "study"."""
    return "study" if kind == "studies" else kind.removesuffix("s")


def first_error(record: Any) -> str | None:
    """The first thing that is wrong with a record, and how to mend it; None if it is sound."""
    kind = KINDS.get(type(record))
    if kind is None:
        names = ", ".join(cls.__name__ for cls in KINDS)
        return f"register() returned {_a(record)} among its records; return a list of {names}"
    message = next(_faults(record), None)
    return message and f"{singular(kind)} {record.name!r}: {message}"


def _faults(record: Any) -> Iterator[str]:
    yield from _common_faults(record)
    yield from _FAULTS[type(record)](record)


def _common_faults(record: Any) -> Iterator[str]:
    if not isinstance(record.summary, str) or not isinstance(record.source, str):
        yield "summary and source must be strings"
    if type(record.version) is not int:
        yield f"version must be an int, not {record.version!r}"


def _regularizer_faults(record: Regularizer) -> Iterator[str]:
    yield from _name_faults(record.name, NAME)
    yield from _name_faults(record.group, NAME, "group")
    if record.name == "control":
        yield "the board's own row has this name; take another"
    if not _is_number(record.off):
        yield f"off must be one number or inf, not {record.off!r}"
    yield from _grid_faults(
        record.strengths, range(1, 100) if record.group == "control" else (GRID,)
    )
    if any(strength == record.off for strength in record.strengths):
        yield f"strengths hold off ({record.off:g}), which is never trained; put another value there"
    yield from _function_faults(record, (*STAGES, "skip"))
    if record.init is not None and record.update is None:
        yield "init makes a state that nothing changes; add update, or drop init"
    if record.redraw and record.group != "control":
        yield 'redraw trains the plain network anew; only group="control", which is not ranked, may do that'
    if not record.acts_on and not record.redraw:
        yield f"acts nowhere; give it a function for a stage: {', '.join(STAGES)}"


def _composite_faults(record: Composite) -> Iterator[str]:
    parts = str(record.name).split("+")
    for part in parts:
        yield from _name_faults(part, NAME, "part")
    if len(parts) < 2 or len(set(parts)) < len(parts):
        yield "the name must be two or more different regularizers joined by +"
    rows = record.strengths
    if not isinstance(rows, (tuple, list)) or len(rows) != GRID:
        yield f"strengths must be {GRID} tuples, one a setting"
    for row in rows:
        if (
            not isinstance(row, (tuple, list))
            or len(row) != len(parts)
            or not all(map(_is_number, row))
        ):
            yield f"setting {row!r} must hold {len(parts)} numbers, one for each of {', '.join(parts)}"
    if len({tuple(f"{value:.6g}" for value in row) for row in rows}) < GRID:
        yield "two settings are the same; give five different ones"


def _architecture_faults(record: Architecture) -> Iterator[str]:
    yield from _name_faults(record.name, NAME)
    yield from _function_faults(record, ("build",), required=True)
    if not isinstance(record.recipe, Recipe):
        yield f"recipe must be a membench.Recipe, not {_a(record.recipe)}"
    legal = asdict(Recipe()) | {"optimizer": ("sgd", "adamw"), "schedule": ("constant", "cosine")}
    for field, value in asdict(record.recipe).items():
        yield from _recipe_faults(field, value, legal[field])


def _recipe_faults(field: str, value: Any, legal: Any) -> Iterator[str]:
    """`legal` is the words allowed, or a number of the right type."""
    if isinstance(legal, tuple):
        if value not in legal:
            yield f"recipe.{field} must be {' or '.join(map(repr, legal))}, not {value!r}"
    elif isinstance(legal, int):
        if type(value) is not int or value < 1:
            yield f"recipe.{field} must be a whole number from 1, not {value!r}"
    elif type(value) not in (int, float) or not 0 <= value < math.inf:
        yield f"recipe.{field} must be a number from 0, not {value!r}"


def _dataset_faults(record: Dataset) -> Iterator[str]:
    yield from _name_faults(record.name, NAME)
    yield from _function_faults(record, ("load",), required=True)
    yield from _function_faults(record, ("fetch",))


def _signal_faults(record: Signal) -> Iterator[str]:
    yield from _name_faults(record.name, _SIGNAL)
    yield from _function_faults(record, ("apply",), required=True)
    if record.noise not in ("labels", "inputs", None):
        yield f'noise must be "labels", "inputs" or None, not {record.noise!r}'


def _probe_faults(record: Probe) -> Iterator[str]:
    yield from _name_faults(record.name, NAME)
    yield from _function_faults(record, ("measure",), required=True)
    yield from _function_faults(record, ("init", "update"))
    if record.at not in WHEN:
        yield f"at must be {' or '.join(map(repr, WHEN))}, not {record.at!r}"
    if (record.init is None) != (record.update is None):
        yield "init and update go together: one makes the state, the other one carries it through training"


def _study_faults(record: Study) -> Iterator[str]:
    yield from _name_faults(record.name, NAME)
    yield from _function_faults(record, ("analyse",), required=True)
    if not isinstance(record.claim, str) or not record.claim.strip():
        yield "claim must say in a sentence what is tested"
    if (
        not isinstance(record.arms, Mapping)
        or not record.arms
        or not set(record.arms) <= set(SCALES)
    ):
        yield f"arms must be a dict with the keys {' and '.join(map(repr, SCALES))}"
    for scale, arms in record.arms.items():
        if (
            not isinstance(arms, (tuple, list))
            or not arms
            or not all(isinstance(arm, Arm) for arm in arms)
        ):
            yield f"arms[{scale!r}] must be a tuple of membench.Arm"
        if len({arm.name for arm in arms}) < len(arms):
            yield f"arms[{scale!r}]: two arms have one name; results are found by it"
        for arm in arms:
            yield from _arm_faults(arm)
    for own in record.records:
        if type(own) not in KINDS or isinstance(own, (Study, Composite)):
            yield f"records holds {_a(own)}; give architectures, data sets, signals, regularizers and probes"
        if (wrong := first_error(own)) is not None:
            yield f"in its records, {wrong}"


def _arm_faults(arm: Arm) -> Iterator[str]:
    yield from _name_faults(arm.name, NAME, "arm")
    if not isinstance(arm.split, Split) or not isinstance(arm.recipe, Recipe):
        yield f"arm {arm.name!r}: split must be a membench.Split, recipe a membench.Recipe"
    if not all(
        isinstance(v, tuple)
        for v in (arm.architectures, arm.signals, arm.seeds, arm.probes, arm.read)
    ):
        yield f"arm {arm.name!r}: architectures, signals, seeds, probes and read must be tuples"
    if not (arm.architectures and arm.signals and arm.seeds and arm.regularizers):
        yield f"arm {arm.name!r} has no cell; give architectures, signals, seeds and regularizers"
    if arm.split.share is not None and not 0 < arm.split.share <= 1:
        yield f"arm {arm.name!r}: share must lie in (0, 1], not {arm.split.share!r}"
    if any(epoch not in range(1, arm.recipe.epochs + 1) for epoch in arm.read):
        yield f"arm {arm.name!r}: read must hold epochs from 1 to {arm.recipe.epochs}"


_FAULTS: dict[type, Callable[[Any], Iterator[str]]] = {
    Regularizer: _regularizer_faults,
    Composite: _composite_faults,
    Architecture: _architecture_faults,
    Dataset: _dataset_faults,
    Signal: _signal_faults,
    Probe: _probe_faults,
    Study: _study_faults,
}


def _name_faults(name: Any, legal: re.Pattern[str], what: str = "name") -> Iterator[str]:
    if not isinstance(name, str) or not legal.fullmatch(name):
        yield f"illegal {what} {name!r}; write {legal.pattern}"


def _grid_faults(strengths: Any, sizes: Container[int]) -> Iterator[str]:
    if not isinstance(strengths, (tuple, list)):
        yield f"strengths must be a tuple, not {_a(strengths)}"
    if len(strengths) not in sizes:
        yield f"strengths has {len(strengths)} values; give exactly {GRID}, from no visible effect to broken accuracy"
    for strength in strengths:
        if not _is_number(strength):
            yield f"strength {strength!r} is not a number; give floats or inf"
    if len({f"{strength:.6g}" for strength in strengths}) < len(
        strengths
    ):  # six digits are what a cell's id shows
        yield "two strengths are the same to six digits; all must differ"


def _function_faults(record: Any, fields: tuple[str, ...], required: bool = False) -> Iterator[str]:
    for field in fields:
        value = getattr(record, field)
        if not callable(value) and (required or value is not None):
            yield f"{field} must be a function, not {_a(value)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _a(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"

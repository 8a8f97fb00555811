"""Refuse invalid records before they can cost a run: illegal names, grids, stages. Pure.

Loading calls `first_error` for each record that a plugin returns. Each kind of record has a
generator of errors; only its first is asked for, so a check may rely on those before it.
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
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.api import Signal
from membench.api import Split
from membench.api import Suite
from membench.probes import WHEN
from membench.probes import Probe
from membench.studies import SCALES
from membench.studies import Arm
from membench.studies import Study

#: The table of the registry that a record belongs to.
KIND_BY_TYPE: dict[type, str] = {
    Regularizer: "regularizers",
    Composite: "regularizers",
    Architecture: "architectures",
    Dataset: "datasets",
    Signal: "signals",
    Optimizer: "optimizers",
    Suite: "suites",
    Probe: "probes",
    Study: "studies",
}
#: Settings of every ranked entry: the board picks the best one, so all must have as many tries.
GRID = 5
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
SIGNAL_NAME = re.compile(r"[A-Za-z0-9-]+")
LEVEL_NAME = re.compile(r"[a-z][a-z0-9-]*")
LEVELLED_SIGNAL = re.compile(r"[A-Za-z0-9-]+(@([0-9]+(\.[0-9]+)?|[a-z][a-z0-9-]*))?")


def first_error(record: Any) -> str | None:
    """Return what is wrong with a record first, and how to correct it; None if it is valid."""
    kind = KIND_BY_TYPE.get(type(record))
    if kind is None:
        names = ", ".join(cls.__name__ for cls in KIND_BY_TYPE)
        given = _with_article(record)
        return f"register() returned {given} among its records; return a list of {names}"
    error = next(_errors(record), None)
    return None if error is None else f"{singular(kind)} {record.name!r}: {error}"


def singular(kind: str) -> str:
    """Return "study" for "studies", "probe" for "probes"."""
    return "study" if kind == "studies" else kind.removesuffix("s")


def _errors(record: Any) -> Iterator[str]:
    if not isinstance(record.summary, str) or not isinstance(record.source, str):
        yield "summary and source must be strings"
    if type(record.version) is not int:
        yield f"version must be an int, not {record.version!r}"
    yield from _ERRORS[type(record)](record)


def _regularizer_errors(record: Regularizer) -> Iterator[str]:
    is_control = record.group == "control"
    yield from _name_errors(record.name, NAME)
    yield from _name_errors(record.group, NAME, "group")
    if not _is_number(record.off):
        yield f"off must be one number or inf, not {record.off!r}"
    yield from _grid_errors(record.strengths, sizes=range(1, 100) if is_control else (GRID,))
    if any(strength == record.off for strength in record.strengths):
        yield (
            f"strengths hold off ({record.off:g}), which is never trained; put another value there"
        )
    yield from _limit_errors(record)
    yield from _function_errors(record, (*STAGES, "skip"))
    if record.init is not None and record.update is None:
        yield "init makes a state that nothing changes; add update, or drop init"
    if record.redraw and not is_control:
        yield (
            "redraw trains the plain network anew; "
            'only group="control", which is not ranked, may do that'
        )
    if not record.acts_on and not record.redraw:
        yield f"acts nowhere; give it a function for a stage: {', '.join(STAGES)}"


def _composite_errors(record: Composite) -> Iterator[str]:
    parts = str(record.name).split("+")
    for part in parts:
        yield from _name_errors(part, NAME, "part")
    if len(parts) < 2 or len(set(parts)) < len(parts):
        yield "the name must be two or more different regularizers joined by +"
    rows = record.strengths
    if not isinstance(rows, (tuple, list)) or len(rows) != GRID:
        yield f"strengths must be {GRID} tuples, one a setting"
    for row in rows:
        is_setting = isinstance(row, (tuple, list)) and len(row) == len(parts)
        if not is_setting or not all(_is_number(value) for value in row):
            names = ", ".join(parts)
            yield f"setting {row!r} must hold {len(parts)} numbers, one for each of {names}"
    settings = set()
    for row in rows:
        settings.add(tuple(_as_shown(value) for value in row))
    if len(settings) < GRID:
        yield "two settings are the same; give five different ones"


def _architecture_errors(record: Architecture) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    yield from _function_errors(record, ("build",), required=True)
    yield from _recipe_errors(record.recipe, "recipe")


def _recipe_errors(recipe: Any, where: str) -> Iterator[str]:
    """Yield what is wrong with a recipe; whether its names are known is seen at plan time."""
    if not isinstance(recipe, Recipe):
        yield f"{where} must be a membench.Recipe, not {_with_article(recipe)}"
    defaults = asdict(Recipe())
    for field, value in asdict(recipe).items():
        if isinstance(defaults[field], str):
            yield from _name_errors(value, NAME, f"{where}.{field}")
        elif isinstance(defaults[field], int):
            if type(value) is not int or value < 1:
                yield f"{where}.{field} must be a whole number from 1, not {value!r}"
        elif type(value) not in (int, float) or not 0 <= value < math.inf:
            yield f"{where}.{field} must be a number from 0, not {value!r}"


def _dataset_errors(record: Dataset) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    yield from _function_errors(record, ("load",), required=True)
    yield from _function_errors(record, ("fetch",))
    shape, classes = record.shape, record.num_classes
    if shape is not None and not _are_sizes(shape, 3):
        yield f"shape must be three whole numbers from 1 or None, not {shape!r}"
    if classes is not None and not _are_sizes((classes,), 1):
        yield f"num_classes must be a whole number from 1 or None, not {classes!r}"


def _are_sizes(values: Any, count: int) -> bool:
    if not isinstance(values, (tuple, list)) or len(values) != count:
        return False
    return all(type(value) is int and value > 0 for value in values)


def _signal_errors(record: Signal) -> Iterator[str]:
    yield from _name_errors(record.name, SIGNAL_NAME)
    yield from _function_errors(record, ("apply",), required=True)
    if record.noise not in ("labels", "inputs", None):
        yield f'noise must be "labels", "inputs" or None, not {record.noise!r}'
    yield from _function_errors(record, ("fetch",))
    if isinstance(record.levels, bool):
        return
    if not isinstance(record.levels, tuple):
        yield f"levels must be True, False or a tuple of names, not {record.levels!r}"
    yield from _names_errors(record.levels, LEVEL_NAME, "levels")


def _optimizer_errors(record: Optimizer) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    yield from _function_errors(record, ("init", "update"), required=True)


def _suite_errors(record: Suite) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    if "-custom" in record.name:
        yield "names with -custom are those of narrowed suites; take another"
    yield from _names_errors(record.datasets, NAME, "datasets")
    yield from _names_errors(record.architectures, NAME, "architectures")
    yield from _names_errors(record.signals, LEVELLED_SIGNAL, "signals")
    yield from _names_errors(record.probes, NAME, "probes", may_be_empty=True)
    yield from _seed_errors(record.choosing, "choosing")
    yield from _seed_errors(record.confirming, "confirming")
    common = sorted(set(record.choosing) & set(record.confirming))
    if common:
        yield (
            f"seed {common[0]} is in choosing and in confirming; "
            "what was chosen on a seed cannot be read on it"
        )
    yield from _table_errors(record.splits, Split, "splits")
    for dataset in record.datasets:
        if dataset not in record.splits:
            yield f"splits has none for data set {dataset!r}; add one"
    for dataset, split in record.splits.items():
        if dataset not in record.datasets:
            yield f"splits names {dataset!r}, which is not among datasets"
        yield from _split_errors(split, f"splits[{dataset!r}]")
    yield from _table_errors(record.recipes, Recipe, "recipes")
    for task, recipe in record.recipes.items():
        if not isinstance(task, tuple) or len(task) != 2:
            yield f"recipes has the key {task!r}; write (dataset, architecture)"
        dataset, architecture = task
        if dataset not in record.datasets or architecture not in record.architectures:
            yield f"recipes names {task!r}, which is no task of the suite"
        yield from _recipe_errors(recipe, f"recipes[{task!r}]")
    yield from _uncalibrated_errors(record)
    if type(record.width) is not int or record.width < 1:
        yield f"width must be a whole number from 1, not {record.width!r}"
    if type(record.compiled) is not bool:
        yield f"compiled must be True or False, not {record.compiled!r}"


def _uncalibrated_errors(record: Suite) -> Iterator[str]:
    if not isinstance(record.uncalibrated, Mapping):
        yield "uncalibrated must be a dict: data set or architecture -> why"
    for name, reason in record.uncalibrated.items():
        if name not in record.datasets and name not in record.architectures:
            yield f"uncalibrated names {name!r}, which is no data set or architecture of the suite"
        if not isinstance(reason, str) or not reason.strip():
            yield f"uncalibrated[{name!r}] must say why, in words"
    for axis in ("datasets", "architectures"):
        if not set(getattr(record, axis)) - set(record.uncalibrated):
            yield f"uncalibrated names all {axis}, so that there is nothing to run; keep one"


def _seed_errors(seeds: Any, field: str) -> Iterator[str]:
    if not isinstance(seeds, tuple) or not seeds:
        yield f"{field} must be a tuple of seeds, at least one"
    for seed in seeds:
        if type(seed) is not int or seed < 0:
            yield f"{field} holds {seed!r}; seeds are whole numbers from 0"
    if len(set(seeds)) < len(seeds):
        yield f"{field} holds a seed twice"


def _table_errors(table: Any, kind: type, field: str) -> Iterator[str]:
    if not isinstance(table, Mapping) or not all(isinstance(v, kind) for v in table.values()):
        yield f"{field} must be a dict of membench.{kind.__name__}"


def _split_errors(split: Split, where: str) -> Iterator[str]:
    for field in ("test", "train", "validation"):
        value = getattr(split, field)
        if type(value) is not int or value < 1:
            yield f"{where}.{field} must be a whole number from 1, not {value!r}"
    if split.fixed is not None and (type(split.fixed) is not int or split.fixed < 0):
        yield f"{where}.fixed must be a seed or None, not {split.fixed!r}"
    if split.share is not None and not (_is_number(split.share) and 0 < split.share <= 1):
        yield f"{where}.share must lie in (0, 1], not {split.share!r}"


def _probe_errors(record: Probe) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    yield from _function_errors(record, ("measure",), required=True)
    yield from _function_errors(record, ("init", "update"))
    if record.at not in WHEN:
        legal = " or ".join(repr(word) for word in WHEN)
        yield f"at must be {legal}, not {record.at!r}"
    if (record.init is None) != (record.update is None):
        yield (
            "init and update go together: one makes the state, "
            "the other one carries it through training"
        )


def _study_errors(record: Study) -> Iterator[str]:
    yield from _name_errors(record.name, NAME)
    yield from _function_errors(record, ("analyse",), required=True)
    if not isinstance(record.claim, str) or not record.claim.strip():
        yield "claim must say in a sentence what is tested"
    arms_by_scale = record.arms
    if (
        not isinstance(arms_by_scale, Mapping)
        or not arms_by_scale
        or not set(arms_by_scale) <= set(SCALES)
    ):
        scales = " and ".join(repr(scale) for scale in SCALES)
        yield f"arms must be a dict with the keys {scales}"
    for scale, arms in arms_by_scale.items():
        is_sequence = isinstance(arms, (tuple, list)) and len(arms) > 0
        if not is_sequence or not all(isinstance(arm, Arm) for arm in arms):
            yield f"arms[{scale!r}] must be a tuple of membench.Arm"
        if len({arm.name for arm in arms}) < len(arms):
            yield f"arms[{scale!r}]: two arms have one name; results are found by it"
        for arm in arms:
            yield from _arm_errors(arm)
    for private in record.records:
        if type(private) not in KIND_BY_TYPE or isinstance(private, (Study, Composite, Suite)):
            yield (
                f"records holds {_with_article(private)}; "
                "give architectures, data sets, signals, regularizers, optimizers and probes"
            )
        error = first_error(private)
        if error is not None:
            yield f"in its records, {error}"


def _arm_errors(arm: Arm) -> Iterator[str]:
    yield from _name_errors(arm.name, NAME, "arm")
    if not isinstance(arm.split, Split) or not isinstance(arm.recipe, Recipe):
        yield f"arm {arm.name!r}: split must be a membench.Split, recipe a membench.Recipe"
    tuples = (arm.architectures, arm.signals, arm.seeds, arm.probes, arm.read)
    if not all(isinstance(value, tuple) for value in tuples):
        yield f"arm {arm.name!r}: architectures, signals, seeds, probes and read must be tuples"
    if not (arm.architectures and arm.signals and arm.seeds and arm.regularizers):
        yield f"arm {arm.name!r} has no cell; give architectures, signals, seeds and regularizers"
    if arm.split.share is not None and not 0 < arm.split.share <= 1:
        yield f"arm {arm.name!r}: share must lie in (0, 1], not {arm.split.share!r}"
    if any(epoch not in range(1, arm.recipe.epochs + 1) for epoch in arm.read):
        yield f"arm {arm.name!r}: read must hold epochs from 1 to {arm.recipe.epochs}"


_ERRORS: dict[type, Callable[[Any], Iterator[str]]] = {
    Regularizer: _regularizer_errors,
    Composite: _composite_errors,
    Architecture: _architecture_errors,
    Dataset: _dataset_errors,
    Signal: _signal_errors,
    Optimizer: _optimizer_errors,
    Suite: _suite_errors,
    Probe: _probe_errors,
    Study: _study_errors,
}


def _name_errors(name: Any, legal: re.Pattern[str], what: str = "name") -> Iterator[str]:
    if not isinstance(name, str) or not legal.fullmatch(name):
        yield f"illegal {what} {name!r}; write {legal.pattern}"


def _names_errors(
    names: Any, legal: re.Pattern[str], field: str, may_be_empty: bool = False
) -> Iterator[str]:
    if not isinstance(names, tuple) or not (names or may_be_empty):
        yield f"{field} must be a tuple of names{'' if may_be_empty else ', at least one'}"
    for name in names:
        yield from _name_errors(name, legal, f"name in {field},")
    if len(set(names)) < len(names):
        yield f"{field} holds a name twice"


def _grid_errors(strengths: Any, sizes: Container[int]) -> Iterator[str]:
    if not isinstance(strengths, (tuple, list)):
        yield f"strengths must be a tuple, not {_with_article(strengths)}"
    if len(strengths) not in sizes:
        yield (
            f"strengths has {len(strengths)} values; "
            f"give exactly {GRID}, from no visible effect to broken accuracy"
        )
    for strength in strengths:
        if not _is_number(strength):
            yield f"strength {strength!r} is not a number; give floats or inf"
    if len({_as_shown(strength) for strength in strengths}) < len(strengths):
        yield "two strengths are the same to six digits; all must differ"


def _limit_errors(record: Regularizer) -> Iterator[str]:
    limit = record.limit
    if limit is None:
        return
    if not _is_number(limit) or math.isinf(limit):
        yield f"limit must be one finite number or None, not {limit!r}"
    if limit == record.off:
        yield f"limit is off ({record.off:g}): no strength lies between; drop limit"
    beyond = [strength for strength in record.strengths if is_beyond(strength, record.off, limit)]
    if beyond:
        yield (
            f"strength {beyond[0]:g} does not lie between off ({record.off:g}) and "
            f"limit ({limit:g}); end the grid at the limit, or drop it"
        )


def is_beyond(strength: float, off: float, limit: float | None) -> bool:
    """Tell whether a strength lies outside of the range from off to the natural end of the grid.

    Args:
        strength: of one part; `off` itself is inside.
        off: may be infinite.
        limit: the natural end; None = there is none, and nothing lies outside.
    """
    return limit is not None and not min(off, limit) <= strength <= max(off, limit)


def _function_errors(record: Any, fields: tuple[str, ...], required: bool = False) -> Iterator[str]:
    for field in fields:
        value = getattr(record, field)
        if not callable(value) and (required or value is not None):
            yield f"{field} must be a function, not {_with_article(value)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _as_shown(strength: float) -> str:
    """Return the six digits that the id of a cell shows."""
    return f"{strength:.6g}"


def _with_article(value: Any) -> str:
    """Return the name of the value's type with its article: "an int", "a dict"."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"

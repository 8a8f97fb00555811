"""A small suite, a registry of made-up plugins, and the plans that they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import replace
from typing import Any

from membench.api import Recipe
from membench.api import Split
from membench.planning.plan import Plan
from membench.planning.plan import Select
from membench.planning.plan import Skip
from membench.planning.plan import make_plan
from membench.planning.suites import PlannedSuite
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.registry.registry import build_registry

#: The recipe of both architectures; the suite has another one for `dots/mlp`.
ARCHITECTURE_RECIPE = Recipe(lr=0.5, batch=10, epochs=3)
SUITE = PlannedSuite(
    name="small",
    version=1,
    summary="",
    datasets=("dots",),
    architectures=("mlp", "cnn"),
    signals=("real", "mixed@0.4", "randY"),
    choosing=(0, 1),
    confirming=(2,),
    splits={"dots": Split(20, 30, 10), "more": Split(20, 30, 10)},
    recipes={("dots", "mlp"): Recipe(lr=0.1)},
    width=5,
)
#: A cell of the suite.
CELL = "dots/mlp/dropout[0.5]/mixed@0.4/seed1"


def entry(kind: str, name: str, **fields: Any) -> PluginEntry:
    return PluginEntry(kind=kind, name=name, **{"code_hash": f"code of {name}", **fields})


def grid(*strengths: float) -> dict[str, Any]:
    """Return the fields of an entry with these strengths."""
    return {
        "strengths": tuple((strength,) for strength in strengths),
        "off": (0.0,),
        "limits": (None,),
    }


ENTRIES = (
    entry("regularizers", "dropout", group="model", **grid(0.1, 0.5)),
    entry("regularizers", "mixup", group="data", **grid(0.2, 0.3)),
    entry("regularizers", "dropout+mixup"),
    entry("regularizers", "low-lr", group="control", **grid(1 / 3)),
    entry("architectures", "mlp", recipe=asdict(ARCHITECTURE_RECIPE)),
    entry("architectures", "cnn", recipe=asdict(ARCHITECTURE_RECIPE)),
    entry("optimizers", "sgd"),
    entry("optimizers", "adamw"),
    entry("datasets", "dots"),
    entry("datasets", "more"),
    entry("signals", "real"),
    entry("signals", "mixed", levels=True),
    entry("signals", "randY"),
)


def registry(*more: PluginEntry, **changes: dict[str, Any]) -> Registry:
    """Return the registry of `ENTRIES` and `more`, with the fields of the named entries changed."""
    entries = [replace(known, **changes.get(known.name, {})) for known in ENTRIES]
    return build_registry([*entries, *more])


def without(name: str, **changes: dict[str, Any]) -> Registry:
    """Return the registry of someone whose plugins do not register a regularizer any more."""
    whole = registry(**changes)
    regularizers = dict(whole.regularizers)
    regularizers.pop(name, None)  # a composition may have been refused: its parts do not pair
    return replace(whole, regularizers=regularizers)


def hash_of(dataset: str) -> str:
    """Stand in for the hash of a data set's arrays."""
    return f"arrays of {dataset}"


def never_skip(dataset: str, architecture: str, regularizer: str) -> None:
    """Let every regularizer act everywhere."""


def plan_of(
    suite: PlannedSuite = SUITE,
    plugins: Registry | None = None,
    hash_of: Callable[[str], str] = hash_of,
    skip: Skip = never_skip,
    select: Select | None = None,
) -> Plan:
    """Plan the small suite, with what the test changes."""
    return make_plan(suite, plugins or registry(), hash_of, skip, select)


def only_cell(cell: str) -> bool:
    """Select `CELL` alone."""
    return cell == CELL

"""From a suite and a registry to the cells and packs that are to be trained. Pure: reads no stored result.

`make_plan` is called by `plan`, `run` and `status`; no torch, unless a plugin's `skip` must look at a network.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from membench.api import Recipe
from membench.api import Split
from membench.planning.suites import Suite
from membench.planning.suites import split_of
from membench.records import PROTOCOL
from membench.records import Cell
from membench.records import digest
from membench.records import parse_signal
from membench.registry.registry import Registry

Hash = Callable[[str], str]  #: data set name -> SHA-256 of its arrays


def resolved_recipe(suite: Suite, registry: Registry, task: str) -> Recipe:
    """The suite's recipe for the task, else the architecture's own; with the epochs that were asked for."""
    dataset, architecture = task.split("/")
    own = registry.entry("architectures", architecture).recipe
    recipe = suite.recipes.get((dataset, architecture)) or Recipe(**own)
    return replace(recipe, epochs=suite.epochs) if suite.epochs else recipe


class Keys:
    """Cell keys of a suite."""

    def __init__(
        self, suite: Suite, registry: Registry, recipes: dict[str, Any], hashes: dict[str, str]
    ) -> None:
        self.suite, self.registry, self.recipes, self.hashes = suite, registry, recipes, hashes

    def __call__(self, cell: Cell) -> str:
        sizes, recipe = split_of(self.suite, cell.dataset), self.recipes[cell.task]
        return cell_key(
            cell, self.registry, self.hashes[cell.dataset], sizes, recipe, self.suite.probes
        )


def cell_key(
    cell: Cell,
    registry: Registry,
    data: str,
    sizes: Split,
    recipe: dict[str, Any],
    probes: Iterable[str] = (),
    read: tuple[int, ...] = (),
) -> str:
    """The hash of what changes a cell's record, and only that; never order, neighbours or clock.

    What few cells have (probes, epochs to be read at, a split that is fixed or shared) counts only where it is set.

    Args:
        data: SHA-256 of the data set's arrays.
        recipe: resolved, as a dict.
    """

    def code(kind: str, name: str) -> list[Any]:
        entry = registry.entry(kind, name)
        return [entry.name, entry.code_hash, entry.version]

    name, level = parse_signal(cell.signal)
    more = {"probes": sorted(code("probes", probe) for probe in probes), "read": list(read)}
    return digest(
        {
            "protocol": PROTOCOL,
            "dataset": [cell.dataset, data],
            "split": sizes.to_json(),
            "recipe": recipe,
            "architecture": code("architectures", cell.architecture),
            "regularizer": code("regularizers", cell.regularizer),
            "signal": [*code("signals", name), level],
            "strength": [repr(s) for s in cell.strength],
            "seed": cell.seed,
            **{field: value for field, value in more.items() if value},
        }
    )

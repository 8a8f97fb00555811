"""The key of a cell: a hash of all that its numbers depend on, and of nothing else. Pure.

A record counts for every planned cell whose key it has, so a key must never change without a
reason.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from membench.api import Split
from membench.planning.packs import PluginCode
from membench.records import PROTOCOL
from membench.records import Cell
from membench.records import digest
from membench.records import parse_signal
from membench.registry.registry import Registry

#: (cells of a pack, probes, optimizer) -> the code that they are made from
CodeOf = Callable[[Sequence[Cell], Iterable[str], str], tuple[PluginCode, ...]]
ArraysHash = Callable[[str], str]  #: name of a data set -> SHA-256 of its arrays


def cell_key(
    cell: Cell,
    registry: Registry,
    *,
    arrays: str,
    split: Split,
    recipe: dict[str, Any],
    probes: Iterable[str] = (),
    read: tuple[int, ...] = (),
) -> str:
    """Return the hash of what changes a cell's record: never order, neighbours or clock.

    What few cells have (probes, reading epochs, a split that is fixed or shared) is hashed only
    where it is set, so that all other keys are what they were before it existed.

    Args:
        cell: the training run.
        registry: gives the code hashes and versions of the plugins that the cell names.
        arrays: SHA-256 of the data set's arrays, in hex.
        split: sizes of the test, training and validation sets.
        recipe: the resolved recipe, as a dict.
        probes: names of the probes that are measured, in any order.
        read: epochs at which the cell is read besides the last; () = the usual ones.

    Raises:
        MembenchError: the cell names what is not registered.
    """
    signal, level = parse_signal(cell.signal)
    ingredients = {
        "protocol": PROTOCOL,
        "dataset": [cell.dataset, arrays],
        "split": split.to_json(),
        "recipe": recipe,
        "optimizer": _code(registry, "optimizers", recipe["optimizer"]),
        "architecture": _code(registry, "architectures", cell.architecture),
        "regularizer": _code(registry, "regularizers", cell.regularizer),
        "signal": [*_code(registry, "signals", signal), level],
        "strength": [repr(strength) for strength in cell.strength],
        "seed": cell.seed,
    }
    probe_codes = sorted(_code(registry, "probes", probe) for probe in probes)
    if probe_codes:
        ingredients["probes"] = probe_codes
    if read:
        ingredients["read"] = list(read)
    return digest(ingredients)


def _code(registry: Registry, kind: str, name: str) -> list[Any]:
    """Return what identifies the code of a plugin."""
    entry = registry.entry(kind, name)
    return [entry.name, entry.code_hash, entry.version]


class CodeOfPlan:
    """The code of the plugins that a plan's cells name, looked up once each."""

    def __init__(self, registry: Registry) -> None:
        """Look code up in this registry."""
        self._registry = registry
        self._known: dict[tuple[str, str], PluginCode] = {}

    def of(
        self, cells: Sequence[Cell], probes: Iterable[str], optimizer: str
    ) -> tuple[PluginCode, ...]:
        """Return the code that cells of one program are made from.

        Args:
            cells: of a pack.
            probes: names of what is measured on them.
            optimizer: the name of the one that trains them.
        """
        named = _named(cells, probes, optimizer)
        return tuple(self._look_up(kind, name) for kind, name in named)

    def _look_up(self, kind: str, name: str) -> PluginCode:
        if (kind, name) not in self._known:
            entry = self._registry.entry(kind, name)
            self._known[kind, name] = PluginCode(
                kind=kind,
                name=name,
                code_hash=entry.code_hash,
                version=entry.version,
                foreign_files=entry.foreign_files,
            )
        return self._known[kind, name]


def _named(
    cells: Sequence[Cell], probes: Iterable[str], optimizer: str
) -> Iterator[tuple[str, str]]:
    """Yield table and name of each plugin that cells of one program name."""
    first = cells[0]
    yield "datasets", first.dataset
    yield "architectures", first.architecture
    yield "regularizers", first.regularizer
    yield "optimizers", optimizer
    for signal in dict.fromkeys(parse_signal(cell.signal)[0] for cell in cells):
        yield "signals", signal
    for probe in probes:
        yield "probes", probe

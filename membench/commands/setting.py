"""From options to what they mean: the registry, the suite, the plan."""

from __future__ import annotations

import argparse
from collections.abc import Container
from dataclasses import replace
from functools import cache
from pathlib import Path

from membench.api import Net
from membench.data import arrays_digest
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.loading import PluginEntry
from membench.plan import Plan
from membench.plan import make_plan
from membench.plugin_cache import SkipCache
from membench.plugin_cache import file_stamp
from membench.plugin_finding import PluginProblem
from membench.plugin_finding import shipped_folder
from membench.records import digest
from membench.registry import Registry
from membench.registry import discover
from membench.select import compile_expression
from membench.suites import SUITES
from membench.suites import Suite
from membench.suites import default_split
from membench.suites import narrowed
from membench.worker import explain

NETWORK = Path(__file__).parents[1] / "engine" / "network.py"  #: describes networks to `skip`


def registry(options: argparse.Namespace) -> Registry:
    """All plugins, those of `-p` and the compositions of `-r` among them."""
    found = discover(options.plugins)
    composed, full = getattr(options, "compose", []), getattr(options, "grid", "paired") == "full"
    if full and not composed:
        raise MembenchError("--grid full: name the composition too, as in -r dropout+mixup --grid full")
    for name in composed:
        if "+" not in name:
            raise MembenchError(f"-r {name}: give a composition, as in -r dropout+mixup; -k {name} selects one")
        found = found.with_composition(name, full)
    return found


def suite(options: argparse.Namespace) -> Suite:
    """The suite that the options name, with the axes and sizes that they ask for."""
    if options.suite not in SUITES:
        raise unknown_name("suite", options.suite, SUITES)
    axes = (options.datasets, options.architectures, options.seeds)
    asked = narrowed(SUITES[options.suite], *axes, options.train_size, options.epochs)
    return replace(asked, probes=tuple(dict.fromkeys(options.probes)))


def plan(
    options: argparse.Namespace, found: Registry, among: Container[str] | None = None, data: Data | None = None
) -> Plan:
    """What the options select of their suite; with `among`, of these ids. `data` default: all must be at hand."""
    data = data or Data(found, options.data_dir)
    for kind in ("datasets", "architectures"):
        for name in getattr(options, kind):
            found.entry(kind, name)
    select = None if options.expression is None else compile_expression(options.expression)
    if among is not None:
        fits = select or (lambda cell: True)
        select = lambda cell: cell in among and fits(cell)  # noqa: E731
    skips = Skips(found, data)
    planned = make_plan(_with_splits(suite(options), data), found, data.hash, skips, select)
    return replace(planned, problems=tuple(dict.fromkeys(skips.problems)))


def _with_splits(asked: Suite, data: Data) -> Suite:
    """The suite with a split for the data sets that are not its own."""
    splits = dict(asked.splits)
    for name in set(asked.datasets) - set(splits):
        arrays = data.arrays(name)
        splits[name] = default_split(len(arrays.y), len(arrays.test[1]) if arrays.test else 0, asked.train)
    return replace(asked, splits=splits)


def origin(entry: PluginEntry) -> str:
    """Where a plugin comes from, in a word: all that ship with membench are one."""
    return "membench" if entry.path and Path(entry.path).is_relative_to(shipped_folder()) else entry.origin


class Data:
    """The data sets, each loaded once. For a plan that is only shown none is `needed`: what is not at hand is noted."""

    def __init__(self, found: Registry, folder: Path | None, needed: bool = True) -> None:
        self.needed = needed
        self.notes: dict[str, str] = {}  #: data set -> how to get it
        self.arrays = cache(lambda name: load_arrays(found.dataset(name), folder))

    def hash(self, name: str) -> str:
        """SHA-256 of its arrays, "" if it is not at hand."""
        return arrays_digest(self.arrays(name)) if self.at_hand(name) else ""

    def at_hand(self, name: str) -> bool:
        """Raises `MembenchError` if it is not, and needed."""
        try:
            return self.arrays(name) is not None
        except MembenchError as error:
            if self.needed or not isinstance(error.__cause__, FileNotFoundError):
                raise
            self.notes[name] = str(error)
            return False


class Skips:
    """Asks `skip` of each part; only an answer that is not remembered costs a network, and torch.

    A regularizer whose `skip` raises is left out with that as the reason, and is one of the `problems`.
    """

    def __init__(self, found: Registry, data: Data) -> None:
        self.found, self.data = found, data
        self.known = SkipCache.open()
        self.problems: list[PluginProblem] = []

    def __call__(self, dataset: str, architecture: str, regularizer: str) -> str | None:
        if not self.data.at_hand(dataset):
            return None
        arrays = self.data.arrays(dataset)
        shape = tuple(arrays.x.shape[1:])
        asked = (self.found.entry("architectures", architecture), self.found.entry("regularizers", regularizer))
        code = [[entry.name, entry.code_hash, entry.version] for entry in asked]
        key = digest([code, shape, arrays.num_classes, file_stamp(NETWORK)])
        if key not in self.known.answers:
            net = self._net(architecture, shape, arrays.num_classes)
            try:
                self.known.put(key, self._ask(regularizer, net))
            except Exception as error:  # whatever a stranger's code raises
                reason = f"its skip raised {explain(error)}"
                self.problems.append(PluginProblem(asked[1].origin, f"{regularizer} is left out: {reason}"))
                return reason
        return self.known.answers[key]

    def _net(self, architecture: str, shape: tuple[int, int, int], num_classes: int) -> Net:
        """Raises `MembenchError`, which names the architecture, if it cannot be built for such data."""
        from membench.engine.network import describe

        try:
            return describe(self.found.architecture(architecture), shape, num_classes)
        except MembenchError:
            raise
        except Exception as error:
            sizes = f"inputs {list(shape)} and {num_classes} classes"
            raise MembenchError(f"architecture {architecture!r} cannot take {sizes}: {explain(error)}") from error

    def _ask(self, regularizer: str, net: Net) -> str | None:
        for part in self.found.regularizer(regularizer):
            reason = part.skip(net) if part.skip else None
            if reason is not None:
                return str(reason)
        return None

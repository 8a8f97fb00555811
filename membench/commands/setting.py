"""From options to what they mean: the registry, the suite, the plan."""

from __future__ import annotations

import argparse
from collections.abc import Container
from dataclasses import replace
from functools import cache
from pathlib import Path

from membench.data import arrays_digest
from membench.data import load_arrays
from membench.data import pool
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.loading import PluginEntry
from membench.plan import Plan
from membench.plan import make_plan
from membench.plugin_cache import SkipCache
from membench.plugin_cache import file_stamp
from membench.plugin_finding import shipped_folder
from membench.records import digest
from membench.registry import Registry
from membench.registry import discover
from membench.select import compile_expression
from membench.suites import SUITES
from membench.suites import Suite
from membench.suites import default_split
from membench.suites import narrowed

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
    """The suite that the options name, with the axes that they ask for."""
    if options.suite not in SUITES:
        raise unknown_name("suite", options.suite, SUITES)
    return narrowed(SUITES[options.suite], options.datasets, options.architectures, options.seeds)


def plan(options: argparse.Namespace, found: Registry, among: Container[str] | None = None) -> Plan:
    """What the options select of their suite; with `among`, of these ids."""
    for kind in ("datasets", "architectures"):
        for name in getattr(options, kind):
            found.entry(kind, name)
    select = None if options.expression is None else compile_expression(options.expression)
    if among is not None:
        fits = select or (lambda cell: True)
        select = lambda cell: cell in among and fits(cell)  # noqa: E731
    return make_plan(_with_splits(suite(options), found), found, Hashes(found), Skips(found), select)


def _with_splits(asked: Suite, found: Registry) -> Suite:
    """The suite with a split for the data sets that are not its own."""
    splits = dict(asked.splits)
    for name in set(asked.datasets) - set(splits):
        arrays = load_arrays(found.dataset(name))
        splits[name] = default_split(len(arrays.y), len(arrays.test[1]) if arrays.test else 0)
    return replace(asked, splits=splits)


def origin(entry: PluginEntry) -> str:
    """Where a plugin comes from, in a word: all that ship with membench are one."""
    return "membench" if entry.path and Path(entry.path).is_relative_to(shipped_folder()) else entry.origin


class Hashes:
    """SHA-256 of a data set's arrays; each is loaded once."""

    def __init__(self, found: Registry) -> None:
        self.of = cache(lambda name: arrays_digest(load_arrays(found.dataset(name))))

    def __call__(self, name: str) -> str:
        return self.of(name)


class Skips:
    """Asks `skip` of each part; only an answer that is not remembered costs a network, and torch."""

    def __init__(self, found: Registry) -> None:
        self.found = found
        self.known = SkipCache.open()

    def __call__(self, dataset: str, architecture: str, regularizer: str) -> str | None:
        arrays = load_arrays(self.found.dataset(dataset))
        shape = tuple(pool(arrays).shape[1:])
        asked = (self.found.entry("architectures", architecture), self.found.entry("regularizers", regularizer))
        code = [[entry.name, entry.code_hash, entry.version] for entry in asked]
        key = digest([code, shape, arrays.num_classes, file_stamp(NETWORK)])
        if key not in self.known.answers:
            self.known.put(key, self._ask(architecture, regularizer, shape, arrays.num_classes))
        return self.known.answers[key]

    def _ask(self, architecture: str, regularizer: str, shape: tuple[int, int, int], num_classes: int) -> str | None:
        from membench.engine.network import describe

        net = describe(self.found.architecture(architecture), shape, num_classes)
        for part in self.found.regularizer(regularizer):
            reason = part.skip(net) if part.skip else None
            if reason is not None:
                return str(reason)
        return None

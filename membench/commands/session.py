"""Turn the options of a command into a registry, a suite, a plan, an environment.

`plan`, `run` and `reproduce` begin here; `membench.commands.training` takes over where there is
something to train.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from membench.api import Architecture
from membench.api import Net
from membench.commands.selection import names_in
from membench.commands.selection import nothing_selected
from membench.commands.words import saying_once
from membench.data import check_classes
from membench.data import check_split
from membench.errors import MembenchError
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.planning.plan import NothingSelectedError
from membench.planning.plan import Plan
from membench.planning.plan import Select
from membench.planning.plan import make_plan
from membench.planning.plan import scored_noise
from membench.planning.select import compile_expression
from membench.planning.shards import Shard
from membench.planning.shards import part_of
from membench.planning.suites import PlannedSuite
from membench.planning.suites import default_split
from membench.planning.suites import narrow
from membench.planning.suites import split_of
from membench.records import parse_id
from membench.registry.apart import Reading
from membench.registry.discovery import PluginSource
from membench.registry.discovery import is_shipped
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.registry.registry import discover


def load_registry(
    options: argparse.Namespace, read_foreign: Callable[[PluginSource], Reading] | None = None
) -> Registry:
    """Find all plugins, those of `-p` and the compositions of `-r` among them.

    Args:
        options: of the command.
        read_foreign: reads a file that does not ship; default: a child without a sandbox.
    """
    registry = discover(
        options.plugins, on_import=saying_once("reading plugins"), read_foreign=read_foreign
    )
    compositions = getattr(options, "compose", [])
    full_grid = getattr(options, "grid", "paired") == "full"
    if full_grid and not compositions:
        raise MembenchError(
            "--grid full: name the composition too, as in -r dropout+mixup --grid full"
        )
    for name in compositions:
        if "+" not in name:
            raise MembenchError(
                f"-r {name}: give a composition, as in -r dropout+mixup; -k {name} selects one"
            )
        with _refused_plugins_named(registry):
            registry = registry.with_composition(name, full_grid)
    return registry


@contextmanager
def _refused_plugins_named(registry: Registry) -> Iterator[None]:
    """Print why plugins were refused before an error that this may be the cause of.

    A name is unknown because its plugin cannot be read.
    """
    try:
        yield
    except MembenchError:
        for problem in registry.problems:
            print(problem, file=sys.stderr)
        raise


def requested_suite(options: argparse.Namespace, registry: Registry) -> PlannedSuite:
    """Return the suite that the options name, with the axes and sizes that they replace."""
    with _refused_plugins_named(registry):
        return _narrowed_suite(options, registry)


def _narrowed_suite(options: argparse.Namespace, registry: Registry) -> PlannedSuite:
    return narrow(
        registry.suite(options.suite),
        datasets=options.datasets,
        architectures=options.architectures,
        signals=options.signals,
        seeds=options.seeds,
        probes=tuple(options.probes),
        train=options.train_size,
        epochs=options.epochs,
        optimizer=options.optimizer,
        lr=options.lr,
    )


def plan_suite(
    options: argparse.Namespace,
    registry: Registry,
    datasets: DatasetLoader,
    only: Collection[str] | None = None,
) -> Plan:
    """Plan what the options select of their suite, or the shard of it that they name.

    Args:
        options: of `plan` or `run`.
        registry: all plugins.
        datasets: loads the arrays, whose hashes are part of the cells' keys.
        only: ids of cells, of either phase, in place of `-k`: regularizers that have none of them
            on a task are left out there; None: `-k` selects.

    Returns:
        The plan. A regularizer whose `skip` raised is left out of it and is one of its problems.
    """
    skips = SkipAnswers(registry, datasets, inspect_network)
    with _refused_plugins_named(registry):
        for name in options.datasets:
            registry.entry("datasets", name)
        for name in options.architectures:
            registry.entry("architectures", name)
        suite = _with_default_splits(_narrowed_suite(options, registry), datasets)
        selection = _selection(options.expression, only, names_in(suite, registry))
        try:
            plan = make_plan(suite, registry, datasets.hash, skips.reason, selection)
        except NothingSelectedError as error:
            if options.expression is None:
                raise
            raise nothing_selected(options.expression, suite, registry, error.skipped) from error
    _check_sizes(plan, datasets)
    _check_signals(plan, datasets)
    plan = replace(plan, problems=tuple(dict.fromkeys(skips.problems)))
    return part_of(plan, Shard(*options.shard)) if options.shard else plan


def _check_sizes(plan: Plan, datasets: DatasetLoader) -> None:
    """Check that the data fill the splits and the batches; of data that are absent, the batches.

    Raises:
        MembenchError: a data set is too small, a class too rare, or a batch too large.
    """
    for name in plan.manifest.datasets:
        if datasets.is_available(name):
            check_classes(datasets.arrays(name), name)
    for task, recipe in plan.keys.recipes.items():
        name = task.partition("/")[0]
        split = split_of(plan.suite, name)
        if datasets.is_available(name):
            check_split(datasets.arrays(name), split, task)
        if recipe.steps(split.trained) == 0:
            raise MembenchError(
                f"{task}: {split.trained} training images fill no batch of {recipe.batch}: take "
                "more, as with --train-size, or a smaller batch in the recipe"
            )


def _check_signals(plan: Plan, datasets: DatasetLoader) -> None:
    """Apply the signals that read files once, so that what they lack is told before any training.

    A file that is missing is told in `datasets.notes` where the data need not be there.

    Raises:
        MembenchError: a signal refuses a data set, or lacks a file.
    """
    for task in plan.keys.recipes:
        name = task.partition("/")[0]
        for signal in plan.suite.signals:
            entry = datasets.registry.signal_entry(signal)
            if not entry.has_fetch or not datasets.is_available(name):
                continue
            try:
                datasets.draw(split_of(plan.suite, name), signal, task, plan.suite.choosing[0])
            except MembenchError as error:
                if datasets.needed or not isinstance(error.__cause__, FileNotFoundError):
                    raise
                datasets.notes[signal] = str(error)


def _selection(
    expression: str | None, only: Collection[str] | None, names: Collection[str]
) -> Select | None:
    """Return whether an id is selected, as a function; None if every cell is."""
    if only is not None:
        kept = {parse_id(cell_id).pair for cell_id in only}
        return lambda cell_id: parse_id(cell_id).pair in kept
    return None if expression is None else compile_expression(expression, names)


def _with_default_splits(suite: PlannedSuite, datasets: DatasetLoader) -> PlannedSuite:
    """Give a split to each data set that is not the suite's own."""
    splits = dict(suite.splits)
    for name in suite.datasets:
        if name not in splits:
            arrays = datasets.arrays(name)
            num_test = len(arrays.test[1]) if arrays.test else 0
            splits[name] = default_split(len(arrays.y), num_test, suite.train)
    return replace(suite, splits=splits)


def inspect_network(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> Net:
    """Describe a network to `skip`.

    Torch is imported here only, so a plan whose answers are all remembered needs none.

    Args:
        architecture: the live record.
        shape: of an image, [c, h, w].
        classes: the number of classes.
    """
    from membench.engine import network

    return network.inspect_network(architecture, shape, classes)


def plugin_origin(entry: PluginEntry) -> str:
    """Return the origin that is shown to the user: `membench` for all plugins that ship with it."""
    if is_shipped(entry.path):
        return "membench"
    return entry.origin


def check_results_folder(out: Path) -> None:
    """Check that the folder of results can be written, before anything is planned.

    Raises:
        MembenchError: a part of its path is a file, or the nearest folder that is there refuses.
    """
    for folder in (out, *out.absolute().parents):
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise MembenchError(f"--out {out}: you may not write in {folder}")
            return
        if folder.exists():
            raise MembenchError(f"--out {out}: {folder} is a file, no folder")


def print_left_out(suite: PlannedSuite, registry: Registry) -> None:
    """Print on stderr what the suite does not train unless it is asked for, and how to ask.

    What it lacks for a board is said too.
    """
    lacking = [] if "real" in suite.signals else ["real"]
    lacking += [] if scored_noise(suite.signals, registry) else ["mixed@0.4"]
    if lacking:
        print(
            f"suite {suite.name}: without {', '.join(lacking)} its runs are stored, and no row is "
            f"scored (for a board: --signals {','.join((*lacking, *suite.signals))})",
            file=sys.stderr,
        )
    for name, why in suite.left_out.items():
        option = "--datasets" if name in suite.splits else "--architectures"
        print(
            f"suite {suite.name}: {name} is left out: {why} (to train it all the same: "
            f"{option} {name})",
            file=sys.stderr,
        )


def print_fetch_hints(datasets: DatasetLoader) -> None:
    """Print on stderr how to get each data set that a shown plan lacks."""
    for hint in datasets.notes.values():
        print(hint, file=sys.stderr)

"""From options to what they mean: the registry, the suite, the plan."""

from __future__ import annotations

import argparse
import os
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from membench.api import Architecture
from membench.api import Net
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.execution.summary import Summary
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipAnswers
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.planning.plan import make_plan
from membench.planning.select import compile_expression
from membench.planning.suites import SUITES
from membench.planning.suites import Suite
from membench.planning.suites import default_split
from membench.planning.suites import narrow
from membench.registry.discovery import shipped_folder
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.registry.registry import discover
from membench.store.store import Store


def registry(options: argparse.Namespace) -> Registry:
    """All plugins, those of `-p` and the compositions of `-r` among them."""
    found = discover(options.plugins)
    composed, full = getattr(options, "compose", []), getattr(options, "grid", "paired") == "full"
    if full and not composed:
        raise MembenchError(
            "--grid full: name the composition too, as in -r dropout+mixup --grid full"
        )
    for name in composed:
        if "+" not in name:
            raise MembenchError(
                f"-r {name}: give a composition, as in -r dropout+mixup; -k {name} selects one"
            )
        found = found.with_composition(name, full)
    return found


def suite(options: argparse.Namespace) -> Suite:
    """The suite that the options name, with the axes and sizes that they ask for."""
    if options.suite not in SUITES:
        raise unknown_name("suite", options.suite, SUITES)
    axes = (options.datasets, options.architectures, options.seeds)
    asked = narrow(SUITES[options.suite], *axes, options.train_size, options.epochs)
    return replace(asked, probes=tuple(dict.fromkeys(options.probes)))


def inspect_network(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> Net:
    """Describe a network to `skip`; torch is imported only here, when an answer is not remembered."""
    from membench.engine import network

    return network.inspect_network(architecture, shape, classes)


def plan(
    options: argparse.Namespace,
    found: Registry,
    among: Container[str] | None = None,
    data: DatasetLoader | None = None,
) -> Plan:
    """What the options select of their suite; with `among`, of these ids. `data` default: all must be at hand."""
    data = data or DatasetLoader(found, options.data_dir)
    for kind in ("datasets", "architectures"):
        for name in getattr(options, kind):
            found.entry(kind, name)
    select = None if options.expression is None else compile_expression(options.expression)
    if among is not None:
        fits = select or (lambda cell: True)
        select = lambda cell: cell in among and fits(cell)  # noqa: E731
    skips = SkipAnswers(found, data, inspect_network)
    planned = make_plan(_with_splits(suite(options), data), found, data.hash, skips, select)
    return replace(planned, problems=tuple(dict.fromkeys(skips.problems)))


def _with_splits(asked: Suite, data: DatasetLoader) -> Suite:
    """The suite with a split for the data sets that are not its own."""
    splits = dict(asked.splits)
    for name in set(asked.datasets) - set(splits):
        arrays = data.arrays(name)
        splits[name] = default_split(
            len(arrays.y), len(arrays.test[1]) if arrays.test else 0, asked.train
        )
    return replace(asked, splits=splits)


def origin(entry: PluginEntry) -> str:
    """Where a plugin comes from, in a word: all that ship with membench are one."""
    return (
        "membench"
        if entry.path and Path(entry.path).is_relative_to(shipped_folder())
        else entry.origin
    )


GPU_LANES = (
    75  #: in a pack at most: a program of the quick suite. What kills a pack costs all of its cells
)


def expected_environment(device: str, compiled: bool) -> dict[str, Any]:
    """What this process's workers will write into their records."""
    import torch

    from membench.engine import environment

    return environment.worker_environment(
        torch.device(environment.resolve_device(device)), compiled
    )


def train(
    options: argparse.Namespace,
    packs: Sequence[Pack],
    *,
    title: str,
    cells: int,
    reused: int,
    plugins: Iterable[tuple[str, str]],
    store: Store,
    environment: Mapping[str, Any],
) -> Summary:
    """Train the packs.

    Args:
        options: device, workers, plugins, data_dir, time_limit and maxfail.
        title: what is run, "quick 1".
        cells: how many are planned.
        reused: how many of them are in the store already.
        plugins: name and origin of each that takes part.
        store: where the records go.
        environment: of the workers; its device and torch are shown.
    """
    from membench.execution.display import Display
    from membench.execution.display import Header
    from membench.execution.display import by_origin
    from membench.execution.display import print_header
    from membench.execution.display import print_summary
    from membench.execution.pool import run_packs
    from membench.execution.worker import worker_command

    console = Console()
    workers = _workers(options, environment)
    facts = (cells, reused, str(environment["device"]), str(environment["torch"]), workers)
    print_header(console, Header(title, *facts, str(store.folder), by_origin(plugins)))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_compiled_programs()))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # the workers are the parallelism
    with Display(console, sum(len(p.cells) for p in packs)) as display:
        summary = run_packs(
            packs,
            store=store,
            command=worker_command(
                store.folder, device=options.device, plugins=options.plugins, data=options.data_dir
            ),
            workers=workers,
            time_limit=options.time_limit,
            on_event=display.on_event,
            max_failures=options.maxfail,
            reused=reused,
        )
    print_summary(console, summary)
    return summary


def widen(
    packs: list[Pack], options: argparse.Namespace, environment: Mapping[str, Any]
) -> list[Pack]:
    """For a GPU that one worker has to itself, few wide packs; elsewhere as they are."""
    from membench.planning.packs import merge_packs

    return (
        packs
        if _on_cpu(environment) or _workers(options, environment) > 1
        else merge_packs(packs, GPU_LANES)
    )


def _on_cpu(environment: Mapping[str, Any]) -> bool:
    return str(environment["device"]).startswith("cpu")


def _workers(options: argparse.Namespace, environment: Mapping[str, Any]) -> int:
    """As many as asked for; else one a core, or one for a GPU."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return options.workers or (cores if _on_cpu(environment) else 1)


def _compiled_programs() -> Path:
    """Where compiled programs are kept between runs."""
    from membench.files import cache_folder

    return cache_folder() / "compiled"

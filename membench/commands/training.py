"""What `membench run` and `membench reproduce` share: packs to workers, with the display around them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from membench.outcomes import Summary
from membench.plan import Pack
from membench.store import Store

GPU_LANES = 75  #: in a pack at most: a program of the quick suite. What kills a pack costs all of its cells


def environment(device: str, compiled: bool) -> dict[str, Any]:
    """What this process's workers will write into their records."""
    import torch

    from membench.engine import environment

    return environment.expected(torch.device(environment.resolve(device)), compiled)


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
    from membench.pool import run_packs
    from membench.progress import Display
    from membench.progress import Header
    from membench.progress import by_origin
    from membench.progress import print_header
    from membench.progress import print_summary
    from membench.worker import worker_command

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
            command=worker_command(store.folder, device=options.device, plugins=options.plugins, data=options.data_dir),
            workers=workers,
            time_limit=options.time_limit,
            on_event=display.on_event,
            max_failures=options.maxfail,
            reused=reused,
        )
    print_summary(console, summary)
    return summary


def widened(packs: list[Pack], options: argparse.Namespace, environment: Mapping[str, Any]) -> list[Pack]:
    """For a GPU that one worker has to itself, few wide packs; elsewhere as they are."""
    from membench.packing import joined

    return packs if _on_cpu(environment) or _workers(options, environment) > 1 else joined(packs, GPU_LANES)


def _on_cpu(environment: Mapping[str, Any]) -> bool:
    return str(environment["device"]).startswith("cpu")


def _workers(options: argparse.Namespace, environment: Mapping[str, Any]) -> int:
    """As many as asked for; else one a core, or one for a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return options.workers or (cores if _on_cpu(environment) else 1)


def _compiled_programs() -> Path:
    """Where compiled programs are kept between runs."""
    from membench.plugin_cache import cache_folder

    return cache_folder() / "compiled"

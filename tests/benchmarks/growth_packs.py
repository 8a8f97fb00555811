"""Train stub packs of one cell each by `membench run`, whole and in shards: what scheduling costs.

`python growth_packs.py make FOLDER ENTRIES`, then `python growth_packs.py run FOLDER WORKERS [I/N]`
for each shard, then `python growth_packs.py merge FOLDER N`; the last line of `run` and `merge` is
what was measured, as JSON. `growth.py` starts them.

All is that of a run but the step: planning, workers, durable writing, the second phase, the rows
that get complete. A stub returns a committed record under another name. No page is written.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from functools import partial
from pathlib import Path
from typing import Any

import growth_world
from growth_world import Size

from membench.cli import main
from membench.commands import engines
from membench.commands import merge as merge_command
from membench.commands import run as run_command
from membench.commands import session
from membench.commands import training
from membench.engine.machine import describe_machine
from membench.execution import pool
from membench.execution import worker
from membench.execution.summary import Summary
from membench.planning import keys
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest
from membench.registry.registry import discover
from membench.store.store import Store

TEMPLATES = "templates.json"  #: "none" or "dropout", task, signal -> a committed record


def make(folder: Path, entries: int) -> None:
    """Write a suite of packs of one cell, made-up regularizers, and the records that stand in."""
    size = Size(2, 3, 3, 10, entries)
    growth_world.write_plugins(size, folder / "shipped", width=1, compiled=False)
    templates = {}
    for record in Store(growth_world.COMMITTED).read().records.values():
        if record.regularizer in ("none", "dropout"):
            templates[_template_name(record)] = record.to_json()
    (folder / TEMPLATES).write_text(json.dumps(templates))


def _template_name(cell: Any) -> str:
    kind = "none" if cell.regularizer == "none" else "dropout"
    return f"{kind}/{cell.dataset}/{cell.architecture}/{cell.signal}"


@cache
def _templates() -> dict[str, Record]:
    """Read what stands in, in a worker, which works in the folder."""
    lines = json.loads(Path(TEMPLATES).read_text())
    return {name: Record.from_json(line) for name, line in lines.items()}


def train(
    pack: Pack, source: None, device: str, on_progress: Callable[[float], None]
) -> list[Record]:
    """Stand in for the engine: return the records of a pack's cells at once."""
    records = []
    for cell, key in zip(pack.cells, pack.keys, strict=True):
        record = _templates()[_template_name(cell)]
        records.append(
            replace(
                record,
                key=key,
                id=cell.id,
                regularizer=cell.regularizer,
                strength=cell.strength,
                seed=cell.seed,
                env=_env(),
                versions=_versions(),
                # a choice has to be made: weak strengths are to be better ones
                wrong=tuple(
                    w if w is None else w * sum(cell.strength or (1,)) for w in record.wrong
                ),
            )
        )
    return records


@cache
def _versions() -> dict[str, Any]:
    return dict(describe_machine("cpu").environments(compiled=False)[0])


@cache
def _env() -> str:
    return digest(_versions())


def run(folder: Path, workers: str, shard: str = "") -> None:
    """Do `membench run`, whole or a shard, and print what its driver has spent on the packs."""
    measured: dict[str, Any] = {}

    def timed_packs(*words: Any, **more: Any) -> Summary:
        started, before = time.perf_counter(), _cpu_seconds()
        # a worker with a trainer that is not the engine's reports no environment
        summary = pool.run_packs(*words, **{**more, "environment": None})
        measured["seconds"] = time.perf_counter() - started
        measured["driver_seconds"] = _cpu_seconds() - before
        measured["cells"] = summary.ok
        return summary

    training.run_packs = timed_packs
    engines.worker_command = partial(worker.worker_command, trainer="growth_packs:train")
    run_command.write_board = lambda *words, **more: None
    keys.is_shipped = lambda path: True  # else each of the made-up files has workers of its own
    out = folder / (f"shard-{shard.partition('/')[0]}" if shard else "whole")
    words = ["run", "--all", "--suite", "growth", "--device", "cpu", "-n", workers, "-q"]
    code = main([*words, "--out", str(out), *(["--shard", shard] if shard else [])])
    if code:
        raise SystemExit(code)
    _print({**measured, "whole_seconds": time.perf_counter() - _STARTED})


def merge(folder: Path, count: str) -> None:
    """Join the shards as `membench merge` does, without the pages."""
    started = time.perf_counter()
    sources = [
        merge_command.read_source(folder / f"shard-{index}") for index in range(1, int(count) + 1)
    ]
    store = Store(folder / "joined" / "records")
    merge_command.take_in(store, sources)
    records = len(store.read().records)
    size = sum(path.stat().st_size for path in store.folder.glob("?.jsonl"))
    _print({"seconds": time.perf_counter() - started, "cells": records, "bytes": size})


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _print(measured: dict[str, Any]) -> None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            measured["megabytes"] = int(line.split()[1]) / 1024
    print(json.dumps(measured))


_STARTED = time.perf_counter()

if __name__ == "__main__":
    action, place, *rest = sys.argv[1:]
    session.discover = partial(discover, shipped=Path(place) / "shipped")
    if action == "make":
        make(Path(place), int(rest[0]))
    else:
        {"run": run, "merge": merge}[action](Path(place), *rest)

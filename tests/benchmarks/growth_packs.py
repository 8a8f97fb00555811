"""Train stub packs of one cell each by `membench run`, whole and in shards: what scheduling costs.

`python growth_packs.py make FOLDER ENTRIES`, then `python growth_packs.py run FOLDER WORKERS [I/N]`
for each shard, then `python growth_packs.py merge FOLDER N`; `python growth_packs.py ray FOLDER
WORKERS` is a run in a Ray cluster, which it starts and ends. The last line of each but `make` is
what was measured, as JSON. `growth.py` starts them, with the folder in `GROWTH_FOLDER` too.

All is that of a run but the step: planning, workers, durable writing, the second phase, the rows
that get complete. A stub returns a committed record under another name. No page is written.
"""

from __future__ import annotations

import json
import os
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
from support.ray_cluster import TestCluster

from membench.cli import main
from membench.commands import engines
from membench.commands import merge as merge_command
from membench.commands import run as run_command
from membench.commands import session
from membench.commands import training
from membench.engine.machine import describe_machine
from membench.execution import pool
from membench.execution.ray_host import Report
from membench.execution.ray_host import Task
from membench.execution.summary import Summary
from membench.execution.worker import worker_command
from membench.planning.packs import Pack
from membench.records import Record
from membench.records import digest
from membench.registry.registry import discover
from membench.store.store import Store

TEMPLATES = "templates.json"  #: "none" or "dropout", task, signal -> a committed record
TRAINER = "growth_packs:train"
CALLS = 2000  #: to an actor that has nothing to tell


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
    """Read what stands in, in a worker, which may work in a folder of its own."""
    lines = json.loads((Path(os.environ["GROWTH_FOLDER"]) / TEMPLATES).read_text())
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
    engines.worker_command = partial(worker_command, trainer=TRAINER)
    out = folder / (f"shard-{shard.partition('/')[0]}" if shard else "whole")
    _print(_run(out, workers, *(["--shard", shard] if shard else [])))


def run_in_cluster(folder: Path, workers: str) -> None:
    """Do `membench run --engine ray` in a cluster of nodes with a core each; print what it cost.

    What a call costs the driver is printed too, of one that is answered at once: while it trains, a
    worker is called once a second.
    """
    os.environ["MEMBENCH_CACHE"] = str(folder / "cache")
    path = os.environ["PYTHONPATH"]
    cluster = TestCluster(folder)
    os.environ["PYTHONPATH"] = path  # of the nodes, whose workers import this file
    cluster.have_nodes(int(workers))
    engines.Task = partial(Task, trainer=TRAINER)
    where = ["--engine", "ray", "--address", cluster.address]
    measured = _run(folder / "cluster", workers, *where)
    import ray  # as the tests' cluster has set it up

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    silent = ray.remote(num_cpus=0)(_Silent).remote()
    ray.get(silent.exchange.remote(b"", False, 0.0))
    before = _cpu_seconds()
    for _ in range(CALLS):
        ray.get(silent.exchange.remote(b"", False, 0.0), timeout=60)
    measured["call_seconds"] = (_cpu_seconds() - before) / CALLS
    ray.shutdown()
    cluster.close()
    _print(measured)


class _Silent:
    """An actor with the calls of a host, that has nothing to tell."""

    def exchange(self, packs: bytes, end: bool, seconds: float) -> Report:
        return Report(node="here")


def _run(out: Path, workers: str, *words: str) -> dict[str, Any]:
    """Do `membench run`; return what its driver has spent on the packs, and on all."""
    measured: dict[str, Any] = {}

    def timed_packs(*given: Any, **named: Any) -> Summary:
        started, before = time.perf_counter(), _cpu_seconds()
        summary = pool.run_packs(*given, **{**named, "environment": None})  # stubs report none
        measured["seconds"] = time.perf_counter() - started
        measured["driver_seconds"] = _cpu_seconds() - before
        measured["cells"] = summary.ok
        return summary

    training.run_packs = timed_packs
    run_command.write_board = lambda *given, **named: None
    options = ["--all", "--suite", "growth", "--device", "cpu", "-n", workers, "-q"]
    code = main(["run", *options, "--out", str(out), *words])
    if code:
        raise SystemExit(code)
    return {**measured, "whole_seconds": time.perf_counter() - _STARTED}


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
        {"run": run, "ray": run_in_cluster, "merge": merge}[action](Path(place), *rest)

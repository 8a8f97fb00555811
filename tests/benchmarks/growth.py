"""Measure how membench grows with cells, lanes, width and steps, and write it into the README.

The README is that of this folder. `growth.py [--part cells|packs|ray|engine|startup]`
measures one part; the figures of the others stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

import growth_world
from growth_page import ACTIONS
from growth_page import Results
from growth_page import figure
from growth_page import page
from growth_world import SIZES

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- growth:begin -->", "<!-- growth:end -->"
WIDTHS = (64, 128, 256, 512, 1024)
COMMANDS = ("list", "run --all --collect-only", "--help")
ROUNDS = 5  #: starts of each command


def cells(options: argparse.Namespace) -> Results:
    """Measure what the store and the report cost, by planned cells."""
    rows = []
    for size in SIZES.values():
        if size.cells > options.most:
            continue
        with tempfile.TemporaryDirectory() as folder:
            growth_world.timed("build", size.cells, Path(folder))
            built = growth_world.planned_cells(Path(folder))
            row = {"cells": built, "machine": _machine(), "load": os.getloadavg()[0]}
            # `merge` comes first: it leaves the files as a run does.
            for action in ["merge", *(name for name in ACTIONS if name != "merge")]:
                row[action] = growth_world.timed(action, size.cells, Path(folder))
            row["load"] = max(row["load"], os.getloadavg()[0])
            rows.append(row)
            _say(row)
    return {"cells": rows}


def packs(options: argparse.Namespace) -> Results:
    """Measure what scheduling costs: stub packs in local workers, in shards, and their merge."""
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _packs("make", place, str(options.entries))
        whole = _packs("run", place, "2")
        shards = []
        for index in range(1, options.shards + 1):
            shards.append(_packs("run", place, "2", f"{index}/{options.shards}"))
            load.append(os.getloadavg()[0])
        merge = _packs("merge", place, str(options.shards))
    measured = {"local": whole, "shards": shards, "merge": merge, "machine": _machine()}
    return {"packs": {**measured, "load": [min(load), max(load)]}}


def ray(options: argparse.Namespace) -> Results:
    """Measure what scheduling costs in a Ray cluster on this machine: the same stub packs."""
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="mg", dir="/tmp") as folder:  # sockets are in it
        place = Path(folder)
        _packs("make", place, str(options.entries))
        measured = {**_packs("ray", place, "2"), "machine": _machine()}
        load.append(os.getloadavg()[0])
    return {"ray": {**measured, "load": [min(load), max(load)]}}


def engine(options: argparse.Namespace) -> Results:
    """Measure a step's cost by lanes and width, and a pack's by steps; one process a width."""
    lanes = {str(width): _child("lanes", str(width)) for width in options.widths}
    measured = {"lanes": {**lanes, "machine": _machine()}}
    if options.steps:
        measured["steps"] = {**_child("steps"), "machine": _machine()}
    return measured


def startup(options: argparse.Namespace) -> Results:
    """Measure the seconds of commands that should answer at once."""
    seconds: Results = {}
    for words in COMMANDS:
        cold, warm = _start_seconds(words, warm=False), _start_seconds(words, warm=True)
        seconds[words] = {"cold": cold, "warm": warm}
    _say(seconds)
    return {"startup": {**seconds, "machine": _machine()}}


PARTS: dict[str, Callable[[argparse.Namespace], Results]] = {
    "cells": cells,
    "packs": packs,
    "ray": ray,
    "engine": engine,
    "startup": startup,
}


def _packs(action: str, folder: Path, *words: str) -> Results:
    """Run an action of `growth_packs.py` in its folder, and return what it measured."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        "GROWTH_FOLDER": str(folder),
        "MEMBENCH_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, str(HERE / "growth_packs.py"), action, str(folder), *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    measured: Results = json.loads(lines[-1]) if lines else {}
    _say({" ".join([action, *words]): measured})
    return measured


def _child(*words: str) -> Results:
    command = [sys.executable, str(HERE / "growth_engine.py"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    _say({" ".join(words): measured})
    return measured


def _start_seconds(words: str, warm: bool) -> float:
    """Measure the median seconds of a command; every cold start has a new cache folder."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(ROUNDS + warm):
            environment = {**os.environ, "MEMBENCH_CACHE": f"{folder}/{0 if warm else i}"}
            started = time.perf_counter()
            command = [sys.executable, "-m", "membench", *words.split()]
            subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True
            )
            spent.append(time.perf_counter() - started)
    return median(spent[warm:])


def _machine() -> str:
    cores, python = os.cpu_count(), platform.python_version()
    return f"{_cpu()}, {cores} cores, Python {python}, torch {version('torch')}, {date.today()}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _say(measured: Results) -> None:
    print(json.dumps(measured), flush=True)


def write(results: Results) -> None:
    """Replace the README's part between the markers, and the figure."""
    path = HERE / "README.md"
    before, rest = path.read_text("utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{page(results)}\n{END}{rest.split(END)[1]}", "utf-8")
    (HERE / "growth.svg").write_bytes(figure(results))


def main() -> None:
    """Measure the given parts, all by default, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", choices=(*PARTS, "page"), action="append", help="page: only write it anew"
    )
    parser.add_argument("--most", type=int, default=max(SIZES), help="the largest number of cells")
    parser.add_argument("--entries", type=int, default=81, help="of the packs: 81 make 10 000")
    parser.add_argument("--shards", type=int, default=16, help="as many, for the packs")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--steps", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    file = HERE / "growth.json"
    results: Results = json.loads(file.read_text()) if file.exists() else {}
    for name in options.part or PARTS:
        measured = PARTS[name](options) if name in PARTS else {}
        if "lanes" in measured and "lanes" in results:  # widths that were not measured now stay
            measured["lanes"] = {**results["lanes"], **measured["lanes"]}
        results |= measured
        file.write_text(json.dumps(results, indent=1) + "\n")
    write(results)


if __name__ == "__main__":
    main()

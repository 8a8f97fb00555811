"""How membench grows with cells, lanes, width and steps: measured, and written into the README beside this file.

`python tests/benchmarks/growth.py [--part cells|engine|startup ...]`; the other parts' figures stay as they were.
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
ROUNDS = 5  #: of a start


def cells(options: argparse.Namespace) -> Results:
    """The store's and the report's costs, by planned cells."""
    rows = []
    for size in (size for size in SIZES.values() if size.cells <= options.most):
        with tempfile.TemporaryDirectory() as folder:
            growth_world.timed("build", size.cells, Path(folder))
            row = {"cells": size.cells, "machine": _machine()}
            for action in sorted(
                ACTIONS, key=lambda action: action != "merge"
            ):  # it leaves the files as a run does
                row[action] = growth_world.timed(action, size.cells, Path(folder))
            rows.append(row)
            _say(row)
    return {"cells": rows}


def engine(options: argparse.Namespace) -> Results:
    """The step's cost by lanes and width, and a pack's by steps; each width in a process of its own."""
    lanes = {width: _child("lanes", width) for width in map(str, options.widths)}
    found = {"lanes": {**lanes, "machine": _machine()}}
    return (
        {**found, "steps": {**_child("steps"), "machine": _machine()}} if options.steps else found
    )


def startup(options: argparse.Namespace) -> Results:
    """Seconds of commands that should answer at once."""
    found = {
        words: {"cold": _started(words, warm=False), "warm": _started(words, warm=True)}
        for words in COMMANDS
    }
    _say(found)
    return {"startup": {**found, "machine": _machine()}}


PARTS: dict[str, Callable[[argparse.Namespace], Results]] = {
    "cells": cells,
    "engine": engine,
    "startup": startup,
}


def _child(*words: str) -> Results:
    command = [sys.executable, str(HERE / "growth_engine.py"), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    _say({" ".join(words): found})
    return found


def _started(words: str, warm: bool) -> float:
    """The median; every cold start has a new cache folder."""
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
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores, python = os.cpu_count(), platform.python_version()
    cpu = models[0] if models else platform.machine()
    return f"{cpu}, {cores} cores, Python {python}, torch {version('torch')}, {date.today()}"


def _say(found: Results) -> None:
    print(json.dumps(found), flush=True)


def write(results: Results) -> None:
    """Replace what is between the markers, and the figure."""
    path = HERE / "README.md"
    before, rest = path.read_text("utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{page(results)}\n{END}{rest.split(END)[1]}", "utf-8")
    (HERE / "growth.svg").write_bytes(figure(results))


def main() -> None:
    """Measure the parts that are asked for, all by default, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", choices=(*PARTS, "page"), action="append", help="page: only write it anew"
    )
    parser.add_argument("--most", type=int, default=max(SIZES), help="the largest number of cells")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--steps", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    kept = HERE / "growth.json"
    results: Results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.part or PARTS:
        for key, value in (PARTS[name](options) if name in PARTS else {}).items():
            joins = key == "lanes" and key in results
            results[key] = {**results[key], **value} if joins else value
        kept.write_text(json.dumps(results, indent=1) + "\n")
    write(results)


if __name__ == "__main__":
    main()

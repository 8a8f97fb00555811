"""A board of any size, made up from the committed one, and what is measured on it: one action a process.

`python growth_world.py build|merge|plan|report CELLS FOLDER`, in this order; the last line says when and how large the
process was at the end. `growth.py` and `tests/test_growth.py` start it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from membench.cli import build_parser
from membench.cli import main
from membench.commands import session
from membench.commands import training
from membench.planning.inputs import DatasetLoader
from membench.planning.plan import Plan
from membench.planning.suites import SUITES
from membench.records import Cell
from membench.records import Entry
from membench.records import Record
from membench.records import digest
from membench.registry.discovery import shipped_folder
from membench.registry.registry import discover
from membench.store.store import Store

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "records"
CONTROLS = ("none", "low-lr", "placebo")
BATCH = 15  #: records in one write, as a pack has

_PLUGIN = '''"""Made-up entry {name}: committed records under another name.  Nobody et al. 2026, arXiv:1706.05394."""
from membench import Regularizer, hookimpl


def hidden(h, lane):
    return h * (lane.uniform(h.shape) >= lane.strength)


@hookimpl
def register():
    return [Regularizer("{name}", strengths=(0.1, 0.3, 0.5, 0.7, 0.9), group="{group}", hidden=hidden)]
'''
_GROUPS = ("data", "model", "loss", "gradient", "weights")


@dataclass(frozen=True)
class Size:
    """How much is planned."""

    tasks: int
    signals: int
    seeds: int
    entries: int  #: made-up regularizers, one file and five strengths each
    controls: bool = True  #: low-lr and placebo, eight strengths

    @property
    def cells(self) -> int:
        """`none`, the entries and the controls, everywhere."""
        return self.tasks * self.signals * self.seeds * (1 + 5 * self.entries + 8 * self.controls)


SIZES = {
    size.cells: size
    for size in (
        Size(1, 1, 1, 0, controls=False),
        Size(1, 3, 3, 0, controls=False),
        Size(1, 3, 3, 2, controls=False),
        Size(2, 3, 5, 5),
        Size(2, 3, 5, 65),
        Size(2, 3, 10, 332),
    )
}


def timed(action: str, cells: int, folder: Path) -> tuple[float, float]:
    """Seconds from the start of a fresh process to the end of its action, and its largest resident memory in MB."""
    command = [sys.executable, __file__, action, str(cells), str(folder)]
    environment = {**os.environ, "MEMBENCH_CACHE": str(folder / "cache")}
    started = time.time()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    end = json.loads(done.stdout.splitlines()[-1])
    return end["at"] - started, end["peak"]


def build(size: Size, folder: Path) -> None:
    """The plugins' files, and a store in which every planned cell has a record that one writer left behind."""
    _write_plugins(size, folder / "shipped")
    options = build_parser().parse_args(["run", *_words(folder)])
    registry = session.load_registry(options)
    planned = session.plan_suite(
        options, registry, DatasetLoader(registry, options.data_dir)
    )
    environment = session.expected_environment("cpu", planned.suite.compiled)
    env = digest(environment)
    store = Store(folder / "board" / "records")
    store.write_manifest(replace(planned.manifest, envs=(env,)))
    records = [replace(r, env=env, versions=environment) for r in _records(planned)]
    with store.writer() as writer:
        for start in range(0, len(records), BATCH):
            writer.append(records[start : start + BATCH])


def merge(size: Size, folder: Path) -> None:
    """What `membench run` does with the shards after training."""
    Store(folder / "board" / "records").merge()


def plan(size: Size, folder: Path) -> None:
    """`membench run` on the whole store, up to where the first pack would be handed to a worker."""

    def reached(job: training.TrainingJob, packs: list, *_: object, **__: object) -> None:
        if packs or len(job.keys) != size.cells:
            raise RuntimeError(
                f"{len(packs)} packs of {len(job.keys)} cells are missing, not 0 of {size.cells}"
            )
        _ended()
        sys.stdout.flush()
        os._exit(0)

    training._train_packs = reached
    main(["run", *_words(folder)])


def report(size: Size, folder: Path) -> None:
    """`membench report`."""
    main(["report", "--out", str(folder / "board")])


def _words(folder: Path) -> list[str]:
    return ["--all", "--suite", "growth", "--device", "cpu", "--out", str(folder / "board")]


def _write_plugins(size: Size, folder: Path) -> None:
    """membench's own but for the regularizers, and those that are made up."""
    kinds = [
        "architectures/*.py",
        "datasets/*.py",
        "signals/*.py",
        *(["regularizers/controls.py"] * size.controls),
    ]
    folder.mkdir(parents=True)
    for path in (path for kind in kinds for path in shipped_folder().glob(kind)):
        (folder / path.name).symlink_to(path)
    for i in range(size.entries):
        name = f"entry-{i:03}"
        (folder / f"{name}.py").write_text(
            _PLUGIN.format(name=name, group=_GROUPS[i % len(_GROUPS)])
        )


def _records(planned: Plan) -> Iterator[Record]:
    """A record for every cell: one of the committed board's, of the same task and signal, under the cell's name."""
    committed = Store(COMMITTED)
    real = committed.manifests()["quick"]
    known = {r.cell: r for r in committed.read().records.values()}
    entries = [
        entry for entry in real.entries if entry.group != "control" and entry.name not in CONTROLS
    ]
    grid = {entry.name: entry.strengths for entry in planned.manifest.entries}
    for number, cell in enumerate(planned.cells):
        like = known[_like(cell, entries, grid, len(real.seeds))]
        name = {"strength": cell.strength, "seed": cell.seed, "regularizer": cell.regularizer}
        bits = {
            field: _turned(getattr(like, field), number) for field in ("train_bits", "test_bits")
        }
        yield replace(like, key=planned.manifest.cells[cell.id], id=cell.id, **name, **bits)


def _like(cell: Cell, entries: list[Entry], grid: dict[str, tuple], seeds: int) -> Cell:
    """Which committed cell lends its record; entries that share one have its seeds in different orders."""
    if cell.regularizer in CONTROLS:
        return replace(cell, seed=cell.seed % seeds)
    turn, place = divmod(int(cell.regularizer.removeprefix("entry-")), len(entries))
    strength = entries[place].strengths[grid[cell.regularizer].index(cell.strength)]
    return replace(
        cell, regularizer=entries[place].name, strength=strength, seed=(cell.seed + turn) % seeds
    )


def _turned(bits: str, number: int) -> str:
    """No two cells have the same bits, as in a real store: equal ones would be kept in memory once."""
    at = number % max(1, len(bits))
    return bits[at:] + bits[:at]


def _ended() -> None:
    """Not `getrusage`: its peak is the parent's where that was larger before the exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"at": time.time(), "peak": peak / 1024}))


def _act(action: str, cells: str, folder: str) -> None:
    size, place = SIZES[int(cells)], Path(folder)
    SUITES["growth"] = replace(
        SUITES["quick"],
        name="growth",
        architectures=SUITES["quick"].architectures[: size.tasks],
        signals=SUITES["quick"].signals[: size.signals],
        seeds=tuple(range(size.seeds)),
    )
    session.discover = partial(discover, shipped=place / "shipped")
    actions: dict[str, Callable[[Size, Path], Any]] = {
        "build": build,
        "merge": merge,
        "plan": plan,
        "report": report,
    }
    actions[action](size, place)
    _ended()


if __name__ == "__main__":
    _act(*sys.argv[1:])

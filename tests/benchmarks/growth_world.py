"""Make a board of any size from the committed one, and act on it: one action a process.

`python growth_world.py build|merge|plan|report|status CELLS FOLDER`, in this order; the last line
says how large the process was. `growth.py` and `tests/test_growth.py` start it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
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
from membench.commands.phases import SecondPhase
from membench.engine.machine import describe_apart
from membench.planning.inputs import DatasetLoader
from membench.planning.plan import Plan
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

_PLUGIN = '''"""Made-up entry {name}: committed records under another name.

Nobody et al. 2026, arXiv:1706.05394.
"""
from membench import Regularizer, hookimpl


def hidden(h, lane):
    return h * (lane.uniform(h.shape) >= lane.strength)


@hookimpl
def register():
    grid = (0.1, 0.3, 0.5, 0.7, 0.9)
    return [Regularizer("{name}", strengths=grid, group="{group}", hidden=hidden)]
'''
_SUITE = """from membench import Recipe, Split, Suite, hookimpl


@hookimpl
def register():
    return [{suite!r}]
"""
_GROUPS = ("data", "model", "loss", "gradient", "weights")


@dataclass(frozen=True)
class Size:
    """The size of a plan."""

    tasks: int
    signals: int
    choosing: int  #: seeds
    confirming: int  #: seeds
    entries: int  #: made-up regularizers, one file and five strengths each
    controls: bool = True  #: low-lr and placebo, ten strengths

    @property
    def cells(self) -> int:
        """The number of cells of the first phase; those of the second depend on the choices."""
        of_none = self.choosing + self.confirming
        strengths = 5 * self.entries + 10 * self.controls
        return self.tasks * self.signals * (of_none + strengths * self.choosing)


SIZES = {
    size.cells: size
    for size in (
        Size(1, 1, 1, 1, 0, controls=False),
        Size(1, 3, 3, 3, 0, controls=False),
        Size(1, 3, 3, 10, 2, controls=False),
        Size(2, 3, 3, 10, 5),
        Size(2, 3, 3, 10, 65),
        Size(2, 3, 3, 10, 640),
    )
}


def timed(action: str, cells: int, folder: Path) -> tuple[float, float]:
    """Run an action in a fresh process.

    The seconds are of a core: on a machine that has other work, those on the clock say little.

    Args:
        action: build, merge, plan, report or status.
        cells: a key of `SIZES`.
        folder: where the store is made.

    Returns:
        (seconds of a core of the process and its children, its largest resident memory in MB).
    """
    command = [sys.executable, __file__, action, str(cells), str(folder)]
    environment = {**os.environ, "MEMBENCH_CACHE": str(folder / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, json.loads(done.stdout.splitlines()[-1])["peak"]


def planned_cells(folder: Path) -> int:
    """Return how many cells of both phases were planned when the store was built."""
    return len(Store(folder / "board" / "records").manifests()["growth"].cells)


def build(size: Size, folder: Path) -> None:
    """Write the plugins' files, and a store with a record for every cell, left by one writer."""
    write_plugins(size, folder / "shipped")
    options = build_parser().parse_args(["run", *_words(folder)])
    registry = session.load_registry(options)
    planned = session.plan_suite(options, registry, DatasetLoader(registry, options.data_dir))
    environment = describe_apart("cpu").environments(planned.suite.compiled)[0]
    env = digest(environment)
    store = Store(folder / "board" / "records")
    committed = Committed.read()
    first = list(committed.records_for(planned))
    confirming = SecondPhase(planned, planned.pairs, first).plan()
    store.write_manifest(replace(confirming.manifest, envs=(env,)))
    made = [*first, *committed.records_for(confirming)]
    records = [replace(record, env=env, versions=environment) for record in made]
    with store.writer() as writer:
        for start in range(0, len(records), BATCH):
            writer.append(records[start : start + BATCH])


def merge(size: Size, folder: Path) -> None:
    """Merge the shards, as `membench run` does after training."""
    Store(folder / "board" / "records").merge()


def plan(size: Size, folder: Path) -> None:
    """Do `membench run` on the whole store, up to where the first pack would go to a worker."""

    def reached(job: training.TrainingJob, packs: list, *_: object, **__: object) -> None:
        cells = planned_cells(folder)
        if packs or len(job.keys) != cells:
            raise RuntimeError(
                f"{len(packs)} packs of {len(job.keys)} cells are missing, not 0 of {cells}"
            )
        _print_end()
        sys.stdout.flush()
        os._exit(0)

    training._train_packs = reached
    main(["run", *_words(folder)])


def report(size: Size, folder: Path) -> None:
    """Do `membench report`."""
    main(["report", "--out", str(folder / "board")])


def status(size: Size, folder: Path) -> None:
    """Do `membench status`."""
    main(["status", "--out", str(folder / "board")])


def _words(folder: Path) -> list[str]:
    return ["--all", "--suite", "growth", "--device", "cpu", "--out", str(folder / "board")]


def write_plugins(size: Size, folder: Path, **changes: Any) -> None:
    """Link the shipped plugins, without the regularizers; write the suite and regularizers.

    Args:
        size: of the plan.
        folder: to make.
        changes: other fields of the suite.
    """
    patterns = ["architectures/*.py", "datasets/*.py", "optimizers/*.py", "signals/*.py"]
    if size.controls:
        patterns.append("regularizers/controls.py")
    folder.mkdir(parents=True)
    for pattern in patterns:
        for path in shipped_folder().glob(pattern):
            (folder / path.name).symlink_to(path)
    quick = discover().suite("quick")
    growth = replace(
        quick,
        name="growth",
        architectures=quick.architectures[: size.tasks],
        signals=quick.signals[: size.signals],
        choosing=tuple(range(size.choosing)),
        confirming=tuple(range(size.choosing, size.choosing + size.confirming)),
        recipes=dict(list(quick.recipes.items())[: size.tasks]),
        **changes,
    )
    (folder / "growth.py").write_text(_SUITE.format(suite=growth))
    for i in range(size.entries):
        name, group = f"entry-{i:03}", _GROUPS[i % len(_GROUPS)]
        (folder / f"{name}.py").write_text(_PLUGIN.format(name=name, group=group))


@dataclass(frozen=True)
class Committed:
    """The records of the committed board that stand for those of made-up entries."""

    by_cell: dict[Cell, Record]
    entries: tuple[Entry, ...]
    choosing: tuple[int, ...]
    seeds: tuple[int, ...]  #: of both phases, for `none`

    @classmethod
    def read(cls) -> Committed:
        """Read the board of `quick`."""
        store = Store(COMMITTED)
        manifest = store.manifests()["quick"]
        entries = []
        for entry in manifest.entries:
            # A skipped entry has no records on some task.
            if entry.group != "control" and entry.name not in CONTROLS and not entry.skipped:
                entries.append(entry)
        return cls(
            by_cell={record.cell: record for record in store.read().records.values()},
            entries=tuple(entries),
            choosing=manifest.choosing,
            seeds=manifest.seeds,
        )

    def records_for(self, planned: Plan) -> Iterator[Record]:
        """Make a record for every cell, of a committed record of the same task and signal."""
        grids = {entry.name: entry.strengths for entry in planned.manifest.entries}
        for number, cell in enumerate(planned.cells):
            record = self.by_cell[self._stand_in(cell, grids)]
            yield replace(
                record,
                key=planned.manifest.cells[cell.id],
                id=cell.id,
                regularizer=cell.regularizer,
                strength=cell.strength,
                seed=cell.seed,
                train_bits=_rotate(record.train_bits, number),
                test_bits=_rotate(record.test_bits, number),
            )

    def _stand_in(self, cell: Cell, grids: dict[str, tuple]) -> Cell:
        """Choose the committed cell whose record stands for this one's.

        All strengths of an entry have records on the choosing seeds only. Made-up entries that
        share a committed entry have its seeds in different orders.
        """
        if cell.regularizer == "none":
            return replace(cell, seed=self.seeds[cell.seed % len(self.seeds)])
        if cell.regularizer in CONTROLS:
            return replace(cell, seed=self.choosing[cell.seed % len(self.choosing)])
        made_up = int(cell.regularizer.removeprefix("entry-"))
        shift, number = divmod(made_up, len(self.entries))
        entry = self.entries[number]
        return replace(
            cell,
            regularizer=entry.name,
            strength=entry.strengths[grids[cell.regularizer].index(cell.strength)],
            seed=self.choosing[(cell.seed + shift) % len(self.choosing)],
        )


def _rotate(bits: str, number: int) -> str:
    """Make bits that differ by cell, as in a real store: equal ones are kept in memory once."""
    start = number % max(1, len(bits))
    return bits[start:] + bits[:start]


def _print_end() -> None:
    """Print the process's largest resident memory.

    `getrusage` would give the parent's peak where that was larger before the exec.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            print(json.dumps({"peak": int(line.split()[1]) / 1024}))


def _act(action: str, cells: str, folder: str) -> None:
    size, path = SIZES[int(cells)], Path(folder)
    session.discover = partial(discover, shipped=path / "shipped")
    actions: dict[str, Callable[[Size, Path], Any]] = {
        "build": build,
        "merge": merge,
        "plan": plan,
        "report": report,
        "status": status,
    }
    actions[action](size, path)
    _print_end()


if __name__ == "__main__":
    _act(*sys.argv[1:])

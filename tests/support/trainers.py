"""A trainer for the pool's tests: a pack's regularizer names what it does to its worker."""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from membench.api import Recipe
from membench.api import Split
from membench.engine.spoilt import mark_process
from membench.execution.forkserver import ForkServer
from membench.execution.local import LocalWorkers
from membench.execution.worker import worker_environ
from membench.planning.packs import Pack
from membench.planning.packs import PluginCode
from membench.records import Cell
from membench.records import Record
from membench.records import digest

Progress = Callable[[float], None]

REPO = Path(__file__).parents[2]


def local_workers(
    command: Sequence[str],
    server: ForkServer | None = None,
    gpu_workers: int = 0,
    gpus: Sequence[str] = (),
) -> LocalWorkers:
    """Return what starts workers by a command, with the environment variables of a run."""
    environ = worker_environ(gpu_workers)
    return LocalWorkers(command=command, environ=environ, server=server, gpus=gpus)


def make_pack(
    regularizer: str = "good",
    index: int = 0,
    width: int = 2,
    epochs: int = 1,
    task: str = "d/a",
    file: str = "",
) -> Pack:
    """Return a pack of `width` seeds; packs of one program differ in their `index`.

    With a file, its regularizer does not ship.
    """
    dataset, architecture = task.split("/")
    seeds = range(index * width, (index + 1) * width)
    cells = tuple(Cell(dataset, architecture, regularizer, (0.5,), "real", seed) for seed in seeds)
    keys = tuple(digest(cell.id) for cell in cells)
    return Pack(
        cells=cells,
        keys=keys,
        recipe=Recipe(epochs=epochs, batch=10),
        split=Split(10, 10, 10),
        compiled=False,
        code=(
            PluginCode(
                kind="regularizers",
                name=regularizer,
                code_hash="h",
                version=1,
                foreign_files=(file,) if file else (),
            ),
        ),
    )


def make_records(pack: Pack, status: str = "ok") -> list[Record]:
    """Return what a trainer returns that does its work."""
    shared = {
        "env": digest({}),
        "status": status,
        "reason": "" if status == "ok" else "why",
        "train": (0.5,),
    }
    cells = zip(pack.cells, pack.keys, strict=True)
    return [Record(key=key, id=cell.id, **asdict(cell), **shared) for cell, key in cells]


def train(pack: Pack, source: None, device: str, on_progress: Progress) -> list[Record]:
    """Do to this process what the regularizer's name says, then return the pack's records."""
    name = pack.cells[0].regularizer
    on_progress(0.5)
    for done in PROGRESS.get(name, ()):
        time.sleep(REPORT_PERIOD)
        on_progress(done)
    if name in BEHAVIOURS:
        BEHAVIOURS[name](pack)
    records = make_records(pack, STATUSES.get(name, "ok"))
    return records[1:] if name == "lose-one" else records


def _note(pack: Pack, what: str) -> None:
    """Append a line to the file that the test reads."""
    with open(os.environ["POOL_TEST_NOTES"], "a") as notes:
        notes.write(f"{os.getpid()} {what}\n")


def _raise(pack: Pack) -> None:
    raise RuntimeError("no [bold]luck[/bold]\nat \x1b[31mall")


def _hold_the_gil(pack: Pack) -> None:
    ctypes.PyDLL(None).sleep(1000)


def _segfault(pack: Pack) -> None:
    ctypes.string_at(0)


def _fill_the_pipes(pack: Pack) -> None:
    """Print more than a pipe holds, and what looks like messages; read the input."""
    print("x" * 300_000)
    print('{"kind":"stored","counts":{"ok":99}}', flush=True)
    os.write(1, b'{"kind":"raised","reason":"printed"}\n' * 10)
    subprocess.run(["echo", '{"kind":"broken","reason":"echoed","code":3}'], check=True)
    assert sys.stdin.read() == ""


def _print_for_ever(pack: Pack) -> None:
    while True:
        print("spam " * 1000)


_CHILD = """
import os, time
os.fork()
open(os.environ["POOL_TEST_NOTES"], "a").write(f"{os.getpid()} child\\n")
time.sleep(1000)
"""


def _have_children(pack: Pack) -> None:
    """Sleep, with a child and a grandchild as a data loader has them."""
    _note(pack, "worker")
    subprocess.Popen([sys.executable, "-c", _CHILD])
    time.sleep(1000)


def _leave_the_group(pack: Pack) -> None:
    _note(pack, "worker")
    os.setsid()
    time.sleep(1000)


def _die_once(pack: Pack) -> None:
    """Die, unless another worker did so before."""
    notes = Path(os.environ["POOL_TEST_NOTES"])
    if not notes.exists():
        _note(pack, "died")
        os._exit(3)


def _store_then_die(pack: Pack) -> None:
    """Die after the records are stored and before the driver is told."""
    from membench.store.store import Store

    with Store(Path(sys.argv[sys.argv.index("--out") + 1])).writer() as writer:
        writer.append(make_records(pack))
        os._exit(9)


def _wait_to_end(pack: Pack) -> None:
    """End when the test says so."""
    while not Path(os.environ["POOL_TEST_NOTES"]).exists():
        time.sleep(0.01)


def _note_slowly(pack: Pack) -> None:
    _note(pack, pack.id)
    time.sleep(0.05)


def _spoil_the_process(pack: Pack) -> None:
    """Train, and leave a process behind that should train nothing else."""
    _note(pack, "spoilt")
    mark_process()


def _show_gpus(pack: Pack) -> None:
    """Note which GPUs this process sees, and train nothing else in it."""
    _note(pack, f"{pack.id} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    mark_process()


BEHAVIOURS: dict[str, Callable[[Pack], object]] = {
    "raise": _raise,
    "exit": lambda pack: sys.exit(4),
    "die": lambda pack: os._exit(3),
    "die-once": _die_once,
    "store-then-die": _store_then_die,
    "segfault": _segfault,
    "hang": lambda pack: time.sleep(1000),
    "far-from-done": lambda pack: time.sleep(1000),
    "hold-the-gil": _hold_the_gil,
    "print": _fill_the_pipes,
    "print-for-ever": _print_for_ever,
    "children": _have_children,
    "leave": _leave_the_group,
    "nearly-done": _wait_to_end,
    "note": lambda pack: _note(pack, pack.id),
    "spoil": _spoil_the_process,
    "show-gpus": _show_gpus,
    "slow": lambda pack: time.sleep(0.05),
    "note-slowly": _note_slowly,
    "fill-the-disk": lambda pack: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
}

REPORT_PERIOD = 0.27  #: seconds; a worker leaves out reports that are closer together
#: what is reported one after the other, before the pack ends
PROGRESS: dict[str, Iterable[float]] = {
    "advance": (0.6, 0.7, 0.8, 0.9),
    "stand-still": itertools.repeat(0.5),
    "nearly-done": (0.95,),
    "far-from-done": (0.501,),
}

STATUSES = {"diverging": "diverged", "failing": "failed"}

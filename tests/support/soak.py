"""A week of a suite in a minute: `python tests/support/soak.py FOLDER --seed 7 --runs 500`.

One process imports membench, and forks each driver; each driver forks its workers. Nothing is
replaced but what costs seconds: a trainer makes a cell's record of its key, and the machine is a
made-up one. Command line, plan, pool, reapers, store, merge and pages are those of any run.

The steps are drawn by the seed, and printed as they are taken; when a signal hits depends on the
machine. The folder's path must be in the environment of this process, as its cache folder, by which
all processes of the soak are found.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from typing import NoReturn

from membench import report
from membench.cli import main
from membench.commands import engines
from membench.commands import run_planner
from membench.commands import session
from membench.commands import training
from membench.engine import machine
from membench.engine.schedule import epochs_to_read
from membench.errors import ExitCode
from membench.execution import worker
from membench.execution.display import Display
from membench.execution.forkserver import ForkServer
from membench.execution.process import ChildProcess
from membench.execution.protocol import Event
from membench.planning.packs import Pack
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.registry.discovery import shipped_folder
from membench.registry.registry import discover
from membench.store.store import Store

#: What the suite names, and the control that each row is compared with.
SHIPPED = ("architectures/mlp", "datasets/digits", "optimizers/*", "signals/*")
SUITE = '''"""Thirty steps of the mlp on 60 digits."""
from membench import Recipe, Split, Suite, hookimpl


@hookimpl
def register():
    return [
        Suite(
            "soak",
            datasets=("digits",),
            architectures=("mlp",),
            signals=("real", "mixed@0.4", "randY"),
            choosing=(0,),
            confirming=(1, 2),
            splits={"digits": Split(test=100, train=60, validation=100)},
            recipes={("digits", "mlp"): Recipe(lr=0.1, batch=30, epochs=15)},
            width=4,
            compiled=False,
        )
    ]
'''
PLUGIN = '''"""Leave the weights as they are.  A. Author, "Nothing", 2020."""
from membench import Regularizer, hookimpl


def weights(params, lane):
    return {{name: w * (1 - {version} * lane.strength) for name, w in params.items()}}


@hookimpl
def register():
    return [Regularizer("{name}", strengths=(0.1, 0.2, 0.3, 0.4, 0.5), weights=weights)]
'''
NAMES = ("one", "two", "three")
LAST = 0  #: version of all plugins at the end
VERSIONS = {"device": "cpu made-up", "precision": "highest", "threads": 1, "torch": "2.14.1"}
TRAIN, TEST, WRONG = 60, 100, 20  #: examples, of which so many labels are wrong in mixed@p
RUN = ["run", "--suite", "soak", "--device", "cpu", "-n", "2"]
ALL = [*RUN, "--all"]
FEWER = "would be replaced by a page with"  #: what a run says that leaves a fuller page alone
END_SECONDS = 300.0  #: for a driver to end, on a busy machine
ALONE_SECONDS = 30.0  #: for the processes of a killed driver to end, on a busy machine


class Soak:
    """The folders of one soak, and its drivers.

    Args:
        place: an empty folder.
        seed: of the steps.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.work, self.clean = place / "work", place / "clean"
        self.random = random.Random(seed)
        self.runs = 0
        self._place = place
        self._longest = 1.0  #: seconds after which a signal comes, at most: those of a whole run
        self._outputs = 0
        for folder in (self.work, self.clean):
            (folder / "plugins").mkdir(parents=True)
            (folder / "plugins" / "soak.py").write_text(SUITE)
            for name in NAMES:
                write_plugin(folder, name, LAST)
        stand_in(place)

    def take_steps(self, runs: int) -> None:
        """Take steps until so many drivers have been started."""
        self.wait(self.start(["list"]), {ExitCode.OK})  # what ships is read, and imports torch
        self.run()
        steps = [
            (self.run, 3),
            (self.interrupt, 4),
            (self.kill_driver, 4),
            (self.kill_child, 4),
            (self.concurrent, 3),
            (self.shards_in_one_folder, 1),
            (self.shards_apart, 1),
            (self.edit, 6),
            (self.forget, 2),
            (self.look, 2),
        ]
        while self.runs < runs:
            (step,) = self.random.choices(
                [step for step, _ in steps], [weight for _, weight in steps]
            )
            step()

    def run(self) -> None:
        """Run all, to the end."""
        started = time.monotonic()
        self.wait(self.start(ALL), OK_OR_FAILED)
        self._longest = time.monotonic() - started

    def interrupt(self) -> None:
        """Run, and send the driver a signal at which it is to end in order."""
        number = self.random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        driver = self.start(ALL, self._after_pack(number))
        self._later(driver, number)
        self.wait(driver, {*OK_OR_FAILED, ExitCode.INTERRUPTED, -number})

    def kill_driver(self) -> None:
        """Run, and kill the driver."""
        driver = self.start(ALL, self._after_pack(signal.SIGKILL))
        self._later(driver, signal.SIGKILL)
        self.wait(driver, {*OK_OR_FAILED, -signal.SIGKILL})

    def kill_child(self) -> None:
        """Run, and kill a worker or a reaper."""
        driver = self.start(ALL)
        time.sleep(self.random.uniform(0, self._longest))
        children = sorted(descendants(driver.pid))
        if children:
            victim = self.random.choice(children)
            self.say(f"    kill {victim - driver.pid} of {len(children)} processes")
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        self.wait(driver, OK_OR_FAILED)

    def concurrent(self) -> None:
        """Run twice or thrice at once in one folder, parts or all; kill one perhaps."""
        drivers = []
        for _ in range(self.random.choice([2, 2, 3])):
            words = self.random.choice([ALL, [*RUN, "-k", self.random.choice(NAMES)]])
            drivers.append(self.start(words))
            time.sleep(self.random.uniform(0, 0.2))
        killed = self.random.random() < 0.3
        if killed:
            self._later(drivers[0], signal.SIGKILL)
        for driver in drivers:
            may_be_killed = killed and driver is drivers[0]
            self.wait(driver, {*OK_OR_FAILED, *([-signal.SIGKILL] if may_be_killed else [])})

    def shards_in_one_folder(self) -> None:
        """Run two shards at once in the board's folder, and merge it."""
        drivers = [self.start([*ALL, "--shard", f"{index}/2"]) for index in (1, 2)]
        for driver in drivers:
            self.wait(driver, OK_OR_FAILED)
        self.wait(self.start(["merge", "--out", "leaderboard"]), {ExitCode.OK})

    def shards_apart(self) -> None:
        """Run two shards in folders of their own, of which one may be killed, and join them."""
        folders = [f"shard-{index}" for index in (1, 2)]
        drivers = []
        for index, folder in enumerate(folders, start=1):
            words = [*ALL, "--shard", f"{index}/2", "--out", folder]
            drivers.append(self.start(words))
        killed = self.random.random() < 0.5
        if killed:
            self._later(drivers[1], signal.SIGKILL)
        self.wait(drivers[0], OK_OR_FAILED)
        self.wait(drivers[1], {*OK_OR_FAILED, *([-signal.SIGKILL] if killed else [])})
        merge = self.start(["merge", *folders, "--out", "leaderboard"])
        # what a shard was killed before it had a plan is no board; a board of other plugins is none
        self.wait(merge, {ExitCode.OK, ExitCode.USAGE})
        for folder in folders:
            if self.random.random() < 0.5:
                shutil.rmtree(self.work / folder, ignore_errors=True)

    def edit(self) -> None:
        """Edit a plugin, or edit it back."""
        name, version = self.random.choice(NAMES), self.random.choice([LAST, 1, 2])
        self.say(f"edit {name} to version {version}")
        write_plugin(self.work, name, version)

    def forget(self) -> None:
        """Forget cells, of one entry or those that failed; there may be none."""
        words = self.random.choice([["-k", self.random.choice(NAMES)], ["--failed"]])
        command = self.start(["forget", *words])
        self.wait(command, {ExitCode.OK, ExitCode.USAGE, ExitCode.NOTHING})

    def look(self) -> None:
        """Look at the board while a run is at work."""
        driver = self.start(ALL)
        for words in (["status"], ["report"]):
            # before there is a plan there is nothing to report
            self.wait(self.start(words), {ExitCode.OK, ExitCode.USAGE})
        self.wait(driver, OK_OR_FAILED)

    def finish(self) -> None:
        """Bring all plugins to their last version, and run until nothing is left."""
        for name in NAMES:
            write_plugin(self.work, name, LAST)
        self.wait(self.start(ALL), OK_OR_FAILED)
        self.wait(self.start([*ALL, "--lf"]), {ExitCode.OK, ExitCode.NOTHING})
        self.wait(self.start(ALL), {ExitCode.OK})
        self.wait(self.start(["report", "--check"]), {ExitCode.OK})
        self.wait(self.start(ALL, folder=self.clean), {ExitCode.OK})

    def check(self) -> None:
        """Compare what is there with one clean run, and look for what is left."""
        for folder in self.work.glob("shard-*"):
            shutil.rmtree(folder)
        wait_until_alone(self._place)
        here, clean = files_below(self.work), files_below(self.clean)
        assert here.keys() == clean.keys(), sorted(here.keys() ^ clean.keys())
        pages = [name for name in clean if "/records/" not in name]
        assert len(pages) > 5
        different = [name for name in pages if here[name] != clean[name]]
        assert not different, different
        assert records_of(self.work) == records_of(self.clean)
        left = [str(path) for path in (self._place / "tmp").rglob("*")]
        left += [str(path) for path in (self._place / "cache").rglob("*.tmp")]
        assert not left, left

    def start(
        self, words: Sequence[str], signal_after: tuple[int, int] | None = None, **where: Path
    ) -> Driver:
        """Start a command.

        Args:
            words: of it.
            signal_after: a signal that it gets from itself, and after how many stored packs.
            where: `folder`: the working folder, if another one.
        """
        self.runs += 1
        self._outputs += 1
        output = self._place / f"output-{self._outputs % 20}.txt"
        pid = os.fork()
        if pid == 0:
            be_driver(words, where.get("folder", self.work), output, signal_after)
        self.say(f"{self.runs} {' '.join(words)}" + (f" {signal_after}" if signal_after else ""))
        return Driver(pid, words, output)

    def wait(self, driver: Driver, codes: set[int]) -> None:
        """Wait for a driver, and check its exit code, a negative one for a signal.

        A run of a part may find that rows of edited plugins are missing, and leaves the page alone.
        """
        code = driver.wait()
        if code == ExitCode.USAGE and "-k" in driver.words and FEWER in driver.output.read_text():
            code = ExitCode.OK
        self.say(f"    {driver.words[0]}: {code}")
        if code not in codes:
            raise AssertionError(
                f"{driver.words} ended with {code}, not one of {sorted(codes)}:\n"
                f"{driver.output.read_text()}"
            )

    def say(self, text: str) -> None:
        """Print a line of the trace."""
        print(text, flush=True)

    def _after_pack(self, number: int) -> tuple[int, int] | None:
        """Draw whether the signal comes after a stored pack, and after which one."""
        if self.random.random() < 0.5:
            return None
        return number, self.random.randint(1, 8)

    def _later(self, driver: Driver, number: int) -> None:
        """Send a signal after a moment, unless the driver has ended by then."""
        time.sleep(self.random.uniform(0, self._longest))
        with suppress(ProcessLookupError):
            os.kill(driver.pid, number)


OK_OR_FAILED = {int(ExitCode.OK), int(ExitCode.FAILED)}


class Driver:
    """A process of a command.

    Args:
        pid: its process id.
        words: of the command.
        output: the file of all that it prints.
    """

    def __init__(self, pid: int, words: Sequence[str], output: Path) -> None:
        self.pid, self.words, self.output = pid, words, output

    def wait(self) -> int:
        """Return the exit code when it has ended."""
        end = time.monotonic() + END_SECONDS
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(self.pid, signal.SIGABRT)
        raise AssertionError(f"{self.words} has not ended:\n{self.output.read_text()}")


def be_driver(
    words: Sequence[str], folder: Path, output: Path, signal_after: tuple[int, int] | None
) -> NoReturn:
    """Be the process of a command, in a fork."""
    os.setsid()
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    training.Display = partial(SignallingDisplay, signal_after)  # type: ignore[misc, assignment]
    code = int(ExitCode.INTERNAL)
    try:
        code = main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class SignallingDisplay(Display):
    """Sends this process a signal after some stored packs."""

    def __init__(self, signal_after: tuple[int, int] | None, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self._signal, self._packs = signal_after or (0, 0)

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        if event.kind == "stored":
            self._packs -= 1
            if self._packs == 0 and self._signal:
                os.kill(os.getpid(), self._signal)


class ForkingServer(ForkServer):
    """Forks workers from the driver, which has imported all that they need."""

    def start(self, modules: Sequence[str], environ: Mapping[str, str], *more: str) -> None:
        """Do nothing: no module is to be imported."""

    @property
    def is_ready(self) -> bool:
        """It is at once."""
        return True

    def fork(self, command: Sequence[str], **how: Any) -> ChildProcess:
        """Fork a worker."""
        _, _, _, *arguments = command
        return ChildProcess.fork(lambda fd: worker.run([*arguments, "--fd", str(fd)]), **how)


def stand_in(place: Path) -> None:
    """Let all commands of this process find few plugins, a made-up machine and a quick trainer."""
    shipped = place / "shipped"
    shipped.mkdir()
    for pattern in (*SHIPPED, "regularizers/controls"):
        for path in shipped_folder().glob(f"{pattern}.py"):
            (shipped / path.name).symlink_to(path)
    (place / "tmp").mkdir()
    session.discover = partial(discover, shipped=shipped)
    engines.ForkServer = ForkingServer  # type: ignore[misc]
    of_machine = machine.Machine(
        device="cpu", processor="", needs_trial=False, eager=[VERSIONS], compiled={"": [VERSIONS]}
    )
    # either is asked, by whether a plugin has imported torch
    machine.describe_apart = machine.describe_machine = lambda device: of_machine
    run_planner.commit_of_checkout = lambda: ""
    worker._load_trainer = lambda options: worker.PackTrainer(
        train=train, versions=lambda pack: VERSIONS, environment=VERSIONS
    )
    # what a page needs is imported once
    report.FigureCache.open()


def train(pack: Pack, on_progress: Callable[[float], None]) -> list[Record]:
    """Stand in for the engine."""
    time.sleep(0.002)
    on_progress(0.5)
    records = []
    for cell, key in zip(pack.cells, pack.keys, strict=True):
        records.append(make_record(cell, key, pack.recipe.epochs, pack.read))
    return records


def make_record(cell: Cell, key: str, budget: int, read: tuple[int, ...]) -> Record:
    """Make the record of a cell; its numbers depend on the key alone."""
    draw = random.Random(key)
    epochs, _ = epochs_to_read(budget, plain=cell.regularizer == "none", cost=1.0, read=read)
    strength = min(1.0, sum(cell.strength))
    real = 90 - round(10 * strength * draw.random())
    accuracies = {"real": real, "mixed@0.4": 60 + round(20 * strength), "randY": 10}
    fitted = TRAIN - (0 if cell.signal == "real" else round(TRAIN * strength * draw.random()))
    has_wrong = cell.signal != "real"
    count = len(epochs)
    accuracy = accuracies[cell.signal] / TEST
    return Record(
        key=key,
        env=digest(VERSIONS),
        id=cell.id,
        dataset=cell.dataset,
        architecture=cell.architecture,
        regularizer=cell.regularizer,
        strength=cell.strength,
        signal=cell.signal,
        seed=cell.seed,
        status="ok",
        epochs=tuple(sorted(epochs)),
        train=(fitted / TRAIN,) * count,
        loss=(draw.random(),) * count,
        val=(accuracy,) * count,
        test=(accuracy,) * count,
        wrong=((fitted / TRAIN) if has_wrong else None,) * count,
        train_bits=bits(TRAIN, fitted, draw),
        test_bits=bits(TEST, accuracies[cell.signal], draw),
        num_classes=10,
        num_train=TRAIN,
        num_test=TEST,
        num_wrong=WRONG if has_wrong else 0,
        label_share=0.1,
        steps=2 * budget,
        arrays=digest(cell.id),
        pack=cell.id,
        seconds=0.1,
        versions=VERSIONS,
    )


def bits(count: int, ones: int, draw: random.Random) -> str:
    """Return packed bits of which so many are 1, in hex."""
    places = set(draw.sample(range(count), ones))
    size = -(-count // 8) * 8
    number = sum(1 << (size - 1 - place) for place in places)
    return number.to_bytes(size // 8, "big").hex()


def write_plugin(folder: Path, name: str, version: int) -> None:
    """Write a plugin in a version, as an editor does: another file takes the place of the old."""
    path = folder / "plugins" / f"{name}.py"
    scratch = folder / f"{name}.edited"
    scratch.write_text(PLUGIN.format(name=name, version=version))
    scratch.replace(path)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        found = children.get(waiting.pop(), [])
        yield from found
        waiting += found


def wait_until_alone(place: Path) -> None:
    """Wait until this is the only process of the soak.

    Raises:
        AssertionError: there is another one after `ALONE_SECONDS`.
    """
    end = time.monotonic() + ALONE_SECONDS
    while others := list(processes_of(place)):
        assert time.monotonic() < end, others
        time.sleep(0.05)


def processes_of(place: Path) -> Iterator[str]:
    """Yield the other living processes of the soak."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            is_ours = str(place).encode() in (folder / "environ").read_bytes()
            if is_ours and state != "Z" and int(folder.name) != os.getpid():
                yield f"{folder.name}: {(folder / 'cmdline').read_bytes()!r}"


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, by their paths below it."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return files


def records_of(folder: Path) -> list[Record]:
    """Return the records of the cells that the suite has planned; they have no conflicts."""
    store = Store(folder / "leaderboard" / "records")
    contents, manifest = store.read(), store.manifests()["soak"]
    assert not contents.conflicts and not contents.torn and not contents.missing
    planned = set(manifest.cells.values())
    return [record for record in contents.records.values() if record.key in planned]


def soak() -> None:
    """Soak a folder, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    place = options.folder.resolve()
    soaked = Soak(place, options.seed)
    started = time.monotonic()
    soaked.take_steps(options.runs)
    soaked.finish()
    soaked.check()
    print(f"{soaked.runs} commands in {time.monotonic() - started:.0f} s, seed {options.seed}")


if __name__ == "__main__":
    soak()

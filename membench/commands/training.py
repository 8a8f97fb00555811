"""Train what is missing: the driver that `membench run` and `membench reproduce` share.

A command says in a `TrainingJob` what it has planned, and which records count. `train_missing`
chooses the cells that have none, or with `--lf` those that failed last time; it trains them and
what follows from them, and returns how that came out. The command makes a board or a page of
studies from the records.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

from rich.console import Console

from membench.commands.engines import Engine
from membench.commands.observers import Observers
from membench.commands.precision import Choice
from membench.commands.precision import describe_choices
from membench.engine.card import GPU_LANES
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.display import Display
from membench.execution.display import Header
from membench.execution.display import by_origin
from membench.execution.display import print_durations
from membench.execution.display import print_header
from membench.execution.display import print_summary
from membench.execution.forecast import Expected
from membench.execution.forecast import Experience
from membench.execution.forecast import Forecast
from membench.execution.pool import Elsewhere
from membench.execution.pool import run_packs
from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.files import disk_errors
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.planning.packs import merge_packs
from membench.planning.plan import BASELINES
from membench.records import Record
from membench.records import digest
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store

if TYPE_CHECKING:
    from membench.report import RowLine

ENDS = ("stored", "failed", "timeout")  #: events of packs whose records are in the store


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The cells that a command has planned, and the records that count."""

    title: str  #: "quick 1"
    plugins: Sequence[tuple[str, str]]  #: name and origin of each that takes part
    keys: Collection[str]  #: of all planned cells, each once
    packs: Callable[[Collection[str]], list[Pack]]  #: keys that are done -> packs of all the others
    records: Mapping[str, Record]  #: key -> the record that counts for a planned cell
    environment: Mapping[str, Any]  #: of the workers
    retry: Collection[str] | None  #: keys of the cells that `--lf` tries again; None without `--lf`
    #: by task, of its compiled cells; a task that is missing has the usual precision
    precisions: Mapping[str, Choice] = field(default_factory=dict)
    follow_up: FollowUp | None = None  #: what is planned while the packs are trained
    envs: Collection[str] = ()  #: hashes of those whose records `follow_up` takes; () = all
    #: description of a machine (`Machine.to_json`) -> the job of workers there, which are of
    #: another environment; None: nothing is to be trained in another one
    elsewhere: Callable[[Any], TrainingJob] | None = None
    #: of earlier runs, for the time that is left
    experience: Experience = field(default_factory=Experience)
    observers: Observers = field(default_factory=Observers)  #: are told what happens


class FollowUp(Protocol):
    """Plans further cells from the records of the cells before them."""

    @property
    def expected(self) -> Expected:
        """What is to be expected beside the cells that were planned."""

    def packs(self, records: Sequence[Record]) -> list[Pack]:
        """Return the packs that follow from new records."""

    def rows(self, pack: Pack) -> list[RowLine]:
        """Return the rows of the board that are complete since a pack has ended."""

    def leave(self, regularizer: str) -> None:
        """Expect no more of a regularizer, which is trained in another environment."""


@dataclass(frozen=True)
class TrainingOutcome:
    """The result of training a job."""

    summary: Summary
    failed_before: int  #: cells that failed in an earlier run and were not tried again

    def exit_code(self, problems: bool) -> ExitCode:
        """Return the command's exit code, given whether it met problems beside the training."""
        if self.summary.interrupted:
            return ExitCode.INTERRUPTED
        if self.summary.damaged:
            return ExitCode.STORE
        failed = self.failed_before or self.summary.failed or self.summary.timeout
        return ExitCode.FAILED if failed or problems else ExitCode.OK


def is_missing(keys: Iterable[str], contents: Contents) -> bool:
    """Tell whether a cell has no record at all; those of other environments may not count either.

    Args:
        keys: of the planned cells.
        contents: of the store.
    """
    recorded = {key for key, _ in contents.records}
    return not recorded.issuperset(keys)


def train_missing(
    job: TrainingJob,
    store: Store,
    options: argparse.Namespace,
    engine: Engine,
) -> TrainingOutcome:
    """Train the cells of a job that need it, and those that follow from them.

    What they gave is in the store's shards, where it counts. A command whose run has come to its
    end merges them; one that was interrupted leaves the files that git keeps as they are.

    Args:
        job: what is planned.
        store: where the records go.
        options: time_limit, maxfail, verbosity, durations and junit_xml.
        engine: trains the packs.
    """
    packs = _ready(job.packs(_keys_to_leave(job)), job, engine)
    if packs:
        engine.prepare(any(pack.compiled for pack in packs))
    trained = {key for pack in packs for key in pack.keys}
    reused = len(job.records.keys() - trained)
    written = store.news() if options.junit_xml else None
    summary = _train_packs(job, packs, store, options, engine, reused=reused)
    if written is not None:
        _write_junit_report(options.junit_xml, job.title, written.read())
    return TrainingOutcome(summary, failed_before=len(failed_keys(job.records) - trained))


def _write_junit_report(path: Path, title: str, records: Iterable[Record]) -> None:
    """Write the JUnit report of what has been trained.

    Raises:
        MembenchError: the file cannot be written (DISK).
    """
    from membench.report import junit

    with disk_errors("write", path):
        path.write_bytes(junit.report(title, records))


def _ready(packs: list[Pack], job: TrainingJob, engine: Engine) -> list[Pack]:
    """Return the packs as the workers train them: as wide, and at the precision, as they take.

    Packs are merged into few wide ones where each worker has a GPU to itself.
    """
    wide = merge_packs(packs, GPU_LANES) if engine.has_gpu_each else packs
    return [_at_chosen_precision(pack, job.precisions) for pack in wide]


def accepted_environments(
    environments: Iterable[Mapping[str, Any]], contents: Contents, accept_all: bool
) -> tuple[str, ...]:
    """Return the hashes of the environments whose records count, the preferred one first.

    Args:
        environments: that this process's workers may have.
        contents: of the store.
        accept_all: whether records of every other environment count too, `--accept-env`.
    """
    own = [digest(environment) for environment in environments]
    if not accept_all:
        return tuple(own)
    stored = {env for _, env in contents.records}
    return (*own, *sorted(stored.difference(own)))


def failed_keys(records: Mapping[str, Record]) -> set[str]:
    """Return the keys of the cells that failed or timed out, by their records that count."""
    return {key for key, record in records.items() if record.status not in MEASURED}


def nothing_failed(subject: str, folder: Path) -> MembenchError:
    """Return the error of a `--lf` that has nothing to train.

    Args:
        subject: the suite, or the studies.
        folder: the results folder.
    """
    return MembenchError(f"no cell of {subject} in {folder} has failed", ExitCode.NOTHING)


def _keys_to_leave(job: TrainingJob) -> set[str]:
    """Return the keys of the planned cells that are not to be trained.

    Without `--lf` a failed cell is not tried again: repeating a command trains nothing twice.
    """
    if job.retry is None:
        return set(job.records)
    measured = job.records.keys() - failed_keys(job.records)
    return set(job.keys) - (set(job.retry) - measured)


def _train_packs(
    job: TrainingJob,
    packs: Sequence[Pack],
    store: Store,
    options: argparse.Namespace,
    engine: Engine,
    *,
    reused: int,
) -> Summary:
    """Train the packs in workers, and show the header, the progress and the summary.

    Args:
        job: its title, plugins, number of cells and environment are shown.
        packs: what to train.
        store: where the records go.
        options: as of `train_missing`.
        engine: as of `train_missing`.
        reused: how many planned cells have records already.
    """
    console = Console()
    workers = engine.workers
    header = Header(
        suite=job.title,
        cells=len(job.keys),
        reused=reused,
        device=str(job.environment["device"]),
        torch=str(job.environment["torch"]),
        workers=workers,
        records=str(store.folder),
        plugins=by_origin(job.plugins),
        products=tuple(describe_choices(job.precisions)),
    )
    if options.verbosity >= 0:
        print_header(console, header)
    job.observers.tell(
        "membench_run_started",
        suite=job.title,
        cells=len(job.keys),
        environment=job.environment,
    )
    news = store.news()
    untold = {key for pack in packs for key in pack.keys}

    def tell_cells(records: Iterable[Record]) -> None:
        """Tell each cell once; another run may write here too, and a pack be stored twice."""
        for record in records:
            if record.key in untold:
                untold.remove(record.key)
                job.observers.tell("membench_cell_finished", record=record)

    def follow_up(pack: Pack) -> list[Pack]:
        if job.follow_up is None and not job.observers:
            return []
        records = news.read()
        tell_cells(records)
        if job.follow_up is None:
            return []
        further = jobs.follow_up(pack, records)
        untold.update(key for pack in further for key in pack.keys)
        display.plan(further, jobs.expected)
        for finished in jobs.rows(pack):
            display.print_row(finished.line)
            if finished.row is not None:
                job.observers.tell("membench_row_finished", row=finished.row)
        return further

    forecast = Forecast(workers, job.experience)
    with Display(console, forecast, quiet=options.verbosity < 0) as display:
        jobs = _Jobs(job, packs, engine, display)
        acknowledged = Acknowledged(display.on_event)

        def on_event(event: Event) -> None:
            jobs.note(event)
            acknowledged.on_event(event)

        display.plan(packs, jobs.expected)
        summary = run_packs(
            packs,
            store=store,
            factory=engine.factory(store, display.print_notice, any_kind=job.elsewhere is not None),
            workers=workers,
            time_limit=options.time_limit,
            environment=engine.environment,
            on_event=on_event,
            on_notice=display.print_notice,
            max_failures=options.maxfail,
            reused=reused,
            follow_up=follow_up,
            elsewhere=jobs.open,
            begun=_begun(job),
        )
    summary = replace(summary, damaged=acknowledged.check(store))
    print_summary(console, summary, options.verbosity)
    if options.durations:
        print_durations(console, summary, options.durations)
    job.observers.tell("membench_run_finished", summary=summary)
    return summary


class _Jobs:
    """The job of a run, and one for each further environment that workers turn out to have.

    An entry is trained in one of them, where its first pack is; the pool sees to that.

    Args:
        home: the job of the environment that the run was planned for.
        packs: of it, to begin with.
        engine: as of `train_missing`.
        display: is told what is to be trained, and what is not.
    """

    def __init__(
        self, home: TrainingJob, packs: Sequence[Pack], engine: Engine, display: Display
    ) -> None:
        self._home = home
        self._jobs = {"": home}  #: by the environment of their packs
        self._packs: dict[str, Sequence[Pack]] = {"": packs}  #: those that each began with
        self._engine = engine
        self._display = display
        self._bound: dict[str, str] = dict.fromkeys(_begun(home), "")  #: entry -> environment

    def open(self, environment: Mapping[str, Any], machine: Any) -> Elsewhere:
        """Plan what may be trained by workers of an environment that is new."""
        if self._home.elsewhere is None or machine is None:
            return Elsewhere()
        job = self._home.elsewhere(machine)
        label = digest(environment)
        self._jobs[label] = job
        packs = self._packs[label] = self._labelled(job.packs(_keys_to_leave(job)), label)
        for entry in self._bound:
            self._leave(entry, label)
        begun = _begun(job)
        for entry in begun:
            self._bind(entry, label)
        return Elsewhere(packs, begun)

    def note(self, event: Event) -> None:
        """Note where the first pack of an entry is trained."""
        if event.kind == "started":
            self._bind(event.pack.program[2], event.pack.environment)

    def _bind(self, entry: str, label: str) -> None:
        if entry in BASELINES or entry in self._bound:
            return
        is_first = label not in self._bound.values()
        self._bound[entry] = label
        for other in self._jobs:
            if other != label:
                self._leave(entry, other)
        if label:
            self._display.drop(_of_entries(self._packs[""], {entry}))
            needed = {entry, *BASELINES} if is_first else {entry}
            self._display.plan(_of_entries(self._packs[label], needed), self.expected)

    def _leave(self, entry: str, label: str) -> None:
        follow_up = self._jobs[label].follow_up
        if follow_up is not None:
            follow_up.leave(entry)

    @property
    def expected(self) -> Expected:
        """What is to be expected beside the cells that were planned, where entries are trained."""
        cells = 0
        steps: dict[ProgramId, float] = defaultdict(float)
        for label, job in self._jobs.items():
            if job.follow_up is not None and (not label or label in self._bound.values()):
                expected = job.follow_up.expected
                cells += expected.cells
                for program, count in expected.steps.items():
                    steps[program] += count
        return Expected(cells=cells, steps=steps)

    def follow_up(self, pack: Pack, records: Sequence[Record]) -> list[Pack]:
        """Return the packs that follow from new records, now that a pack has ended."""
        further: list[Pack] = []
        for label, job in self._jobs.items():
            ended_here = label == pack.environment
            if job.follow_up is None:
                continue
            own = []
            for record in records:
                # what a worker has died of names no environment
                of_dead = ended_here and not record.versions
                if record.env in job.envs or of_dead or not job.envs:
                    own.append(record)
            if own or ended_here:
                further += self._labelled(job.follow_up.packs(own), label)
        return further

    def rows(self, pack: Pack) -> list[RowLine]:
        """Return the rows of the board that are complete since a pack has ended."""
        follow_up = self._jobs[pack.environment].follow_up
        return [] if follow_up is None else follow_up.rows(pack)

    def _labelled(self, packs: list[Pack], label: str) -> list[Pack]:
        ready = _ready(packs, self._jobs[label], self._engine)
        return [replace(pack, environment=label) for pack in ready]


def _begun(job: TrainingJob) -> set[str]:
    """Return the entries that have records of a job's environments."""
    names = {record.regularizer for record in job.records.values() if record.env in job.envs}
    return names - {*BASELINES}


def _of_entries(packs: Iterable[Pack], names: Collection[str]) -> list[Pack]:
    return [pack for pack in packs if pack.program[2] in names]


class Acknowledged:
    """The cells that were said to be stored.

    Args:
        on_event: is told the events of the run too.
    """

    def __init__(self, on_event: Callable[[Event], None] = lambda event: None) -> None:
        self._on_event = on_event
        self._cells: dict[str, str] = {}  #: key -> id

    def on_event(self, event: Event) -> None:
        """Note the cells of a pack whose records are in the store."""
        if event.kind in ENDS:
            for cell, key in zip(event.pack.cells, event.pack.keys, strict=True):
                self._cells[key] = cell.id
        self._on_event(event)

    def check(self, store: Store) -> int:
        """Look up every cell, and tell what of a shard has been damaged.

        Returns:
            How many cells are not there where a shard is damaged.

        Raises:
            MembenchError: with `ExitCode.DISK`; one is not there, and no shard is damaged.
        """
        if not self._cells:
            return 0
        contents = store.read(damaged_ok=True)
        there = {key for key, _ in contents.records}
        lost = [cell_id for key, cell_id in self._cells.items() if key not in there]
        if lost and contents.damaged:
            print(
                f"{len(lost)} cells that were stored do not count, {lost[0]} for one: "
                f"{contents.warnings[-1]}; a plugin of this run may have written there",
                file=sys.stderr,
            )
            return len(lost)
        if lost:
            raise MembenchError(
                f"{len(lost)} cells that were stored in {store.folder} are gone, {lost[0]} for "
                "one: its files were removed or changed while the run went on; the same command "
                "trains these cells again",
                ExitCode.DISK,
            )
        return 0


def _at_chosen_precision(pack: Pack, precisions: Mapping[str, Choice]) -> Pack:
    """Return the pack with the precision of its task, if it is compiled and one was chosen."""
    choice = precisions.get(pack.cells[0].task)
    if choice is None or not pack.compiled:
        return pack
    return replace(pack, precision=choice.precision)

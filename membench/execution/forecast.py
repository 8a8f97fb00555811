"""How long a run has still to go: the work that is left, over the speed at which it is done.

The work of a cell is the number of its steps, each counted as the plain network's step times the
regularizer's relative cost, which records tell (`Record.cost`). The speed of a task is what a
worker does of that in a second, compilation apart: measured in this run, and until then as records
of the same machine have it, or those of another one, which tell how tasks compare. A task with
probes is a task of its own: they may take most of the time. The driver says what is planned and
what happens, and asks.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from statistics import geometric_mean

from membench.execution.protocol import Event
from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.planning.plan import BASELINES
from membench.records import Record

Task = tuple[str, str, tuple[str, ...]]  #: data set, architecture, probes
Work = tuple[ProgramId, tuple[str, ...]]  #: a program and the probes that its packs measure

UNKNOWN_COST = 1.5  #: of a regularizer's step, where no record tells any: the mean of the roster


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The cells that the results of a run will make necessary, roughly."""

    cells: int = 0
    steps: Mapping[ProgramId, float] = field(default_factory=dict)  #: of all these cells together


class _Speeds:
    """How long plain steps have taken, by task."""

    def __init__(self) -> None:
        self.count = 0
        self._steps: dict[Task, float] = defaultdict(float)
        self._seconds: dict[Task, float] = defaultdict(float)

    def add(self, task: Task, steps: float, seconds: float) -> None:
        """Take in that so many plain steps of a task took so long."""
        self.count += 1
        self._steps[task] += steps
        self._seconds[task] += seconds

    @property
    def seconds(self) -> dict[Task, float]:
        """Seconds of a plain step, of the tasks that tell."""
        tasks = [task for task in self._steps if self._steps[task] and self._seconds[task]]
        return {task: self._seconds[task] / self._steps[task] for task in tasks}


@dataclass(frozen=True, kw_only=True)
class Experience:
    """What records tell of the cost of steps and of the speed of a machine."""

    costs: Mapping[ProgramId, float] = field(default_factory=dict)  #: relative cost of a step
    #: task -> seconds that a worker takes for a plain step of one cell, compilation included
    seconds: Mapping[Task, float] = field(default_factory=dict)
    #: the same of another machine: the one with the most records
    elsewhere: Mapping[Task, float] = field(default_factory=dict)

    @classmethod
    def of_records(cls, records: Iterable[Record], envs: Iterable[str]) -> Experience:
        """Read the costs from records of all machines, the speeds by machine.

        Args:
            records: of any cells.
            envs: hashes of the environments of this machine.
        """
        own = set(envs)
        costs: dict[ProgramId, float] = {}
        here, others = _Speeds(), defaultdict[str, _Speeds](_Speeds)
        for record in records:
            if record.status != "ok":
                continue
            costs[record.dataset, record.architecture, record.regularizer] = record.cost
            speeds = here if record.env in own else others[record.env]
            task = record.dataset, record.architecture, tuple(sorted(record.probes))
            speeds.add(task, record.steps * record.cost, record.seconds)
        richest = max(others.values(), key=lambda speeds: speeds.count, default=_Speeds())
        return cls(costs=costs, seconds=here.seconds, elsewhere=richest.seconds)

    def cost(self, program: ProgramId) -> float:
        """Return the relative cost of a program's step: its own, else one that is likely."""
        if program[2] in BASELINES:
            return 1.0
        if program in self.costs:
            return self.costs[program]
        elsewhere = [cost for known, cost in self.costs.items() if known[2] == program[2]]
        others = [cost for known, cost in self.costs.items() if known[2] not in BASELINES]
        likely = elsewhere or others or [UNKNOWN_COST]
        return sum(likely) / len(likely)


@dataclass
class _Running:
    """A pack that a worker trains."""

    pack: Pack
    given: float  #: when
    begun: float | None = None  #: when its training began: all is compiled then
    heard: float = 0.0  #: when it has last told its progress
    done: float = 0.0  #: share of its steps


class Forecast:
    """The time left of a run.

    Args:
        workers: how many packs are trained at a time.
        experience: of earlier runs.
    """

    def __init__(self, workers: int, experience: Experience) -> None:
        self._workers = workers
        self._experience = experience
        self._packs: Counter[Work] = Counter()  #: that no worker has
        self._steps: Counter[Work] = Counter()  #: of all cells of these packs
        self._expected = Expected()
        self._running: dict[int, _Running] = {}  #: by worker
        self._ended = _Speeds()  #: of the packs that have ended
        self._compiling: dict[ProgramId, float] = {}  #: seconds until its training began

    def plan(self, packs: Iterable[Pack]) -> None:
        """Take packs into account that are to be trained."""
        for pack in packs:
            self._packs[_work(pack)] += 1
            self._steps[_work(pack)] += steps_of(pack)

    def drop(self, packs: Iterable[Pack]) -> None:
        """Leave out packs that were planned and are not to be trained."""
        for pack in packs:
            self._packs[_work(pack)] -= 1
            self._steps[_work(pack)] -= steps_of(pack)

    def expect(self, expected: Expected) -> None:
        """Take into account what is to be expected beside the packs, in place of the last time."""
        self._expected = expected

    def update(self, event: Event, now: float) -> None:
        """Take news of a pack into account. A pack that is `ending` is still trained."""
        if event.worker not in self._running:
            self._running[event.worker] = _Running(event.pack, given=now)
            self._packs[_work(event.pack)] -= 1
            self._steps[_work(event.pack)] -= steps_of(event.pack)
        running = self._running[event.worker]
        if event.kind == "progress":
            if running.begun is None:
                running.begun = now
                self._compiling.setdefault(event.pack.program, now - running.given)
            running.heard, running.done = now, event.done
        elif event.kind not in ("started", "ending"):
            del self._running[event.worker]
            if event.kind == "stored" and running.begun is not None:
                steps = self._plain_steps(event.pack)
                self._ended.add(_task(event.pack), steps, now - running.begun)
            elif event.kind == "retry":
                self.plan([event.pack])

    def is_compiling(self, worker: int) -> bool:
        """Tell whether a worker has a pack whose training has not begun."""
        return worker in self._running and self._running[worker].begun is None

    def seconds_left(self, now: float) -> float | None:
        """Return the time left; None while nothing tells how fast the work is done."""
        speeds = self._seconds_of_a_step()
        if not speeds:
            return None

        def takes(program: ProgramId, probes: tuple[str, ...], steps: float) -> float:
            dataset, architecture, _ = program
            seconds = self._likely_seconds((dataset, architecture, probes), speeds)
            return steps * self._experience.cost(program) * seconds

        total = self._compiling_left(now)
        longest = 0.0  # no worker ends before its pack does
        for program, steps in self._expected.steps.items():
            total += takes(program, (), steps)
        for (program, probes), packs in self._packs.items():
            if packs:
                steps = self._steps[program, probes]
                total += takes(program, probes, steps)
                longest = max(longest, takes(program, probes, steps / packs))
        for running in self._running.values():
            left = takes(*_work(running.pack), steps_of(running.pack)) * (1 - running.done)
            if running.begun is not None:
                left = max(0.0, left - (now - running.heard))
            total += left
            longest = max(longest, left)
        return max(total / self._workers, longest)

    def _plain_steps(self, pack: Pack) -> float:
        """Return the plain steps that the steps of a pack are worth."""
        return steps_of(pack) * self._experience.cost(pack.program)

    def _seconds_of_a_step(self) -> dict[Task, float]:
        """Return how long a plain step takes, by task: in this run, else in earlier ones."""
        speeds = copy.deepcopy(self._ended)
        for running in self._running.values():
            if running.begun is not None and running.heard > running.begun:
                steps = running.done * self._plain_steps(running.pack)
                speeds.add(_task(running.pack), steps, running.heard - running.begun)
        return {**self._experience.seconds, **speeds.seconds}

    def _likely_seconds(self, task: Task, speeds: Mapping[Task, float]) -> float:
        """Return how long a plain step of a task takes, or may take if nothing here tells.

        That is, from the best to the worst guide: the task itself; as on another machine, times
        what the tasks that both have done take here and there; other networks with these probes,
        which may take a thousand times what the training takes; the network with other probes;
        others without probes; all others. Means are geometric, since tasks differ by orders of
        magnitude.
        """
        if task in speeds:
            return speeds[task]
        elsewhere = self._experience.elsewhere
        ratios = [speeds[known] / elsewhere[known] for known in speeds if known in elsewhere]
        if task in elsewhere and ratios:
            return elsewhere[task] * geometric_mean(ratios)
        same_probes = [seconds for known, seconds in speeds.items() if known[2] == task[2]]
        same_network = [seconds for known, seconds in speeds.items() if known[:2] == task[:2]]
        plain = [seconds for known, seconds in speeds.items() if not known[2]]
        return geometric_mean(same_probes or same_network or plain or speeds.values())

    def _compiling_left(self, now: float) -> float:
        """Return the seconds that the programs will take which no worker has compiled."""
        if not self._compiling:
            return 0.0
        each = sum(self._compiling.values()) / len(self._compiling)
        waiting = {program for (program, _), packs in self._packs.items() if packs}
        coming = (waiting | self._expected.steps.keys()) - self._compiling.keys()
        left = 0.0
        for running in self._running.values():
            if running.begun is None and running.pack.program not in self._compiling:
                coming.discard(running.pack.program)
                left += max(0.0, each - (now - running.given))
        return left + each * len(coming)


def steps_of(pack: Pack) -> int:
    """Count the optimizer steps of all cells of a pack."""
    return len(pack.cells) * pack.recipe.steps(pack.split.trained)


def _work(pack: Pack) -> Work:
    return pack.program, tuple(sorted(pack.probes))


def _task(pack: Pack) -> Task:
    dataset, architecture, _ = pack.program
    return dataset, architecture, tuple(sorted(pack.probes))

"""Choose which pack a worker trains next: one whose program it has compiled, if there is one.

Pure functions of the packs; the pool asks. The aims are few compilations, and workers that end at
about the same time.
"""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterable

from membench.planning.packs import Pack
from membench.planning.packs import ProgramId
from membench.planning.plan import BASELINES
from membench.planning.plan import NONE

_Line = tuple[ProgramId, str]  #: a program, and the environment in which it is to be trained


def estimated_work(pack: Pack) -> int:
    """Return roughly how long a pack takes: the number of examples that its cells see."""
    return len(pack.cells) * pack.recipe.epochs * pack.split.train


class Queue:
    """The packs that no worker has been given, by program; the longest of each program first.

    The packs of an entry may be there once for each environment in which they could be trained. The
    first of them that is taken binds the entry to its environment, since a row of the board is of
    one environment: those for the others are dropped. The baseline, which each environment needs
    that has an entry, is held back in all but the home until an entry is bound there.

    Args:
        packs: to begin with.
        home: the environment that the run is planned for.
    """

    def __init__(self, packs: Iterable[Pack], home: str = "") -> None:
        #: program and environment -> its packs, the next one last
        self._waiting: dict[_Line, list[Pack]] = defaultdict(list)
        self._work: Counter[_Line] = Counter()  #: of all packs that wait, by program
        self._sizes: Counter[str] = Counter()  #: how many packs wait, by environment
        self._begun: set[str] = set()  #: regularizers of the packs that were taken
        self.home = home
        self._environments = {home}  #: of all packs so far
        self._bound: dict[str, str] = {}  #: entry -> the environment in which it is trained
        self.add(packs)

    def __len__(self) -> int:
        return self._sizes.total()

    def add(self, packs: Iterable[Pack]) -> None:
        """Add packs, which wait behind those of their programs that are as long.

        Those of an entry that is bound to another environment are left out.
        """
        added: dict[_Line, list[Pack]] = defaultdict(list)
        for pack in packs:
            entry, environment = self._entry(pack)
            if self._bound.get(entry, environment) == environment:
                added[self._line(pack)].append(pack)
                self._environments.add(environment)
                self._count(pack)
        for line, of_line in added.items():
            # the sort is stable: of equal packs the first given is the next one
            waiting = [*reversed(of_line), *self._waiting[line]]
            self._waiting[line] = sorted(waiting, key=estimated_work)
        if len(self._environments) > 1:
            self._drop_idle_baselines()

    def put_back(self, pack: Pack) -> None:
        """Add a pack that is to be tried again, as the next of its program."""
        self._waiting[self._line(pack)].append(pack)
        self._count(pack)

    def waits_for(self, environment: str) -> bool:
        """Tell whether packs wait that a worker of this environment may train, now or later."""
        return self._sizes[environment] > 0

    def _count(self, pack: Pack, sign: int = 1) -> None:
        """Note that a pack waits, or with -1 that it does not any more.

        To add up what waits at every `take` was most of a driver's work at 10 000 packs.
        """
        self._work[self._line(pack)] += sign * estimated_work(pack)
        self._sizes[pack.environment or self.home] += sign

    def _drop(self, line: _Line) -> None:
        for pack in self._waiting.pop(line):
            self._count(pack, -1)

    def bind(self, entry: str, environment: str) -> None:
        """Let an entry be trained in this environment only, unless it is bound already."""
        if entry in BASELINES or entry in self._bound:
            return
        self._bound[entry] = environment
        if len(self._environments) > 1:
            for line in list(self._waiting):
                if line[0][2] == entry and line[1] != environment:
                    self._drop(line)
            self._drop_idle_baselines()

    def _is_held_back(self, line: _Line) -> bool:
        """Tell whether it is a baseline that no entry needs yet."""
        return line[1] != self.home and self._is_idle(line)

    def _is_idle(self, line: _Line) -> bool:
        """Tell whether it is a baseline where no entry is bound."""
        (_, _, name), environment = line
        return name in BASELINES and environment not in self._bound.values()

    def _drop_idle_baselines(self) -> None:
        """Drop the baselines that no entry can need any more.

        The home's stays where there are no entries at all: it was asked for.
        """
        needed = set() if self._bound else {self.home}
        for (program, environment), packs in self._waiting.items():
            if packs and program[2] not in BASELINES:
                needed.add(environment)
        for line in list(self._waiting):
            if self._is_idle(line) and line[1] not in needed:
                self._drop(line)

    def take(
        self,
        compiled: Collection[ProgramId],
        busy: Collection[ProgramId],
        foreign_files: frozenset[str] | None = None,
        environment: str = "",
    ) -> Pack | None:
        """Remove and return the next pack of a worker, or None if there is none for it.

        The pack is of the plain network, which all rows are compared with, unless another worker
        is busy with it; else of a program that the worker has compiled. If none of these is left,
        it is of a program that no other worker is busy with, since each further worker compiles it
        again; else of any. Of several such programs, those of the control come first, then those
        of regularizers that were begun, so that rows get complete one after the other; then it is
        the one with most work left for each worker that would share it.

        Args:
            compiled: programs that this worker has compiled.
            busy: programs that other workers are busy with, one entry a worker.
            foreign_files: that this worker has imported; its packs need the same. None = none yet,
                so that every pack will do.
            environment: hash of the one that this worker has reported.
        """
        sharing = Counter(busy)
        lines: dict[ProgramId, _Line] = {}
        work_per_worker: dict[ProgramId, float] = {}
        for line, packs in self._waiting.items():
            program = line[0]
            if not packs or line[1] != environment or self._is_held_back(line):
                continue
            if foreign_files in (None, packs[-1].foreign_files):
                lines[program] = line
                work_per_worker[program] = self._work[line] / (1 + sharing[program])
        if not work_per_worker:
            return None
        familiar = [program for program in work_per_worker if program in compiled]
        unshared = [program for program in work_per_worker if program not in busy]
        plain = [program for program in unshared if program[2] == NONE]
        candidates = plain or familiar or unshared or work_per_worker

        def urgency(program: ProgramId) -> tuple[bool, bool, float]:
            name = program[2]
            return name in BASELINES, name in self._begun, work_per_worker[program]

        program = max(candidates, key=urgency)
        self._begun.add(program[2])
        pack = self._waiting[lines[program]].pop()
        self._count(pack, -1)
        self.bind(*self._entry(pack))
        return pack

    def _line(self, pack: Pack) -> _Line:
        return pack.program, pack.environment or self.home

    def _entry(self, pack: Pack) -> tuple[str, str]:
        return pack.program[2], pack.environment or self.home

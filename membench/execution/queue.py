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


def estimated_work(pack: Pack) -> int:
    """Return roughly how long a pack takes: the number of examples that its cells see."""
    return len(pack.cells) * pack.recipe.epochs * pack.split.train


class Queue:
    """The packs that no worker has been given, by program; the longest of each program first."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        #: program -> its packs, the next one last
        self._waiting: dict[ProgramId, list[Pack]] = defaultdict(list)
        self._work: Counter[ProgramId] = Counter()  #: of all packs that wait, by program
        self._size = 0  #: how many packs wait
        self._begun: set[str] = set()  #: regularizers of the packs that were taken
        self.add(packs)

    def __len__(self) -> int:
        return self._size

    def add(self, packs: Iterable[Pack]) -> None:
        """Add packs, which wait behind those of their programs that are as long."""
        by_program: dict[ProgramId, list[Pack]] = defaultdict(list)
        for pack in packs:
            by_program[pack.program].append(pack)
            self._count(pack)
        for program, added in by_program.items():
            # the sort is stable: of equal packs the first given is the next one
            waiting = [*reversed(added), *self._waiting[program]]
            self._waiting[program] = sorted(waiting, key=estimated_work)

    def put_back(self, pack: Pack) -> None:
        """Add a pack that is to be tried again, as the next of its program."""
        self._waiting[pack.program].append(pack)
        self._count(pack)

    def _count(self, pack: Pack, sign: int = 1) -> None:
        """Note that a pack waits, or with -1 that it does not any more.

        To add up what waits at every `take` was most of a driver's work at 10 000 packs.
        """
        self._work[pack.program] += sign * estimated_work(pack)
        self._size += sign

    def take(
        self,
        compiled: Collection[ProgramId],
        busy: Collection[ProgramId],
        foreign_files: frozenset[str] | None = None,
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
        """
        sharing = Counter(busy)
        work_per_worker: dict[ProgramId, float] = {}
        for program, packs in self._waiting.items():
            if packs and foreign_files in (None, packs[-1].foreign_files):
                work_per_worker[program] = self._work[program] / (1 + sharing[program])
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
        pack = self._waiting[program].pop()
        self._count(pack, -1)
        return pack

"""Which pack next: workers keep to programs that they have compiled, and end together. Pure; the pool asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterable

from membench.planning.packs import Pack

ProgramKey = tuple[str, str, str]


def estimated_work(pack: Pack) -> int:
    """How long a pack takes, roughly and in no unit: examples that its cells see."""
    return len(pack.cells) * pack.recipe.epochs * pack.split.train


class Queue:
    """Packs that no worker has, by program, the longest first."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        self._waiting: dict[ProgramKey, list[Pack]] = defaultdict(list)
        for pack in packs:
            self._waiting[pack.program].append(pack)
        for (
            waiting
        ) in self._waiting.values():  # the next one is the last; of equal ones the first given
            waiting.reverse()
            waiting.sort(key=estimated_work)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put_back(self, pack: Pack) -> None:
        """A pack that is to be tried again, next."""
        self._waiting[pack.program].append(pack)

    def take(self, compiled: Collection[ProgramKey], busy: Collection[ProgramKey]) -> Pack | None:
        """The next pack of a worker that has compiled these programs, while others work on `busy` ones.

        One of its own programs; else of the one with most work left that nobody has, since every further worker must
        compile it again; else of the one with most work left for each who would share it.
        """
        left = {
            program: sum(map(estimated_work, packs))
            for program, packs in self._waiting.items()
            if packs
        }
        if not left:
            return None
        own = [program for program in left if program in compiled]
        free = [program for program in left if program not in busy]
        share = {program: left[program] / (1 + list(busy).count(program)) for program in left}
        return self._waiting[max(own or free or left, key=share.__getitem__)].pop()

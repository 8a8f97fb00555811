"""What a plan asks of the world beside plugins: data sets, and whether a regularizer can act on a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from membench.api import Architecture
from membench.api import Net
from membench.data import arrays_digest
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.records import digest
from membench.registry.cache import SkipCache
from membench.registry.cache import file_stamp
from membench.registry.discovery import PluginProblem
from membench.registry.registry import Registry
from membench.text import explain

NETWORK = Path(__file__).parents[1] / "engine" / "network.py"  #: describes networks to `skip`

#: (architecture, [c, h, w], number of classes) -> the network as `skip` sees it
Inspect = Callable[[Architecture, tuple[int, int, int], int], Net]


class DatasetLoader:
    """The data sets, each loaded once. For a plan that is only shown none is `needed`: what is not at hand is noted."""

    def __init__(self, found: Registry, folder: Path | None, needed: bool = True) -> None:
        self.needed = needed
        self.notes: dict[str, str] = {}  #: data set -> how to get it
        self.arrays = cache(lambda name: load_arrays(found.dataset(name), folder))

    def hash(self, name: str) -> str:
        """SHA-256 of its arrays, "" if it is not at hand."""
        return arrays_digest(self.arrays(name)) if self.is_available(name) else ""

    def is_available(self, name: str) -> bool:
        """Raises `MembenchError` if it is not, and needed."""
        try:
            return self.arrays(name) is not None
        except MembenchError as error:
            if self.needed or not isinstance(error.__cause__, FileNotFoundError):
                raise
            self.notes[name] = str(error)
            return False


class SkipAnswers:
    """Asks `skip` of each part; only an answer that is not remembered costs a network, and torch.

    A regularizer whose `skip` raises is left out with that as the reason, and is one of the `problems`.
    """

    def __init__(self, found: Registry, data: DatasetLoader, inspect: Inspect) -> None:
        self.found, self.data, self.inspect = found, data, inspect
        self.known = SkipCache.open()
        self.problems: list[PluginProblem] = []

    def __call__(self, dataset: str, architecture: str, regularizer: str) -> str | None:
        if not self.data.is_available(dataset):
            return None
        arrays = self.data.arrays(dataset)
        shape = tuple(arrays.x.shape[1:])
        asked = (
            self.found.entry("architectures", architecture),
            self.found.entry("regularizers", regularizer),
        )
        code = [[entry.name, entry.code_hash, entry.version] for entry in asked]
        key = digest([code, shape, arrays.num_classes, file_stamp(NETWORK)])
        if key not in self.known:
            net = self._net(architecture, shape, arrays.num_classes)
            try:
                self.known.put(key, self._ask(regularizer, net))
            except Exception as error:  # whatever a stranger's code raises
                reason = f"its skip raised {explain(error)}"
                self.problems.append(
                    PluginProblem(asked[1].origin, f"{regularizer} is left out: {reason}")
                )
                return reason
        return self.known.get(key)

    def _net(self, architecture: str, shape: tuple[int, int, int], num_classes: int) -> Net:
        """Raises `MembenchError`, which names the architecture, if it cannot be built for such data."""
        try:
            return self.inspect(self.found.architecture(architecture), shape, num_classes)
        except MembenchError:
            raise
        except Exception as error:
            sizes = f"inputs {list(shape)} and {num_classes} classes"
            raise MembenchError(
                f"architecture {architecture!r} cannot take {sizes}: {explain(error)}"
            ) from error

    def _ask(self, regularizer: str, net: Net) -> str | None:
        for part in self.found.regularizer(regularizer):
            reason = part.skip(net) if part.skip else None
            if reason is not None:
                return str(reason)
        return None

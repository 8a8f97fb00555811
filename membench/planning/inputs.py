"""The inputs of a plan beside the registry: data sets, and where regularizers can act."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import membench
from membench.api import Architecture
from membench.api import Arrays
from membench.api import Net
from membench.data import arrays_digest
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.records import digest
from membench.registry.cache import SkipCache
from membench.registry.discovery import PluginProblem
from membench.registry.local_files import file_stamp
from membench.registry.registry import Registry
from membench.text import explain

#: The module that describes networks to `skip`: its answers are forgotten when it changes.
NETWORK = Path(membench.__file__).parent / "engine" / "network.py"

#: (architecture, (channels, height, width), number of classes) -> the network as `skip` sees it
Inspect = Callable[[Architecture, tuple[int, int, int], int], Net]


class DatasetLoader:
    """The data sets, each loaded once.

    Args:
        registry: gives the data sets.
        folder: where downloaded data sets are; None = the default folder.
        needed: whether a missing data set is an error. A plan that is only shown needs none: what
            is missing is then told in `notes`.
    """

    def __init__(self, registry: Registry, folder: Path | None, needed: bool = True) -> None:
        self.registry = registry
        self.folder = folder
        self.needed = needed
        self.notes: dict[str, str] = {}  #: missing data set -> how to get it
        self._arrays: dict[str, Arrays] = {}

    def arrays(self, name: str) -> Arrays:
        """Return a data set.

        Raises:
            MembenchError: it is missing (a `FileNotFoundError` is the cause), or its arrays are
                invalid.
        """
        if name not in self._arrays:
            self._arrays[name] = load_arrays(self.registry.dataset(name), self.folder)
        return self._arrays[name]

    def hash(self, name: str) -> str:
        """Return SHA-256 of the data set's arrays, in hex; "" if it is missing and not needed."""
        return arrays_digest(self.arrays(name)) if self.is_available(name) else ""

    def image_size(self, name: str) -> tuple[tuple[int, int, int], int] | None:
        """Return a data set's image shape [c, h, w] and number of classes.

        The data set's own statement comes before its arrays; None if it has neither here.
        """
        dataset = self.registry.dataset(name)
        if dataset.shape and dataset.num_classes:
            return dataset.shape, dataset.num_classes
        if not self.is_available(name):
            return None
        arrays = self.arrays(name)
        channels, height, width = arrays.x.shape[1:]
        return (channels, height, width), arrays.num_classes

    def is_available(self, name: str) -> bool:
        """Say whether the data set can be loaded; if it is missing, `notes` says how to get it.

        Raises:
            MembenchError: it is missing and needed, or its arrays are invalid.
        """
        try:
            self.arrays(name)
        except MembenchError as error:
            if self.needed or not isinstance(error.__cause__, FileNotFoundError):
                raise
            self.notes[name] = str(error)
            return False
        return True


class SkipAnswers:
    """The answers of `skip`; only one that is not remembered costs a network, and torch.

    A regularizer whose `skip` raises is left out with that as the reason, and is one of the
    `problems`.
    """

    def __init__(self, registry: Registry, data: DatasetLoader, inspect: Inspect) -> None:
        self.registry = registry
        self.data = data
        self.inspect = inspect
        self.problems: list[PluginProblem] = []
        self._cache = SkipCache.open()

    def reason(self, dataset: str, architecture: str, regularizer: str) -> str | None:
        """Return why the regularizer cannot act there; None if it can, or if that is not known.

        Args:
            dataset: name of the data set, which gives the shape of the inputs.
            architecture: name of the architecture.
            regularizer: name of the regularizer, or of a composition.
        """
        size = self.data.image_size(dataset)
        if size is None:
            return None
        shape, num_classes = size
        plugins = (
            self.registry.entry("architectures", architecture),
            self.registry.entry("regularizers", regularizer),
        )
        code = [[plugin.name, plugin.code_hash, plugin.version] for plugin in plugins]
        key = digest([code, shape, num_classes, file_stamp(NETWORK)])
        if key in self._cache:
            return self._cache.get(key)
        net = self._inspect_network(architecture, shape, num_classes)
        try:
            answer = self._ask(regularizer, net)
        except Exception as error:  # a foreign function may raise anything
            reason = f"its skip raised {explain(error)}"
            message = f"{regularizer} is left out: {reason}"
            self.problems.append(PluginProblem(plugins[1].origin, message))
            return reason
        self._cache.put(key, answer)
        return answer

    def _ask(self, regularizer: str, net: Net) -> str | None:
        """Return the first reason that a part of the regularizer gives."""
        for part in self.registry.regularizer(regularizer):
            reason = part.skip(net) if part.skip else None
            if reason is not None:
                return str(reason)
        return None

    def _inspect_network(
        self, architecture: str, shape: tuple[int, int, int], num_classes: int
    ) -> Net:
        """Describe the network to `skip`.

        Raises:
            MembenchError: the architecture cannot be built for such data.
        """
        try:
            return self.inspect(self.registry.architecture(architecture), shape, num_classes)
        except MembenchError:
            raise
        except Exception as error:  # a foreign function may raise anything
            sizes = f"inputs {list(shape)} and {num_classes} classes"
            raise MembenchError(
                f"architecture {architecture!r} cannot take {sizes}: {explain(error)}"
            ) from error

"""The inputs of a plan beside the registry: data sets, and where regularizers can act.

What ships is called here. Strangers' plugins are asked through `Strangers`, where a command has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import membench
from membench.api import Architecture
from membench.api import Arrays
from membench.api import Net
from membench.api import Recipe
from membench.api import Split
from membench.data import RunData
from membench.data import arrays_digest
from membench.data import draw_run
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.records import digest
from membench.records import parse_signal
from membench.registry.cache import SkipCache
from membench.registry.discovery import PluginProblem
from membench.registry.entry import PluginEntry
from membench.registry.loading import load_records
from membench.registry.local_files import file_stamp
from membench.registry.registry import Registry
from membench.text import explain
from membench.text import short

#: The module that describes networks to `skip`: its answers are forgotten when it changes.
NETWORK = Path(membench.__file__).parent / "engine" / "network.py"

ImageSize = tuple[tuple[int, int, int], int]  #: (channels, height, width), number of classes
#: (architecture, (channels, height, width), number of classes) -> the network as `skip` sees it
Inspect = Callable[[Architecture, tuple[int, int, int], int], Net]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a plan must know of a data set."""

    digest: str  #: SHA-256 of its arrays, in hex
    arrays: Arrays  #: as many images and labels of each class, without content and in no order


@dataclass(frozen=True, kw_only=True)
class RunOutline:
    """What the records of a run must agree with in the data that its seed and signal draw."""

    digest: str  #: SHA-256 of the data, in hex
    wrong: NDArray[np.bool_]  #: [n] training labels that are not the real ones
    label_share: float  #: the largest share of a label among those of training
    commonest: int  #: how many test images have their commonest label


def outline_run(run: RunData) -> RunOutline:
    """Return the outline of a run's data."""
    return RunOutline(
        digest=run.digest,
        wrong=run.wrong,
        label_share=float(np.bincount(run.train.y).max() / len(run.train.y)),
        commonest=int(np.bincount(run.test.y).max()),
    )


class SkipError(Exception):
    """A regularizer's `skip` gave no answer: it raised, or ended its process."""


class Strangers(Protocol):
    """Plugins that do not ship, as a plan asks them; it imports none (`execution/strangers.py`)."""

    def outline(self, dataset: PluginEntry) -> Outline:
        """Return the outline of a data set.

        Raises:
            MembenchError: it is missing (a `FileNotFoundError` is the cause), or is none.
        """

    def skip_reason(
        self, architecture: PluginEntry, regularizer: PluginEntry, size: ImageSize
    ) -> str | None:
        """Return why a regularizer cannot act in a network; None if it can.

        Raises:
            SkipError: it does not say.
            MembenchError: the network cannot be built.
        """

    def draw(
        self,
        dataset: PluginEntry,
        signal: PluginEntry,
        name: str,
        split: Split,
        task: str,
        seed: int,
    ) -> RunOutline:
        """Apply a signal to a data set, so that what it lacks is told.

        Args:
            dataset: the data set.
            signal: the signal.
            name: of the signal, with its level.
            split: of the task.
            task: as in "mnist5k/mlp".
            seed: of the images.

        Raises:
            MembenchError: it refuses the data set, or lacks a file (a `FileNotFoundError` is the
                cause).
        """

    def products(
        self, architecture: PluginEntry, optimizer: PluginEntry, recipe: Recipe, size: ImageSize
    ) -> list[list[int]]:
        """Return the matrix products of a plain step: batch, m, k, n, which are transposed, count.

        Raises:
            MembenchError: there is no such step.
            ValueError: a size is none.
        """


class DatasetLoader:
    """The data sets, each loaded once.

    Args:
        registry: gives the data sets.
        folder: where downloaded data sets are; None = the default folder.
        needed: whether a missing data set is an error. A plan that is only shown needs none: what
            is missing is then told in `notes`.
        strangers: asked for data sets that do not ship; None: these are loaded here too.
    """

    def __init__(
        self,
        registry: Registry,
        folder: Path | None,
        needed: bool = True,
        strangers: Strangers | None = None,
    ) -> None:
        self.registry = registry
        self.folder = folder
        self.needed = needed
        self.strangers = strangers
        self.notes: dict[str, str] = {}  #: missing data set -> how to get it
        self._arrays: dict[str, Arrays] = {}
        self._hashes: dict[str, str] = {}

    def arrays(self, name: str) -> Arrays:
        """Return a data set; of a stranger's that was asked for, its outline.

        Raises:
            MembenchError: it is missing (a `FileNotFoundError` is the cause), or its arrays are
                invalid.
        """
        if name not in self._arrays:
            entry = self.registry.entry("datasets", name)
            if self.strangers is not None and entry.foreign_files:
                outline = self.strangers.outline(entry)
                self._arrays[name], self._hashes[name] = outline.arrays, outline.digest
            else:
                self._arrays[name] = load_arrays(self.registry.dataset(name), self.folder)
        return self._arrays[name]

    def hash(self, name: str) -> str:
        """Return SHA-256 of the data set's arrays, in hex; "" if it is missing and not needed."""
        if not self.is_available(name):
            return ""
        if name not in self._hashes:
            self._hashes[name] = arrays_digest(self._arrays[name])
        return self._hashes[name]

    def image_size(self, name: str) -> ImageSize | None:
        """Return a data set's image shape [c, h, w] and number of classes.

        The data set's own statement comes before its arrays; None if it has neither here.
        """
        entry = self.registry.entry("datasets", name)
        if entry.shape and entry.num_classes:
            channels, height, width = entry.shape
            return (channels, height, width), entry.num_classes
        if not self.is_available(name):
            return None
        arrays = self.arrays(name)
        channels, height, width = arrays.x.shape[1:]
        return (channels, height, width), arrays.num_classes

    def draw(self, split: Split, signal: str, task: str, seed: int) -> RunOutline:
        """Draw the data of a run.

        Args:
            split: of the task.
            signal: with its level, as in "mixed@0.4".
            task: as in "mnist5k/mlp".
            seed: of the run.

        Raises:
            MembenchError: the data set or a file of the signal is missing (a `FileNotFoundError` is
                the cause), or the signal refuses the data set.
        """
        name = task.partition("/")[0]
        plugins = self.registry.entry("datasets", name), self.registry.signal_entry(signal)
        if self.strangers is not None and any(plugin.foreign_files for plugin in plugins):
            return self.strangers.draw(*plugins, signal, split, task, seed)
        arrays, record = self.arrays(name), self.registry.signal(signal)
        level = parse_signal(signal)[1]
        return outline_run(draw_run(arrays, split, record, level, task, seed, self.folder))

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

    Those that strangers' plugins have a say in are asked for where those of `data` are.

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
        plugins = (
            self.registry.entry("architectures", architecture),
            self.registry.entry("regularizers", regularizer),
        )
        code = [[plugin.name, plugin.code_hash, plugin.version] for plugin in plugins]
        key = digest([code, *size, file_stamp(NETWORK)])
        if key in self._cache:
            return self._cache.get(key)
        try:
            answer = self._ask(*plugins, size)
        except SkipError as error:
            message = f"{regularizer} is left out: {error}"
            self.problems.append(PluginProblem(plugins[1].origin, message))
            return str(error)
        self._cache.put(key, answer)
        return answer

    def _ask(
        self, architecture: PluginEntry, regularizer: PluginEntry, size: ImageSize
    ) -> str | None:
        strangers = self.data.strangers
        runs_foreign = architecture.foreign_files or any(
            part.has_skip and part.foreign_files for part in regularizer.members or (regularizer,)
        )
        if strangers is not None and runs_foreign:
            return strangers.skip_reason(architecture, regularizer, size)
        return skip_reason(self.registry, self.inspect, architecture.name, regularizer.name, size)


def skip_reason(
    registry: Registry, inspect: Inspect, architecture: str, regularizer: str, size: ImageSize
) -> str | None:
    """Return the first reason why a part of a regularizer cannot act; None if all can.

    Only plugins that are called are imported: the architecture, and the parts that have a `skip`.

    Args:
        registry: gives both.
        inspect: describes the network.
        architecture: name of the architecture.
        regularizer: name of the regularizer, or of a composition.
        size: of the inputs, and the number of classes.

    Raises:
        SkipError: `skip` raised.
        MembenchError: the architecture cannot be built for such data.
    """
    net = _inspect_network(registry.architecture(architecture), inspect, size)
    entry = registry.with_composition(regularizer, full=True).entry("regularizers", regularizer)
    for part in entry.members or (entry,):
        if not part.has_skip:
            continue
        try:
            (record,) = load_records(part)
            reason = record.skip(net)
        except Exception as error:  # a foreign function may raise anything
            raise SkipError(f"its skip raised {explain(error)}") from error
        if reason is not None:
            return short(reason)
    return None


def _inspect_network(architecture: Architecture, inspect: Inspect, size: ImageSize) -> Net:
    """Describe the network to `skip`.

    Raises:
        MembenchError: the architecture cannot be built for such data.
    """
    try:
        return inspect(architecture, *size)
    except MembenchError:
        raise
    except Exception as error:  # a foreign function may raise anything
        sizes = f"inputs {list(size[0])} and {size[1]} classes"
        raise MembenchError(
            f"architecture {architecture.name!r} cannot take {sizes}: {explain(error)}"
        ) from error

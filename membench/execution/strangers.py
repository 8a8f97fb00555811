"""Ask plugins that do not ship what planning must know of them, in processes of their own.

To plan, a command needs a data set's hash, the answers of `skip`, and the like. Strangers' code
that gives them runs in a child, one for the files of each question, in a sandbox if there is one.
It may exit, crash or hang; what it answers is checked here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from membench.api import Arrays
from membench.api import Recipe
from membench.api import Split
from membench.data import unpack_bits
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution import answers
from membench.execution.process import ChildProcess
from membench.execution.process import wait_for_news
from membench.execution.sandbox import Sandbox
from membench.planning.inputs import Outline
from membench.planning.inputs import RunOutline
from membench.planning.inputs import SkipError
from membench.registry.apart import TIME_LIMIT
from membench.registry.apart import Reading
from membench.registry.apart import could_not_read
from membench.registry.apart import reading_of
from membench.registry.discovery import PluginSource
from membench.registry.entry import PluginEntry
from membench.registry.local_files import read_plugin_files
from membench.text import one_line
from membench.text import printable
from membench.text import short

ANSWER_SECONDS = 600.0  #: a large data set takes minutes to load
_MOST_IMAGES = 100_000_000
_MOST_CLASSES = 100_000
_LARGEST_SIDE = 100_000  #: of an image, or number of channels

_Key = tuple[PluginSource, ...]


class _ChildEndedError(MembenchError):
    """A child has ended without an answer."""

    def __init__(self, names: str, reason: str) -> None:
        super().__init__(f"{names}: its process ends: {reason}", ExitCode.FAILED)
        self.reason = reason


class StrangersApart:
    """The children that answer, as the command sees them; end them with `close`.

    Args:
        sandbox: where they live; None: where the command does.
        data_folder: of the data sets; None = the default.
    """

    #: the program of a child: the module that is started, and its function that a fork calls
    module = answers.__name__
    main: Callable[[int], None] = staticmethod(answers.main)

    def __init__(self, sandbox: Sandbox | None = None, data_folder: Path | None = None) -> None:
        self._sandbox = sandbox
        self.data_folder = data_folder
        self._children: dict[_Key, ChildProcess] = {}

    @property
    def _folder(self) -> str | None:
        return None if self.data_folder is None else str(self.data_folder)

    def read(self, source: PluginSource) -> Reading:
        """Return what a file registers, read in a sandbox, as `read_apart` does without one."""
        files = [str(source.path)]
        with suppress(OSError, SyntaxError, ValueError, RecursionError):  # reading it says why
            read = read_plugin_files(source.path)
            files += [str(read.folder / helper) for helper in read.helpers]
        try:
            return reading_of(self._ask([source], files, "describe", TIME_LIMIT), source)
        except MembenchError as error:
            return [], [could_not_read(source, str(error))]
        finally:
            self._end((source,))  # it has imported the file; questions begin anew

    def outline(self, dataset: PluginEntry) -> Outline:
        """Return the outline of a data set.

        Raises:
            MembenchError: it is missing (a `FileNotFoundError` is the cause), or is none.
        """
        said = self._ask_entries([dataset], "outline", dataset=dataset.name, folder=self._folder)
        try:
            return _outline(**said)
        except (TypeError, ValueError) as error:
            raise MembenchError(f"data set {dataset.name!r}: {short(error)}") from error

    def skip_reason(
        self,
        architecture: PluginEntry,
        regularizer: PluginEntry,
        size: tuple[tuple[int, int, int], int],
    ) -> str | None:
        """Return why a regularizer cannot act in a network; None if it can.

        Raises:
            SkipError: it does not say.
            MembenchError: the network cannot be built.
        """
        try:
            said = self._ask_entries(
                [architecture, regularizer],
                "skip",
                architecture=architecture.name,
                regularizer=regularizer.name,
                shape=size[0],
                classes=size[1],
            )
        except _ChildEndedError as error:
            if architecture.foreign_files:  # it may have been the network
                raise
            raise SkipError(f"its skip ends its process: {error.reason}") from error
        return None if said is None else one_line(said)

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

        Raises:
            MembenchError: it refuses the data set, or lacks a file (a `FileNotFoundError` is the
                cause).
        """
        said = self._ask_entries(
            [dataset, signal],
            "draw",
            signal=name,
            split=asdict(split),
            task=task,
            seed=seed,
            folder=self._folder,
        )
        try:
            return _run_outline(split, **said)
        except (TypeError, ValueError) as error:
            raise MembenchError(f"{dataset.name!r} under {name!r}: {short(error)}") from error

    def products(
        self,
        architecture: PluginEntry,
        optimizer: PluginEntry,
        recipe: Recipe,
        size: tuple[tuple[int, int, int], int],
    ) -> list[list[int]]:
        """Return the matrix products of a plain step: batch, m, k, n, which are transposed, count.

        Raises:
            MembenchError: there is no such step.
            ValueError: a size is none.
        """
        said = self._ask_entries(
            [architecture, optimizer],
            "products",
            architecture=architecture.name,
            recipe=asdict(recipe),
            shape=size[0],
            classes=size[1],
        )
        products = []
        for batch, m, k, n, first, second, count in said:
            sizes = [_size(value, _MOST_IMAGES) for value in (batch, m, k, n)]
            products.append([*sizes, bool(first), bool(second), _size(count, _MOST_IMAGES)])
        return products

    def close(self) -> None:
        """Leave no child."""
        for key in list(self._children):
            self._end(key)

    def _end(self, key: _Key) -> None:
        child = self._children.pop(key, None)
        if child is not None:
            child.close()

    def _ask_entries(self, entries: Iterable[PluginEntry], question: str, **arguments: Any) -> Any:
        """Ask the plugins among some that do not ship."""
        sources: dict[PluginSource, None] = {}
        files: dict[str, None] = {}
        study = ""
        for entry in entries:
            for part in entry.members or (entry,):
                study = study or part.study
                if part.foreign_files and part.plugin_source is not None:
                    sources[part.plugin_source] = None
                    files.update(dict.fromkeys(part.foreign_files))
        return self._ask(
            list(sources), list(files), question, ANSWER_SECONDS, arguments, study=study
        )

    def _ask(
        self,
        sources: Sequence[PluginSource],
        files: Sequence[str],
        question: str,
        seconds: float,
        arguments: Mapping[str, Any] | None = None,
        study: str = "",
    ) -> Any:
        """Return the answer to a question.

        Raises:
            SkipError: `skip` raised.
            MembenchError: another error, or none came in time.
        """
        key = tuple(sources)
        if key not in self._children:
            self._children[key] = self._start(sources, files)
        child = self._children[key]
        child.set_time_limit(seconds)
        asked = {"question": question, "arguments": dict(arguments or {}), "study": study}
        child.send(json.dumps(asked).encode() + b"\n")
        answer = _wait_for_answer(child)
        for line in child.output.splitlines():
            print(printable(line), file=sys.stderr)
        child.output = ""
        if answer is None:
            reason = child.exit_reason
            self._end(key)
            names = ", ".join(source.label for source in sources)
            raise _ChildEndedError(names, reason)
        return _value(answer)

    def _start(self, sources: Sequence[PluginSource], files: Sequence[str]) -> ChildProcess:
        if self._sandbox is None and "torch" in sys.modules:  # it takes a child seconds to import
            child = ChildProcess.fork(
                self.main, message_kinds=answers.ANSWER_MESSAGES, time_limit=ANSWER_SECONDS
            )
        else:
            child = self._spawn(sources, files)
        said = [{**asdict(source), "path": str(source.path)} for source in sources]
        child.send(json.dumps(said).encode() + b"\n")
        return child

    def _spawn(self, sources: Sequence[PluginSource], files: Sequence[str]) -> ChildProcess:
        program = [sys.executable, "-m", self.module]
        environ: Mapping[str, str] = dict(os.environ)
        if self._sandbox is not None:
            environ = self._sandbox.environ(environ, sources)

        def command(message_fd: int) -> list[str]:
            words = [*program, str(message_fd)]
            if self._sandbox is None:
                return words
            return self._sandbox.command(words, sources, files)

        return ChildProcess.spawn(
            command,
            environ=environ,
            message_kinds=answers.ANSWER_MESSAGES,
            time_limit=ANSWER_SECONDS,
        )


def _wait_for_answer(child: ChildProcess) -> dict[str, Any] | None:
    """Return the next message of a child; None if it ends or is killed before."""
    while True:
        for message in child.receive():
            return message
        if not child.alive:
            return None
        wait_for_news([child])
        child.flush()
        child.kill_if_overdue()


def _value(answer: Mapping[str, Any]) -> Any:
    """Return the value of an answer, or raise what it says."""
    if "raised" in answer:
        raise SkipError(short(answer["raised"]))
    if "error" not in answer:
        return answer.get("value")
    try:
        code = ExitCode(answer.get("code", ExitCode.FAILED))
    except ValueError:
        code = ExitCode.FAILED
    cause = FileNotFoundError() if answer.get("missing") is True else None
    raise MembenchError(short(answer["error"], 1000), code) from cause


def _outline(digest: Any, shape: Any, counts: Any, test: Any) -> Outline:
    """Return an outline, if it is one.

    Raises:
        TypeError, ValueError: it is none.
    """
    _check_digest(digest)
    channels, height, width = (_size(side, _LARGEST_SIDE) for side in shape)
    x, y = _outlined(counts, (channels, height, width))
    arrays = Arrays(x=x, y=y, num_classes=len(counts))
    if test is not None:
        arrays = Arrays(x=x, y=y, num_classes=len(counts), test=_outlined(test, x.shape[1:]))
    return Outline(digest=digest, arrays=arrays)


def _run_outline(
    split: Split, digest: Any, wrong: Any, label_share: Any, commonest: Any
) -> RunOutline:
    """Return the outline of a run, if it is one.

    Raises:
        TypeError, ValueError: it is none.
    """
    _check_digest(digest)
    bits = unpack_bits(wrong, split.train)
    if bits is None:
        raise ValueError("its wrong labels are not as many as it has")
    if type(label_share) is not float or not 0 < label_share <= 1:
        raise ValueError(f"it has a share of {short(label_share, 20)}")
    return RunOutline(
        digest=digest,
        wrong=bits,
        label_share=label_share,
        commonest=_size(commonest, split.test),
    )


def _check_digest(digest: Any) -> None:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("it has no hash")


def _outlined(counts: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return images without content, which take no memory, and labels, as many as there are.

    Args:
        counts: of the images of each class.
        shape: of an image.
    """
    if not isinstance(counts, list) or not 0 < len(counts) <= _MOST_CLASSES:
        raise ValueError("it has no classes, or too many")
    numbers = [_size(count, _MOST_IMAGES) if count else 0 for count in counts]
    if sum(numbers) > _MOST_IMAGES:
        raise ValueError("it has too many images")
    y = np.repeat(np.arange(len(numbers)), numbers)
    return np.broadcast_to(np.zeros((), np.uint8), (len(y), *shape)), y


def _size(value: Any, most: int) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"it has a size of {short(value, 20)}")
    return value

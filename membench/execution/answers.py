"""The process that answers what planning asks of strangers' plugins; `strangers.py` starts it.

It reads lines of JSON from its standard input: first the plugins, then questions. It imports a file
when a question needs it, and answers with a message that holds plain data.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from membench.api import Recipe
from membench.api import Split
from membench.data import pack_bits
from membench.errors import MembenchError
from membench.execution.protocol import MAX_MESSAGE
from membench.execution.protocol import send
from membench.planning.inputs import DatasetLoader
from membench.planning.inputs import SkipError
from membench.planning.inputs import skip_reason
from membench.registry.apart import describe_reading
from membench.registry.apart import read_guarded
from membench.registry.discovery import PluginSource
from membench.registry.discovery import shipped_sources
from membench.registry.registry import Registry
from membench.registry.registry import read_registry
from membench.text import explain

ANSWER_MESSAGES = ("answer",)


class Answers:
    """The questions, one a method; their arguments and what they return are JSON-ready.

    Args:
        sources: of the strangers' plugins.
    """

    def __init__(self, sources: Iterable[PluginSource]) -> None:
        self.study = ""  #: whose private records the next question sees
        self._sources = list(sources)
        self._loaders: dict[str, DatasetLoader] = {}  #: by `study`

    @cached_property
    def _all(self) -> Registry:
        """What ships and these plugins, by name."""
        return read_registry([*shipped_sources(), *self._sources])

    @property
    def _registry(self) -> Registry:
        return self._all.for_study(self.study) if self.study else self._all

    def _datasets(self, folder: str | None) -> DatasetLoader:
        """Return the data sets; the folder is that of the command, the same at each question."""
        if self.study not in self._loaders:
            place = Path(folder) if folder else None
            self._loaders[self.study] = DatasetLoader(self._registry, place)
        return self._loaders[self.study]

    def describe(self) -> Any:
        """Return what is registered in the file, as `reading_of` takes it."""
        (source,) = self._sources
        return describe_reading(read_guarded(source))

    def outline(self, dataset: str, folder: str | None) -> dict[str, Any]:
        """Return the sizes of a data set, how many images a class has, and its arrays' hash."""
        datasets = self._datasets(folder)
        arrays = datasets.arrays(dataset)
        test = None if arrays.test is None else _class_counts(arrays.test[1], arrays.num_classes)
        return {
            "digest": datasets.hash(dataset),
            "shape": list(arrays.x.shape[1:]),
            "counts": _class_counts(arrays.y, arrays.num_classes),
            "test": test,
        }

    def skip(self, architecture: str, regularizer: str, shape: list[int], classes: int) -> Any:
        """Return why a regularizer cannot act in a network, None if it can."""
        from membench.engine.network import inspect_network

        channels, height, width = shape
        size = (channels, height, width), classes
        return skip_reason(self._registry, inspect_network, architecture, regularizer, size)

    def draw(
        self, signal: str, split: dict[str, Any], task: str, seed: int, folder: str | None
    ) -> dict[str, Any]:
        """Apply a signal to the images of a seed, and return the outline of the result."""
        run = self._datasets(folder).draw(Split(**split), signal, task, seed)
        return {**asdict(run), "wrong": pack_bits(run.wrong)}

    def products(
        self, architecture: str, recipe: dict[str, Any], shape: list[int], classes: int
    ) -> list[Any]:
        """Return the matrix products of a plain step, and how many there are of each."""
        from membench.engine.matmul_trial import plain_products

        channels, height, width = shape
        resolved = Recipe(**recipe)
        counts = plain_products(
            self._registry.architecture(architecture),
            resolved,
            self._registry.optimizer(resolved.optimizer),
            (channels, height, width),
            classes,
        )
        return [[p.batch, p.m, p.k, p.n, *p.transposed, count] for p, count in counts.items()]


def _class_counts(y: Any, num_classes: int) -> list[int]:
    return [int(count) for count in np.bincount(y, minlength=num_classes)]


def _answer(question: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the answer as a message holds it, or what went wrong instead."""
    try:
        answer = {"value": question(**arguments)}
        if len(json.dumps(answer)) > MAX_MESSAGE // 2:
            return {"error": "it says too much"}
        return answer
    except SkipError as error:
        return {"raised": str(error)}
    except MembenchError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        return {"error": str(error), "code": int(error.code), "missing": is_missing}
    except BaseException as error:  # foreign code may raise anything, and exit
        return {"error": explain(error)}


def main(message_fd: int, make: Callable[[list[PluginSource]], Answers] = Answers) -> None:
    """Answer until the input ends, in a process of its own or in a fork of the command's.

    Args:
        message_fd: where the answers go.
        make: the answers of plugins.
    """
    os.set_inheritable(message_fd, False)
    if "torch" in sys.modules:  # a fork has no other threads, which torch would wait for
        sys.modules["torch"].set_num_threads(1)
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sources = []
    for source in json.loads(questions.readline()):
        sources.append(PluginSource(**{**source, "path": Path(source["path"])}))
    answers = make(sources)
    for line in questions:
        question = json.loads(line)
        answers.study = question["study"]
        answer = _answer(getattr(answers, question["question"]), question["arguments"])
        sys.stdout.flush()
        send(message_fd, "answer", **answer)
    os._exit(0)  # threads of plugins have no say in it


if __name__ == "__main__":
    main(int(sys.argv[1]))

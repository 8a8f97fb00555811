"""`membench data`: download data sets and the files of signals, and verify those that are here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import DownloadColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.progress import TransferSpeedColumn
from rich.text import Text

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Signal
from membench.commands import session
from membench.commands.columns import print_columns
from membench.commands.list import report_problems
from membench.data import arrays_digest
from membench.data import data_folder
from membench.data import load_arrays
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.files import disk_errors
from membench.registry.registry import Registry
from membench.rng import Draws
from membench.text import one_line

NOTE = "arrays.sha256"  #: file beside a downloaded data set: the hash of the arrays it was read as
STATE_STYLES = {"whole": "green", "absent": "yellow", "damaged": "red"}


@dataclass(frozen=True, kw_only=True)
class DataStatus:
    """A data set, or the files of a signal, as they are on this machine."""

    name: str
    state: str  #: "whole", "absent" or "damaged"
    text: str  #: what is there, or what to do
    digest: str = ""  #: SHA-256 of the arrays; "" if they cannot be read, and of signals


def data(options: argparse.Namespace) -> int:
    """Refuse `membench data` without an action."""
    del options
    raise MembenchError("say what to do: membench data fetch NAME, or membench data verify")


def fetch(options: argparse.Namespace) -> int:
    """Download each named data set, or the files of a signal, that is not whole.

    Returns:
        0; 1 if plugins could not be read.

    Raises:
        MembenchError: one is not to download, or its download failed. Those named after it are not
            tried.
    """
    registry = session.load_registry(options)
    folder = options.data_dir or data_folder()
    for record in _named(registry, options.names):
        status = _status(record, folder)
        if status.state == "whole":
            print(f"{record.name} is here: {_with_digest(status.text, status.digest)}")
            continue
        if record.fetch is None:
            raise MembenchError(f"{record.name} is not downloaded: {status.text}")
        with _DownloadBars(record.name) as bars:
            record.fetch(folder / record.name, bars.show)
        text, digest = "files of a signal", ""
        if isinstance(record, Dataset):
            arrays = load_arrays(record, folder)
            text, digest = _describe(arrays), arrays_digest(arrays)
            with disk_errors("write", folder):
                (folder / record.name / NOTE).write_text(f"{digest}\n", "utf-8")
        print(f"{record.name}: {_with_digest(f'{text} in {folder / record.name}', digest)}")
    return report_problems(registry)


def verify(options: argparse.Namespace) -> int:
    """Read data sets and files of signals, and print their state; all if none is named.

    Returns:
        0; 1 if one is damaged, or one that was named is absent, or plugins could not be read.
    """
    registry = session.load_registry(options)
    folder = options.data_dir or data_folder()
    names = options.names or [*sorted(registry.datasets), *_signals_with_files(registry)]
    statuses = [_status(record, folder) for record in _named(registry, names)]
    _print_statuses(statuses)
    problems = report_problems(registry)
    bad = {"damaged", "absent"} if options.names else {"damaged"}
    if any(status.state in bad for status in statuses):
        return ExitCode.FAILED
    return problems


def _signals_with_files(registry: Registry) -> list[str]:
    return sorted(name for name, entry in registry.signals.items() if entry.has_fetch)


def _named(registry: Registry, names: Sequence[str]) -> list[Dataset | Signal]:
    """Return the data sets, or signals that read files, of some names.

    Raises:
        MembenchError: a name is of neither.
    """
    signals = _signals_with_files(registry)
    records: list[Dataset | Signal] = []
    for name in names:
        if name in registry.datasets:
            records.append(registry.dataset(name))
        elif name.partition("@")[0] in signals:
            records.append(registry.signal(name))
        else:
            known = [*registry.datasets, *signals]
            raise unknown_name("data set", name, known, "membench data verify")
    return records


def _status(record: Dataset | Signal, folder: Path) -> DataStatus:
    if isinstance(record, Dataset):
        return dataset_status(record, folder)
    return signal_status(record, folder)


def signal_status(signal: Signal, folder: Path) -> DataStatus:
    """Apply a signal to no example at all, so that it reads its files and nothing else."""
    name, files = signal.name, folder / signal.name
    level = signal.levels[0] if isinstance(signal.levels, tuple) else 1.0 if signal.levels else None
    x, y = np.zeros((0, 1, 1, 1), dtype=np.float32), np.zeros(0, dtype=np.int64)
    try:
        signal.apply(x, y, level, Draws(0, num_classes=1, folder=files), True)
    except FileNotFoundError as error:
        return DataStatus(name=name, state="absent", text=one_line(error))
    except MembenchError as error:
        return DataStatus(name=name, state="damaged", text=one_line(error))
    except Exception as error:  # `apply` is foreign code and may raise anything
        text = one_line(f"{type(error).__name__}: {error}")
        return DataStatus(name=name, state="damaged", text=text)
    return DataStatus(name=name, state="whole", text=f"files of a signal, in {files}")


def dataset_status(dataset: Dataset, folder: Path) -> DataStatus:
    """Load a data set, and compare it with what was downloaded if it was."""
    name = dataset.name
    try:
        arrays = load_arrays(dataset, folder)
    except MembenchError as error:
        state = "absent" if isinstance(error.__cause__, FileNotFoundError) else "damaged"
        return DataStatus(name=name, state=state, text=one_line(error.__cause__ or error))
    except Exception as error:  # `load` is foreign code and may raise anything
        text = one_line(f"{type(error).__name__}: {error}")
        return DataStatus(name=name, state="damaged", text=text)
    digest = arrays_digest(arrays)
    note = folder / name / NOTE
    if note.is_file() and note.read_text("utf-8").strip() != digest:
        text = (
            f"other arrays than were fetched: membench data fetch {name}; "
            f"if these are meant, remove {note}"
        )
        return DataStatus(name=name, state="damaged", text=text, digest=digest)
    return DataStatus(name=name, state="whole", text=_describe(arrays), digest=digest)


def _with_digest(text: str, digest: str) -> str:
    return f"{text}, SHA-256 {digest}" if digest else text


def _print_statuses(statuses: list[DataStatus]) -> None:
    rows: list[list[str | Text]] = []
    for status in statuses:
        state = Text(status.state, style=STATE_STYLES[status.state])
        rows.append([status.name, state, _with_digest(status.text, status.digest[:16])])
    print_columns(Console(highlight=False), ("data set", "state", "what"), rows)


def _describe(arrays: Arrays) -> str:
    """`60000 + 10000 images of 1x28x28, 10 classes`."""
    count = str(len(arrays.y))
    if arrays.test:
        count += f" + {len(arrays.test[1])}"
    size = "x".join(str(length) for length in arrays.x.shape[1:])
    return f"{count} images of {size}, {arrays.num_classes} classes"


class _DownloadBars:
    """One progress bar for each file of a data set.

    A new file is recognized by its size, or by a number of bytes that is less than before.
    """

    def __init__(self, name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._name = name
        self._files = 0
        self._task = TaskID(-1)
        self._last_done, self._last_total = 0, -1

    def __enter__(self) -> _DownloadBars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, done: int, total: int) -> None:
        """Show progress, as the callback of `Dataset.fetch`.

        Args:
            done: bytes of the current file that are here.
            total: bytes of the current file; 0 if unknown.
        """
        if total != self._last_total or done < self._last_done:
            self._files += 1
            description = f"{self._name}, file {self._files}"
            self._task = self._progress.add_task(description, total=total or None)
        self._progress.update(self._task, completed=done)
        self._last_done, self._last_total = done, total

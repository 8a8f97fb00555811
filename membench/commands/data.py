"""`membench data`: download data sets, and verify those that are here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import DownloadColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn
from rich.progress import TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from membench.api import Arrays
from membench.api import Dataset
from membench.commands import session
from membench.commands.list import report_problems
from membench.data import arrays_digest
from membench.data import data_folder
from membench.data import load_arrays
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.files import disk_errors
from membench.text import one_line

NOTE = "arrays.sha256"  #: file beside a downloaded data set: the hash of the arrays it was read as
STATE_STYLES = {"whole": "green", "absent": "yellow", "damaged": "red"}


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """One data set as it is on this machine."""

    name: str
    state: str  #: "whole", "absent" or "damaged"
    text: str  #: what is there, or what to do
    digest: str = ""  #: SHA-256 of the arrays; "" if they cannot be read


def data(options: argparse.Namespace) -> int:
    """Refuse `membench data` without an action."""
    del options
    raise MembenchError("say what to do: membench data fetch NAME, or membench data verify")


def fetch(options: argparse.Namespace) -> int:
    """Download each named data set that is not whole.

    Returns:
        0; 1 if plugins could not be read.

    Raises:
        MembenchError: a data set is not one to download, or its download failed. The data sets
            named after it are not tried.
    """
    registry = session.load_registry(options)
    folder = options.data_dir or data_folder()
    datasets = [registry.dataset(name) for name in options.names]
    for dataset in datasets:
        status = dataset_status(dataset, folder)
        if status.state == "whole":
            print(f"{dataset.name} is here: {status.text}, SHA-256 {status.digest}")
            continue
        if dataset.fetch is None:
            raise MembenchError(f"{dataset.name} is not downloaded: {status.text}")
        with _DownloadBars(dataset.name) as bars:
            dataset.fetch(folder / dataset.name, bars.show)
        arrays = load_arrays(dataset, folder)
        digest = arrays_digest(arrays)
        with disk_errors("write", folder):
            (folder / dataset.name / NOTE).write_text(f"{digest}\n", "utf-8")
        print(f"{dataset.name}: {_describe(arrays)} in {folder / dataset.name}, SHA-256 {digest}")
    return report_problems(registry)


def verify(options: argparse.Namespace) -> int:
    """Read data sets and print their state; every registered one if none is named.

    Returns:
        0; 1 if one is damaged, or one that was named is absent, or plugins could not be read.
    """
    registry = session.load_registry(options)
    folder = options.data_dir or data_folder()
    names = options.names or sorted(registry.datasets)
    statuses = [dataset_status(registry.dataset(name), folder) for name in names]
    Console().print(_status_table(statuses))
    problems = report_problems(registry)
    bad = {"damaged", "absent"} if options.names else {"damaged"}
    if any(status.state in bad for status in statuses):
        return ExitCode.FAILED
    return problems


def dataset_status(dataset: Dataset, folder: Path) -> DatasetStatus:
    """Load a data set, and compare it with what was downloaded if it was."""
    name = dataset.name
    try:
        arrays = load_arrays(dataset, folder)
    except MembenchError as error:
        state = "absent" if isinstance(error.__cause__, FileNotFoundError) else "damaged"
        return DatasetStatus(name=name, state=state, text=one_line(error.__cause__ or error))
    except Exception as error:  # `load` is foreign code and may raise anything
        text = one_line(f"{type(error).__name__}: {error}")
        return DatasetStatus(name=name, state="damaged", text=text)
    digest = arrays_digest(arrays)
    note = folder / name / NOTE
    if note.is_file() and note.read_text("utf-8").strip() != digest:
        text = (
            f"other arrays than were fetched: membench data fetch {name}; "
            f"if these are meant, remove {note}"
        )
        return DatasetStatus(name=name, state="damaged", text=text, digest=digest)
    return DatasetStatus(name=name, state="whole", text=_describe(arrays), digest=digest)


def _status_table(statuses: list[DatasetStatus]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("data set", overflow="fold", no_wrap=True)
    table.add_column("state", overflow="fold", no_wrap=True)
    table.add_column("what", overflow="fold")
    for status in statuses:
        digest = f", SHA-256 {status.digest[:16]}" if status.digest else ""
        state = Text(status.state, style=STATE_STYLES[status.state])
        table.add_row(status.name, state, Text(status.text + digest))
    return table


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

"""`membench data`: the data sets fetched, and what is here of them looked at."""

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

NOTE = "arrays.sha256"  #: beside the files of a set that was fetched: the hash of what they were read as
_STYLES = {"whole": "green", "absent": "yellow", "damaged": "red"}


@dataclass(frozen=True)
class DatasetStatus:
    """One data set as it is on this machine."""

    name: str
    state: str  #: "whole", "absent" or "damaged"
    text: str  #: what is there, or what to do
    digest: str = ""  #: SHA-256 of the arrays


def fetch(options: argparse.Namespace) -> int:
    """Bring each data set that is not whole. Raises `MembenchError` at the first that cannot be had."""
    found, folder = session.registry(options), options.data_dir or data_folder()
    for dataset in [found.dataset(name) for name in options.names]:
        before = look(dataset, folder)
        if before.state == "whole":
            print(f"{dataset.name} is here: {before.text}, SHA-256 {before.digest}")
            continue
        if dataset.fetch is None:
            raise MembenchError(f"{dataset.name} is not downloaded: {before.text}")
        with _Bars(dataset.name) as bars:
            dataset.fetch(folder / dataset.name, bars.show)
        arrays = load_arrays(dataset, folder)
        digest = arrays_digest(arrays)
        with disk_errors("write", folder):
            (folder / dataset.name / NOTE).write_text(f"{digest}\n", "utf-8")
        print(f"{dataset.name}: {_contents(arrays)} in {folder / dataset.name}, SHA-256 {digest}")
    return report_problems(found)


def verify(options: argparse.Namespace) -> int:
    """Read every data set. Returns 1 if one is damaged, or one that was named is absent."""
    found, folder = session.registry(options), options.data_dir or data_folder()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("data set", "state", "what"):
        table.add_column(column, overflow="fold", no_wrap=column != "what")
    bad = {"damaged", "absent"} if options.names else {"damaged"}
    findings = [
        look(found.dataset(name), folder) for name in options.names or sorted(found.datasets)
    ]
    for finding in findings:
        sha = f", SHA-256 {finding.digest[:16]}" if finding.digest else ""
        table.add_row(
            finding.name,
            Text(finding.state, style=_STYLES[finding.state]),
            Text(finding.text + sha),
        )
    Console().print(table)
    problems = report_problems(found)
    return ExitCode.FAILED if any(finding.state in bad for finding in findings) else problems


def look(dataset: Dataset, folder: Path) -> DatasetStatus:
    """Load it and compare with what was fetched, if it was."""
    try:
        arrays = load_arrays(dataset, folder)
    except MembenchError as error:
        state = "absent" if isinstance(error.__cause__, FileNotFoundError) else "damaged"
        return DatasetStatus(dataset.name, state, one_line(str(error.__cause__ or error)))
    except Exception as error:  # a stranger's `load` may fail in any way
        return DatasetStatus(dataset.name, "damaged", one_line(f"{type(error).__name__}: {error}"))
    digest, note = arrays_digest(arrays), folder / dataset.name / NOTE
    if note.is_file() and note.read_text("utf-8").strip() != digest:
        mend = f"membench data fetch {dataset.name}; if these are meant, remove {note}"
        return DatasetStatus(
            dataset.name, "damaged", f"other arrays than were fetched: {mend}", digest
        )
    return DatasetStatus(dataset.name, "whole", _contents(arrays), digest)


def _contents(arrays: Arrays) -> str:
    """`60000 + 10000 images of 1x28x28, 10 classes`."""
    test = f" + {len(arrays.test[1])}" if arrays.test else ""
    size = "x".join(map(str, arrays.x.shape[1:]))
    return f"{len(arrays.y)}{test} images of {size}, {arrays.num_classes} classes"


class _Bars:
    """One bar a file; a file begins where the bytes that are here grow fewer, or their sum is another."""

    def __init__(self, name: str) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(),
        )
        self.progress = Progress(
            *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
        )
        self._name, self._task, self._files = name, TaskID(-1), 0
        self._last = (0, -1)

    def __enter__(self) -> _Bars:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, done: int, total: int) -> None:
        """What `Dataset.fetch` calls."""
        if total != self._last[1] or done < self._last[0]:
            self._files += 1
            self._task = self.progress.add_task(
                f"{self._name}, file {self._files}", total=total or None
            )
        self.progress.update(self._task, completed=done)
        self._last = (done, total)

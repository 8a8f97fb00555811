"""membench from Python: `load` a board, `run` a suite, `check` plugins, as in a notebook.

`membench.load`, `membench.run` and `membench.check` are these functions. They do what the commands
of these names do, with the same options, print the same, and return what a program can go on with.
What a command says before it exits with an error is the message of a `MembenchError`.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import NoReturn

from membench.errors import ExitCode
from membench.errors import MembenchError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from membench.records import Record
    from membench.scoring import Board
    from membench.scoring import Row
    from membench.testing.check import Outcome
    from membench.testing.runner import FileReport

#: One value, or several: `plugins="mine.py"`, `plugins=["mine.py", "package.module"]`.
PathLike = str | Path
Several = PathLike | Sequence[PathLike]


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedBoard:
    """The board of a suite, with the records that it is made from.

    At the end of a notebook's cell it shows itself as a table, and so it does when rich prints it.
    """

    folder: Path  #: of the results
    suite: str  #: whose board it is
    suites: tuple[str, ...]  #: all that the folder has records of
    board: Board  #: all that is known of the suite: gates, rows, scores by task, notes
    #: of the run that returned it: FAILED where cells failed or plugins could not be read
    exit_code: ExitCode = ExitCode.OK
    _records: tuple[Record, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows: the ranked ones by H, then those without a rank, and the controls.

        A row has `entry`, `H`, `dA` and `R` (each with `mean`, `low`, `high`, or None), `rank_H`,
        `rank_R`, `claim`, and `reason`, which says why it has no numbers or no rank.
        """
        board = self.board
        return (
            *board.rows,
            *board.full_rows,
            *board.control_rows,
            *board.unranked,
            *board.skipped,
        )

    def records(self) -> list[Record]:
        """Return the record of each run of the suite, of every environment that counts."""
        return list(self._records)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame, one column for each number, as `membench export` has.

        Raises:
            MembenchError: pandas is not installed.
        """
        from membench.report.row_values import DTYPES
        from membench.report.row_values import row_values

        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MembenchError("to_pandas() needs pandas: pip install pandas") from error
        return pd.DataFrame([row_values(row, self.suite) for row in self.rows]).astype(DTYPES)

    def __repr__(self) -> str:
        holding = sum(row.claim is not None and row.claim.holds for row in self.rows)
        count = f"{len(self.rows)} rows, {holding} of them hold the claim"
        return f"<board of {self.suite} in {self.folder}: {count}>"

    def __rich__(self) -> RenderableType:
        from membench.report import summary_table

        return summary_table(self.board)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        from membench.report.notebook import html_table

        return html_table(self.board)


def load(folder: PathLike = "leaderboard", suite: str | None = None) -> LoadedBoard:
    """Read the records of a folder, and score them; neither torch nor a plugin is needed.

    Args:
        folder: of the results, as `--out` names it.
        suite: whose board it is to be; None: the only one that the folder has.

    Returns:
        The board.

    Raises:
        MembenchError: nothing is recorded there, the suite is unknown or has to be chosen, or a
            record is damaged.
    """
    from membench.commands.report import nothing_recorded
    from membench.errors import unknown_name
    from membench.scoring import score
    from membench.store.accepted import records_of
    from membench.store.store import Store

    folder = Path(folder).expanduser()
    store = Store(folder / "records")
    manifests = store.manifests()
    if not manifests:
        raise nothing_recorded(folder)
    if suite is None:
        if len(manifests) > 1:
            names = ", ".join(sorted(manifests))
            raise MembenchError(f"{folder} has several suites, choose one with suite=: {names}")
        (suite,) = manifests
    if suite not in manifests:
        raise unknown_name(f"suite in {folder}", suite, manifests)
    records = records_of(manifests[suite], store.read())
    return LoadedBoard(
        folder=folder,
        suite=suite,
        suites=tuple(sorted(manifests)),
        board=score(manifests[suite], records),
        _records=tuple(records),
    )


def run(
    select: str | None = None,
    *,
    all: bool = False,
    suite: str = "quick",
    out: PathLike = "leaderboard",
    compose: Several = (),
    grid: str = "paired",
    probes: Several = (),
    architectures: str | Iterable[str] = (),
    datasets: str | Iterable[str] = (),
    signals: str | Iterable[str] = (),
    seeds: str | Iterable[int] = (),
    train_size: int | None = None,
    epochs: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    shard: str | None = None,
    lf: bool = False,
    device: str = "auto",
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    maxfail: int | None = None,
    time_limit: int | None = None,
    fresh: bool = False,
    sandbox: bool = False,
    force: bool = False,
    data_dir: PathLike | None = None,
    plugins: Several = (),
    observers: object = (),
    quiet: bool = False,
    verbose: bool = False,
    durations: int | None = None,
    junit_xml: PathLike | None = None,
) -> LoadedBoard:
    """Train what is missing of a suite, and write its board: `membench run`.

    The progress is printed, in a notebook as lines. What was measured is kept, and the same call
    goes on from there.

    Args:
        select: which cells, `-k`, as in "dropout and mlp"; or `all`.
        all: select every registered regularizer.
        suite: of `membench list suites`.
        out: the folder of records and pages.
        compose: compositions to add, `-r`, as in "dropout+mixup".
        grid: of the strengths of `compose`: "paired" or "full".
        probes: measurements to take too.
        architectures: in place of the suite's.
        datasets: in place of the suite's.
        signals: in place of the suite's.
        seeds: in place of the suite's confirming ones, as in range(20, 30) or "20-29".
        train_size: training images for each seed; None: the suite's.
        epochs: to train for; None: the recipe's.
        optimizer: to train with; None: the recipe's.
        lr: learning rate; None: the recipe's.
        shard: train this part of what is selected, as in "2/4"; the board is what it has so far.
        lf: train only what failed last time.
        device: "auto", "cpu" or "cuda".
        workers: how many, `-n`; None: one a core, or one a GPU.
        engine: where the workers are: "local" or "ray".
        address: of the Ray cluster's head; None: $RAY_ADDRESS, else the cluster of this machine.
        maxfail: stop after so many failed packs.
        time_limit: seconds without progress after which a pack is stopped; None: half an hour.
        fresh: count records of this machine's environment alone.
        sandbox: let plugins that do not ship reach neither your files nor a network.
        force: replace pages that have more complete rows.
        data_dir: where data sets lie; None: $MEMBENCH_DATA, else a cache.
        plugins: files, folders and modules to load too, `-p`.
        observers: files, modules and objects with hooks of `membench.observers`.
        quiet: show only what fails, and the result.
        verbose: show tracebacks.
        durations: show so many packs that took longest.
        junit_xml: a file for a JUnit report.

    Returns:
        The board. Its `exit_code` is that of the command: FAILED where a cell failed or a plugin
        could not be read.

    Raises:
        MembenchError: the run cannot start, or cannot go on.
        KeyboardInterrupt: it was interrupted, and has ended in good order.
    """
    from membench.commands.options import add_run_options
    from membench.commands.run import run_suite

    flags = {
        "-k": select,
        "--all": all,
        "--suite": suite,
        "--out": Path(out).expanduser(),
        "-r": _several(compose),
        "--grid": grid,
        "--probe": _several(probes),
        "--architectures": _with_commas(architectures),
        "--datasets": _with_commas(datasets),
        "--signals": _with_commas(signals),
        "--seeds": _with_commas(seeds),
        "--train-size": train_size,
        "--epochs": epochs,
        "--optimizer": optimizer,
        "--lr": lr,
        "--shard": shard,
        "--lf": lf,
        "--device": device,
        "-n": workers,
        "--engine": engine,
        "--address": address,
        "--maxfail": maxfail,
        "--time-limit": time_limit,
        "--fresh": fresh,
        "--sandbox": sandbox,
        "--force": force,
        "--data-dir": data_dir,
        "-p": _several(plugins),
        "-q": quiet,
        "-v": verbose,
        "--durations": durations,
        "--junit-xml": junit_xml,
    }
    options = _parse(add_run_options, flags)
    # objects too, which no command line can name
    options.observers = list(observers) if isinstance(observers, (list, tuple)) else [observers]
    done = run_suite(options)
    if done.exit_code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    return replace(load(options.out, done.suite), exit_code=done.exit_code)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What the checks have found."""

    exit_code: ExitCode  #: of the command: FAILED where a check failed or could not be made
    reports: tuple[FileReport, ...] = field(repr=False)  #: one a file

    @property
    def passed(self) -> bool:
        """True where no check failed, and every plugin could be checked."""
        return self.exit_code == ExitCode.OK

    @property
    def outcomes(self) -> list[Outcome]:
        """What each check found: `plugin`, `check`, `status`, `what`, `where`, `mend`."""
        outcomes: list[Outcome] = []
        for report in self.reports:
            outcomes += report.outcomes
        return outcomes


def check(
    targets: Several = (),
    *,
    all: bool = False,
    select: str | None = None,
    workers: int | None = None,
    time_limit: int | None = None,
    markdown: PathLike | None = None,
    data_dir: PathLike | None = None,
    plugins: Several = (),
    quiet: bool = False,
    verbose: bool = False,
) -> CheckResult:
    """Check plugins against the contract: `membench check`.

    Args:
        targets: files, folders, modules or registered names; or `all`.
        all: check every plugin that is found.
        select: which checks, `-k`, as in "off-run".
        workers: how many processes, `-n`; None: one a core.
        time_limit: seconds after which the checks of a file are stopped; None: a minute.
        markdown: a file for a certificate.
        data_dir: where data sets lie; None: $MEMBENCH_DATA, else a cache.
        plugins: files, folders and modules to load too, `-p`.
        quiet: show only what failed.
        verbose: show every check, and what it asks.

    Returns:
        What was found; `passed` sums it up.

    Raises:
        MembenchError: there is nothing to check, a target does not exist, or this process has used
            a GPU, which the processes of the checks, its copies, could not.
    """
    from membench.commands.check import run_checks
    from membench.commands.options import add_check_options

    flags = {
        "--all": all,
        "-k": select,
        "-n": workers,
        "--time-limit": time_limit,
        "--markdown": markdown,
        "--data-dir": data_dir,
        "-p": _several(plugins),
        "-q": quiet,
        "-v": verbose,
    }
    options = _parse(add_check_options, flags, _several(targets))
    with _process_as_it_was():
        reports, exit_code = run_checks(options)
    return CheckResult(exit_code=exit_code, reports=tuple(reports))


def _several(values: Several) -> list[str]:
    """Return the values as words; one that stands alone is one."""
    if isinstance(values, (str, Path)):
        return [str(values)]
    return [str(value) for value in values]


def _with_commas(values: str | Iterable[object]) -> str:
    """Join names or seeds as the command line has them; a text is one already."""
    return values if isinstance(values, str) else ",".join(str(value) for value in values)


def _parse(
    add_options: Callable[[argparse.ArgumentParser], None],
    flags: Mapping[str, object],
    words: Sequence[str] = (),
) -> argparse.Namespace:
    """Let a command's own parser read the options, so that they mean and default to the same.

    Args:
        add_options: of the command.
        flags: its flags, and their values; what is None, False or empty is not given.
        words: its arguments without a flag.

    Raises:
        MembenchError: a value is not valid.
    """
    line: list[str] = []
    for flag, value in flags.items():
        if value is None or value is False or value in ("", []):
            continue
        for one in value if isinstance(value, list) else [value]:
            joint = "=" if flag.startswith("--") else ""
            line.append(flag if one is True else f"{flag}{joint}{one}")
    parser = _Parser(allow_abbrev=False, add_help=False)
    add_options(parser)
    return parser.parse_args([*line, "--", *words] if words else line)


class _Parser(argparse.ArgumentParser):
    """A parser that raises what it finds, where that of the command line prints it and exits."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise MembenchError(message)


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Undo what the checks set in this process, which they fork: torch, garbage collection.

    Raises:
        MembenchError: it has used a GPU.
    """
    import torch

    if torch.cuda.is_initialized():
        raise MembenchError(
            "this process has used the GPU, and a copy of it cannot: check in another one, as with "
            "`membench check` in a shell"
        )
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    frozen = gc.get_freeze_count()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)  # torch's default; it does not tell what was set
        torch.set_float32_matmul_precision(precision)
        if not frozen:
            gc.unfreeze()

"""Print a run: a header, bars or lines while it trains, and a summary.

The command line calls it, and the pool feeds it with events. Names and messages come from plugins:
they are printed as text, never as markup, and without control characters.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from types import TracebackType

from rich.console import Console
from rich.console import RenderableType
from rich.progress import BarColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from membench.execution.forecast import Expected
from membench.execution.forecast import Forecast
from membench.execution.protocol import Event
from membench.execution.summary import Failure
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.text import display_path
from membench.text import printable
from membench.text import short

LINE_PERIOD = 5.0  #: seconds between two lines, where there are no bars
QUIET_PERIOD = 60.0  #: seconds without a line after which the state of a pack is one
_MAX_PLUGIN_NAMES = 6  #: names of one origin that the header lists; of more, it says how many
_MAX_OUTPUTS = 5  #: failures whose worker's output the summary shows
_MAX_OUTPUT_LINES = 25  #: of each such output
_MAX_WORKER_BARS = 8
_BAR_WIDTH = 24
_STATUS_STYLES = {
    "ok": "green",
    "diverged": "yellow",
    "failed": "red",
    "timeout": "red",
    "skipped": "yellow",
    "reused": "cyan",
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """The facts that a run shows before it starts."""

    suite: str  #: "quick 1"
    cells: int  #: planned
    reused: int  #: of them in the store already
    device: str  #: "cpu AVX512 AMD EPYC"
    torch: str  #: its version
    workers: int
    records: str  #: folder of the store
    plugins: tuple[tuple[str, tuple[str, ...]], ...]  #: (where from, names)
    products: tuple[str, ...] = ()  #: "bfloat16 products: 1.9x fp32 here", if they were chosen


def print_header(console: Console, header: Header) -> None:
    """Print what is going to run, each line with its subject in front."""
    cells = f"{header.cells} cells"
    if header.reused:
        cells += f", {header.reused} of them in the store already"
    workers = f"{header.workers} worker{'s' if header.workers > 1 else ''}"
    grid = Table.grid(padding=(0, 2))
    grid.add_row("suite", Text(f"{header.suite}: {cells}"))
    grid.add_row("device", Text(f"{short(header.device)}, {workers}, torch {header.torch}"))
    for line in header.products:
        grid.add_row("", Text(short(line)))
    subject = "plugins"
    for origin, names in header.plugins:
        listed = ", ".join(names) if len(names) <= _MAX_PLUGIN_NAMES else f"{len(names)} plugins"
        grid.add_row(subject, Text(f"{short(origin)}: {short(listed)}"))
        subject = ""
    grid.add_row("records", Text(short(header.records)))
    console.print(grid)


def by_origin(plugins: Iterable[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Group (name, origin) pairs as `Header.plugins` holds them, in the order of the origins."""
    names_by_origin: dict[str, list[str]] = {}
    for name, origin in plugins:
        names_by_origin.setdefault(origin, []).append(name)
    return tuple((origin, tuple(names)) for origin, names in names_by_origin.items())


@dataclass
class Meter:
    """The progress of a run, computed from its events."""

    forecast: Forecast
    total: int = 0  #: cells to train, as far as they are planned
    expected: int = 0  #: further cells that the results will make necessary, roughly
    counts: Counter[str] = field(default_factory=Counter)  #: cells by status
    #: worker -> its pack, and the share of it that is done
    running: dict[int, tuple[Pack, float]] = field(default_factory=dict)

    def plan(self, packs: Sequence[Pack], expected: Expected) -> None:
        """Take into account that packs were planned, and what is to be expected beside them."""
        self.total += sum(len(pack.cells) for pack in packs)
        self.expected = expected.cells
        self.forecast.plan(packs)
        self.forecast.expect(expected)

    def drop(self, packs: Sequence[Pack]) -> None:
        """Take into account that planned packs are not to be trained."""
        self.total -= sum(len(pack.cells) for pack in packs)
        self.forecast.drop(packs)

    def update(self, event: Event, now: float) -> None:
        """Take an event into account."""
        self.forecast.update(event, now)
        if event.kind in ("started", "progress"):
            self.running[event.worker] = event.pack, event.done
        elif event.kind != "ending":  # the pack is still trained
            self.running.pop(event.worker, None)
            self.counts += event.counts

    @property
    def all_cells(self) -> int:
        """Cells to train, those that are expected included."""
        return self.total + self.expected

    @property
    def all_text(self) -> str:
        """That number, `~9000` while some of them are only expected."""
        return f"~{self.all_cells}" if self.expected else str(self.total)

    @property
    def done(self) -> int:
        """Cells whose packs have ended."""
        return self.counts.total()

    @property
    def reached(self) -> float:
        """Cells whose packs have ended, and the done share of those that are being trained."""
        return self.done + sum(len(pack.cells) * done for pack, done in self.running.values())

    def stage(self, worker: int) -> str:
        """Return what a worker does before it trains its pack, `compiling`; "" once it trains."""
        if not self.forecast.is_compiling(worker):
            return ""
        pack, _ = self.running[worker]
        return "compiling" if pack.compiled else "starting"

    def eta(self, now: float) -> str:
        """Return the time left, `ETA 12:30`; "" while nothing tells how fast the work is done."""
        seconds = self.forecast.seconds_left(now)
        return "" if seconds is None else f"ETA {clock(seconds)}"


class Display:
    """Shows a run while it trains; its `on_event` is for `run_packs`.

    On a terminal it draws bars; elsewhere, or with `CI` set, it prints a line now and then.

    Args:
        console: where it is shown.
        forecast: tells the time left.
        quiet: whether only what fails is shown.
    """

    def __init__(self, console: Console, forecast: Forecast, quiet: bool = False) -> None:
        self._console = console
        self._meter = Meter(forecast)
        self._quiet = quiet
        self._bars: _Bars | None = None
        if console.is_terminal and not os.environ.get("CI") and not quiet:
            self._bars = _Bars(console)
        self._last_line = float("-inf")  #: when it was printed

    def __enter__(self) -> Display:
        if self._bars:
            self._bars.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.progress.stop()

    def plan(self, packs: Sequence[Pack], expected: Expected) -> None:
        """Take into account that packs were planned, and what is to be expected beside them."""
        self._meter.plan(packs, expected)
        if self._bars:
            self._bars.update_all(self._meter, time.monotonic())

    def drop(self, packs: Sequence[Pack]) -> None:
        """Take into account that planned packs are not to be trained; `plan` shows it."""
        self._meter.drop(packs)

    def print_row(self, line: RenderableType) -> None:
        """Print a row of the board that is complete, above the bars."""
        if not self._quiet:
            self._console.print(line, soft_wrap=True)

    def print_notice(self, text: str) -> None:
        """Print what the user should know beside the packs, above the bars."""
        self._console.print(Text(printable(text), style="yellow"), soft_wrap=True)

    def on_event(self, event: Event) -> None:
        """Show what happened."""
        now = time.monotonic()
        self._meter.update(event, now)
        if event.kind in ("failed", "timeout", "retry", "ending"):
            self._console.print(_event_line(event), soft_wrap=True)
        if self._bars:
            self._bars.update_all(self._meter, now)
            self._bars.update_worker(self._meter, event)
        elif not self._quiet and self._line_is_due(event, now):
            self._last_line = now
            line = _progress_line(self._meter, event, now)
            self._console.print(line, soft_wrap=True, highlight=False)

    def _line_is_due(self, event: Event, now: float) -> bool:
        """Tell whether to print a line: at the first news, and then not often."""
        silence = now - self._last_line
        if event.kind == "stored":
            return silence >= LINE_PERIOD or self._meter.done == self._meter.all_cells
        return event.kind in ("started", "progress") and silence >= QUIET_PERIOD


class _Bars:
    """One bar for all cells, and one for each worker."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR_WIDTH),
            TextColumn("{task.fields[share]}", justify="right", markup=False),
            TextColumn("{task.fields[eta]}", markup=False),
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        self._name_width = max(16, console.width - _BAR_WIDTH - 26)
        self._all_cells = self.progress.add_task("all cells", total=None, share="", eta="")
        self._workers: dict[int, TaskID] = {}

    def update_all(self, meter: Meter, now: float) -> None:
        """Change the bar of all cells; the screen follows four times a second."""
        self.progress.update(
            self._all_cells,
            completed=meter.reached,
            total=meter.all_cells,
            share=f"{meter.done}/{meter.all_text}",
            eta=meter.eta(now),
        )

    def update_worker(self, meter: Meter, event: Event) -> None:
        """Change the bar of the worker that the event is about."""
        if event.worker >= _MAX_WORKER_BARS:
            return
        if event.worker not in self._workers:
            self._workers[event.worker] = self.progress.add_task("", total=1.0, share="", eta="")
        name, share, done = "waiting", "", 0.0
        if event.worker in meter.running:
            pack, done = meter.running[event.worker]
            name = _pack_name(pack, self._name_width)
            share = meter.stage(event.worker) or f"{done:.0%}"
        bar = self._workers[event.worker]
        self.progress.update(bar, completed=done, description=name, share=share)


def _pack_name(pack: Pack, width: int) -> str:
    """Return `mnist5k/mlp/dropout x15`, without its middle if it is too long."""
    name = short(f"{'/'.join(pack.program)} x{len(pack.cells)}")
    if len(name) <= width:
        return name
    half = (width - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _event_line(event: Event) -> Text:
    """Return `FAILED mnist5k/mlp/mine[0.5]/real/seed0 x15: why`."""
    style = "yellow" if event.kind in ("retry", "ending") else "red"
    return Text.assemble(
        (event.kind.upper(), f"bold {style}"), f" {short(event.pack.id)}: {short(event.reason)}"
    )


def _progress_line(meter: Meter, event: Event, now: float) -> str:
    """Return `[ 30/630]   5% mnist5k/mlp/dropout[0.5]/real/seed0 x15: 15 ok  ETA 12:30`."""
    width = len(meter.all_text)
    share = f"[{meter.done:{width}}/{meter.all_text}] {meter.reached / meter.all_cells:4.0%}"
    news = [f"{event.counts[s]} {s}" for s in _STATUS_STYLES if event.counts[s]]
    if event.kind in ("started", "progress"):
        news = [meter.stage(event.worker) or f"{event.done:.0%} trained"]
    return f"{share} {short(event.pack.id)}: {', '.join(news)}  {meter.eta(now)}".rstrip()


def clock(seconds: float) -> str:
    """Format a duration: `3:07`, `2:03:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_summary(console: Console, summary: Summary, verbosity: int = 0) -> None:
    """Print what failed and why, once for each reason, and the counts of cells.

    Args:
        console: where to.
        summary: of the run.
        verbosity: 1 prints the end of each worker's output too, the traceback included.
    """
    if verbosity > 0:
        for failure in summary.failures[:_MAX_OUTPUTS]:
            console.print(Rule(Text(short(failure.pack)), style="red", align="left"))
            for line in failure.output.splitlines()[-_MAX_OUTPUT_LINES:]:
                console.print(Text(printable(line), style="dim"), soft_wrap=True)
    for text in _failures(summary.failures):
        console.print(text, soft_wrap=True)
    if summary.failures and verbosity <= 0:
        console.print(Text("-v shows the tracebacks", style="dim"))
    if summary.interrupted:
        console.print(Text(_interrupted(summary), style="bold yellow"), soft_wrap=True)
    console.print(Rule(_totals(summary), style="red" if summary.failures else "green"))


def print_durations(console: Console, summary: Summary, count: int) -> None:
    """Print the packs that took longest, compilation included."""
    longest = sorted(summary.durations, key=lambda duration: -duration[1])[:count]
    console.print(Text(f"slowest {len(longest)} packs", style="bold"))
    for pack, seconds in longest:
        console.print(Text(f"{seconds:8.2f} s  {short(pack)}"), soft_wrap=True)


def _failures(failures: Iterable[Failure]) -> Iterator[Text]:
    """Yield a line for each regularizer, status and reason, and the command that looks into it."""
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        # a reason may name the cell: what is alike is told once
        group = failure.regularizer or failure.pack, failure.status, failure.reason
        groups.setdefault(group, []).append(failure)
    for (name, status, reason), alike in groups.items():
        cells = sum(failure.cells for failure in alike)
        line = Text.assemble(
            (status, "bold red"), f" {short(name)}, {cells} cells: {short(reason)}"
        )
        files = {file for failure in alike for file in failure.files}
        for file in sorted(files):
            line.append(f"\n       membench check {short(display_path(file))} says how to mend it")
        yield line


def _interrupted(summary: Summary) -> str:
    """Say what an interrupted run has lost: what of its packs was trained and not to the end."""
    lost = ""
    if summary.lost:
        parts = [f"{cells} cells at {done:.0%}" for cells, done in summary.lost]
        lost = f"; what is lost: {', '.join(parts[:_MAX_WORKER_BARS])}"
    return f"interrupted: the same command goes on from here{lost}"


def _totals(summary: Summary) -> Text:
    """Return `610 ok, 5 diverged, 15 failed, 120 reused in 12:34`."""
    counts = []
    for status, style in _STATUS_STYLES.items():
        count = getattr(summary, status)
        if count:
            counts.append(Text(f"{count} {status}", style=f"bold {style}"))
    if not counts:
        counts.append(Text("nothing trained"))
    return Text.assemble(Text(", ").join(counts), f" in {clock(summary.seconds)}")

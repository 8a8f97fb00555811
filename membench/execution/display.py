"""What a run shows: a header, one display while it trains, a summary. Called by the command line, fed by the pool.

Names and messages come from plugins: they are printed as text, never as markup, and without control characters.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress
from rich.progress import TaskID
from rich.progress import TextColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.text import printable
from membench.text import short

QUIET = 5.0  #: seconds between two plain lines
_NAMED = 6  #: plugins of one origin that are named in the header; of more, their number is
_SHOWN = 5  #: failures of which the worker's output is shown
_LINES = 25  #: of that output, at most
_ROWS = 8  #: workers that have a bar of their own, at most
_STYLES = {
    "ok": "green",
    "diverged": "yellow",
    "failed": "red",
    "timeout": "red",
    "skipped": "yellow",
    "reused": "cyan",
}


@dataclass(frozen=True)
class Header:
    """What a run is going to do, and with what."""

    suite: str  #: "quick 1"
    cells: int  #: planned
    reused: int  #: of them in the store already
    device: str  #: "cpu AVX512 AMD EPYC"
    torch: str  #: its version
    workers: int
    records: str  #: folder of the store
    plugins: tuple[tuple[str, tuple[str, ...]], ...]  #: (where from, names)


def print_header(console: Console, header: Header) -> None:
    """A few lines, each with its subject in front."""
    grid = Table.grid(padding=(0, 2))
    cells = f"{header.cells} cells" + (
        f", {header.reused} of them in the store already" if header.reused else ""
    )
    grid.add_row("suite", Text(f"{header.suite}: {cells}"))
    workers = f"{header.workers} worker{'s' if header.workers > 1 else ''}"
    grid.add_row("device", Text(f"{short(header.device)}, {workers}, torch {header.torch}"))
    for at, (origin, names) in enumerate(header.plugins):
        which = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} plugins"
        grid.add_row("" if at else "plugins", Text(f"{short(origin)}: {short(which)}"))
    grid.add_row("records", Text(short(header.records)))
    console.print(grid)


@dataclass
class Meter:
    """How far a run is, from its events."""

    total: int  #: cells to train
    started: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)  #: cells by status
    running: dict[int, tuple[Pack, float]] = field(
        default_factory=dict
    )  #: worker -> its pack, and how much of it

    def take(self, event: Event, now: float) -> None:
        """Note what happened."""
        self.started = self.started or now
        if event.kind in ("started", "progress"):
            self.running[event.worker] = event.pack, event.done
        else:
            self.running.pop(event.worker, None)
            self.counts += event.counts

    @property
    def done(self) -> int:
        """Cells whose packs have ended."""
        return self.counts.total()

    @property
    def reached(self) -> float:
        """The same, with the packs at hand in part."""
        return self.done + sum(len(pack.cells) * done for pack, done in self.running.values())

    def eta(self, now: float) -> str:
        """The time left at the rate so far; nothing as long as there is none."""
        if now <= self.started or not self.reached:
            return ""
        return "ETA " + clock((self.total - self.reached) * (now - self.started) / self.reached)


class Display:
    """Shows a run: bars on a terminal, else (or with `CI` set) a line now and then. Give `on_event` to `run_packs`."""

    def __init__(self, console: Console, cells: int) -> None:
        self._console, self._meter = console, Meter(cells)
        self._bars = (
            _Bars(console, cells) if console.is_terminal and not os.environ.get("CI") else None
        )
        self._last = float("-inf")

    def __enter__(self) -> Display:
        if self._bars:
            self._bars.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bars:
            self._bars.progress.stop()

    def on_event(self, event: Event) -> None:
        """Take in what the pool says."""
        now = time.monotonic()
        self._meter.take(event, now)
        if event.kind in ("failed", "timeout", "retry"):
            self._console.print(_incident(event), soft_wrap=True)
        if self._bars:
            self._bars.update(self._meter, event, now)
        elif event.kind == "stored" and (
            now - self._last >= QUIET or self._meter.done == self._meter.total
        ):
            self._last = now
            self._console.print(_line(self._meter, event, now), soft_wrap=True, highlight=False)


class _Bars:
    """One bar for all cells, and one a worker."""

    def __init__(self, console: Console, cells: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[share]}", justify="right", markup=False),
            TextColumn("{task.fields[eta]}", markup=False),
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        self._room = max(16, console.width - 24 - 26)
        self._all = self.progress.add_task("all cells", total=cells, share=f"0/{cells}", eta="")
        self._rows: dict[int, TaskID] = {}

    def update(self, meter: Meter, event: Event, now: float) -> None:
        """Redraw what the event changed; the screen follows four times a second."""
        share = f"{meter.done}/{meter.total}"
        self.progress.update(self._all, completed=meter.reached, share=share, eta=meter.eta(now))
        if event.worker >= _ROWS:
            return
        if event.worker not in self._rows:
            self._rows[event.worker] = self.progress.add_task("", total=1.0, share="", eta="")
        pack, done = meter.running.get(event.worker, (None, 0.0))
        name = _name(pack, self._room) if pack else "waiting"
        share = f"{done:.0%}" if pack else ""
        self.progress.update(
            self._rows[event.worker], completed=done, description=name, share=share
        )


def _name(pack: Pack, room: int) -> str:
    """`mnist5k/mlp/dropout x15`, without its middle if it is too long."""
    name = short(f"{'/'.join(pack.program)} x{len(pack.cells)}")
    half = (room - 3) // 2
    return name if len(name) <= room else f"{name[:half]}...{name[-half:]}"


def _incident(event: Event) -> Text:
    """A pack that did not come through, as it happens."""
    style = "yellow" if event.kind == "retry" else "red"
    return Text.assemble(
        (event.kind.upper(), f"bold {style}"), f" {short(event.pack.id)}: {short(event.reason)}"
    )


def _line(meter: Meter, event: Event, now: float) -> str:
    """`[ 30/630]   5% mnist5k/mlp/dropout[0.5]/real/seed0 x15: 15 ok  ETA 12:30`."""
    width = len(str(meter.total))
    share = f"[{meter.done:{width}}/{meter.total}] {meter.done / meter.total:4.0%}"
    return f"{share} {short(event.pack.id)}: {_counts(event.counts)}  {meter.eta(now)}".rstrip()


def _counts(counts: Counter[str]) -> str:
    """`14 ok, 1 diverged`."""
    return ", ".join(f"{counts[status]} {status}" for status in _STYLES if counts[status])


def clock(seconds: float) -> str:
    """`3:07`, `2:03:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_summary(console: Console, summary: Summary) -> None:
    """What failed and why, with the end of what its worker printed; then the counts in one line."""
    for at, failure in enumerate(summary.failures):
        console.print(Rule(Text(short(failure.pack)), style="red", align="left"))
        if at < _SHOWN:
            for line in failure.output.splitlines()[-_LINES:]:
                console.print(Text(printable(line), style="dim"), soft_wrap=True)
        console.print(
            Text.assemble((failure.status, "bold red"), f": {short(failure.reason)}"),
            soft_wrap=True,
        )
    if summary.interrupted:
        console.print(Text("interrupted: the same command goes on from here", style="bold yellow"))
    console.print(Rule(_totals(summary), style="red" if summary.failures else "green"))


def _totals(summary: Summary) -> Text:
    """`610 ok, 5 diverged, 15 failed, 120 reused in 12:34`."""
    counts = [(getattr(summary, status), status) for status in _STYLES]
    parts = [
        Text(f"{number} {status}", style=f"bold {_STYLES[status]}")
        for number, status in counts
        if number
    ]
    return Text.assemble(
        Text(", ").join(parts or [Text("nothing trained")]), f" in {clock(summary.seconds)}"
    )


def by_origin(plugins: Iterable[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(name, origin) pairs as `Header.plugins`, in the order of the first of each origin."""
    groups: dict[str, list[str]] = {}
    for name, origin in plugins:
        groups.setdefault(origin, []).append(name)
    return tuple((origin, tuple(names)) for origin, names in groups.items())

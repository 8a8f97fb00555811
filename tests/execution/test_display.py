"""What a run shows: how far it is, when it ends, what failed; a plugin's text stays text."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console
from support.trainers import make_pack

from membench.execution.display import Display
from membench.execution.display import Header
from membench.execution.display import Meter
from membench.execution.display import by_origin
from membench.execution.display import clock
from membench.execution.display import print_durations
from membench.execution.display import print_header
from membench.execution.display import print_summary
from membench.execution.forecast import Expected
from membench.execution.forecast import Experience
from membench.execution.forecast import Forecast
from membench.execution.protocol import Event
from membench.execution.summary import Failure
from membench.execution.summary import Summary
from membench.planning.packs import Pack

HOSTILE = "[red]big[/red] \x1b[2J\x07 :smile: {x} \u202eback"
SHOWN = "[red]big[/red] [2J :smile: {x} back"


def make_console(terminal: bool = False, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        color_system=None,
        legacy_windows=False,
    )


def printed(console: Console) -> str:
    return console.file.getvalue()


def stored(index: int = 0, worker: int = 0, width: int = 2, **counts: int) -> Event:
    counts = counts or {"ok": width}
    return Event(
        kind="stored",
        worker=worker,
        pack=make_pack(index=index, width=width),
        done=1.0,
        counts=Counter(counts),
    )


def make_display(console: Console, packs: Sequence[Pack]) -> Display:
    display = Display(console, Forecast(workers=1, experience=Experience()))
    display.plan(packs, Expected())
    return display


def packs_of(count: int, width: int = 2) -> list[Pack]:
    return [make_pack(index=index, width=width) for index in range(count)]


def test_a_pack_that_is_tried_again_counts_from_its_beginning() -> None:
    meter = Meter(Forecast(workers=1, experience=Experience()))
    meter.plan(packs_of(2), Expected())
    meter.update(Event(kind="progress", worker=1, pack=make_pack(), done=0.9), now=1.0)
    meter.update(Event(kind="retry", worker=1, pack=make_pack()), now=2.0)
    assert meter.reached == 0


def test_a_pack_that_is_about_to_end_is_shown_as_one_that_is_trained() -> None:
    meter = Meter(Forecast(workers=1, experience=Experience(seconds={("d", "a", ()): 0.1})))
    meter.plan(packs_of(2), Expected())
    meter.update(Event(kind="progress", worker=0, pack=make_pack(), done=0.5), now=1.0)
    before = (meter.reached, meter.running, meter.eta(1.0))
    meter.update(Event(kind="ending", worker=0, pack=make_pack()), now=1.0)
    assert (meter.reached, meter.running, meter.eta(1.0)) == before
    assert meter.reached == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (187, "3:07"), (7387, "2:03:07")]
)
def test_durations_are_formatted_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_without_a_terminal_lines_are_rare_and_the_last_shows_the_end() -> None:
    console = make_console()
    with make_display(console, packs_of(20)) as display:
        for index in range(20):
            display.on_event(Event(kind="started", worker=0, pack=make_pack(index=index)))
            display.on_event(Event(kind="progress", worker=0, pack=make_pack(index=index)))
            display.on_event(stored(index))
    first, last = printed(console).splitlines()
    assert first == "[ 0/40]   0% d/a/good[0.5]/real/seed0 x2: starting"
    assert last == "[40/40] 100% d/a/good[0.5]/real/seed38 x2: 2 ok  ETA 0:00"


def test_without_a_terminal_a_long_pack_is_heard_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = make_console()
    clock = iter(range(1000, 2000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pack = replace(make_pack(), compiled=True)
    with make_display(console, [pack]) as display:
        display.on_event(Event(kind="started", worker=0, pack=pack))
        for done in (0.0, 0.2, 0.4, 0.6, 0.8):
            display.on_event(Event(kind="progress", worker=0, pack=pack, done=done))
    assert printed(console).splitlines() == [
        "[0/2]   0% d/a/good[0.5]/real/seed0 x2: compiling",
        "[0/2]  40% d/a/good[0.5]/real/seed0 x2: 40% trained  ETA 1:00",
    ]


def test_failures_timeouts_and_retries_are_printed_at_once() -> None:
    console = make_console()
    with make_display(console, packs_of(20)) as display:
        for kind in ("retry", "failed", "timeout"):
            display.on_event(Event(kind=kind, worker=0, pack=make_pack(), reason=f"why {HOSTILE}"))
    assert printed(console).splitlines() == [
        f"{kind} d/a/good[0.5]/real/seed0 x2: why {SHOWN}"
        for kind in ("RETRY", "FAILED", "TIMEOUT")
    ]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_terminal_shows_all_cells_and_a_row_a_worker_within_its_width(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.delenv("CI", raising=False)
    console = make_console(terminal=True, width=width)
    long = make_pack("a-name-that-is-longer-than-a-row-" * 4)
    compiling = replace(make_pack("another"), compiled=True)
    with make_display(console, packs_of(21, width=30)) as display:
        display.on_event(Event(kind="progress", worker=0, pack=make_pack(width=30)))
        display.on_event(stored(worker=0, width=30))
        display.on_event(Event(kind="progress", worker=1, pack=long, done=0.25))
        display.on_event(Event(kind="started", worker=2, pack=compiling))
        display._bars.progress.refresh()
    drawn = printed(console)
    text = console.render_str(drawn[drawn.rindex("all cells") :]).plain
    assert "all cells" in text and "30/630" in text and "ETA" in text
    assert "waiting" in text and "25%" in text and "..." in text and "compiling" in text
    assert max(map(len, text.splitlines()[:4])) <= width


def test_more_workers_than_rows_do_not_fill_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    console = make_console(terminal=True)
    with make_display(console, packs_of(64)) as display:
        for worker in range(64):
            display.on_event(Event(kind="progress", worker=worker, pack=make_pack(), done=0.5))
        assert len(display._bars.progress.tasks) == 1 + 8


def test_in_ci_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    console = make_console(terminal=True)
    with make_display(console, packs_of(1)) as display:
        display.on_event(stored())
    assert printed(console) == "[2/2] 100% d/a/good[0.5]/real/seed0 x2: 2 ok\n"


def test_the_header_says_what_runs_where_with_which_plugins() -> None:
    console = make_console()
    names = [(f"p{i}", "membench") for i in range(7)] + [
        ("mine", "./plugins/mine.py"),
        (HOSTILE, "x.py"),
    ]
    plugins = by_origin([*names, ("yours", "./plugins/mine.py")])
    print_header(
        console,
        Header(
            suite="quick 1",
            cells=630,
            reused=120,
            device="cpu AVX512",
            torch="2.15.0",
            workers=2,
            records="leaderboard/records",
            plugins=plugins,
        ),
    )
    assert [line.rstrip() for line in printed(console).splitlines()] == [
        "suite    quick 1: 630 cells, 120 of them in the store already",
        "device   cpu AVX512, 2 workers, torch 2.15.0",
        "plugins  membench: 7 plugins",
        "         ./plugins/mine.py: mine, yours",
        f"         x.py: {SHOWN}",
        "records  leaderboard/records",
    ]


def failure(index: int = 0, reason: str = HOSTILE, status: str = "failed") -> Failure:
    pack = make_pack("mine", index, file="plugins/mine.py")
    output = f"Traceback\n  {HOSTILE}\n" + "    line\n" * 3
    return Failure.of(pack, status, reason, output, cells=len(pack.cells))


def test_the_summary_tells_each_reason_once_and_the_command_that_looks_into_it() -> None:
    console = make_console()
    failures = (failure(0), failure(1), failure(2, "too long", "timeout"))
    print_summary(
        console,
        Summary(ok=610, diverged=5, failed=4, timeout=2, reused=12, failures=failures, seconds=754),
    )
    lines = [line.strip(" ─") for line in printed(console).splitlines()]
    assert lines == [
        f"failed mine, 4 cells: {SHOWN}",
        "membench check plugins/mine.py says how to mend it",
        "timeout mine, 2 cells: too long",
        "membench check plugins/mine.py says how to mend it",
        "-v shows the tracebacks",
        "610 ok, 5 diverged, 4 failed, 2 timeout, 12 reused in 12:34",
    ]
    assert not set(printed(console)) & set("\x1b\x07\u202e")


def test_a_verbose_summary_shows_the_output_of_the_first_five_failures() -> None:
    console = make_console()
    print_summary(console, Summary(failures=tuple(failure(i) for i in range(20))), verbosity=1)
    shown = printed(console)
    assert shown.count("Traceback") == 5
    assert "[red]big[/red]  [2J  :smile: {x}  back" in shown
    assert "failed mine, 40 cells" in shown


def test_the_longest_packs_are_shown_in_order() -> None:
    console = make_console()
    summary = Summary(durations=(("a x15", 3.0), ("b x15", 12.5), ("c x15", 1.0)))
    print_durations(console, summary, 2)
    assert printed(console).splitlines() == [
        "slowest 2 packs",
        "   12.50 s  b x15",
        "    3.00 s  a x15",
    ]


def test_a_quiet_run_shows_what_fails_and_nothing_else() -> None:
    console = make_console()
    with Display(console, Forecast(workers=1, experience=Experience()), quiet=True) as display:
        display.plan(packs_of(2), Expected())
        display.on_event(Event(kind="started", worker=0, pack=make_pack()))
        display.on_event(stored())
        display.print_row("a row")
        display.on_event(Event(kind="failed", worker=0, pack=make_pack(index=1), reason="why"))
    assert printed(console) == "FAILED d/a/good[0.5]/real/seed2 x2: why\n"


def test_an_interrupted_run_says_how_to_go_on_and_what_is_lost() -> None:
    console = make_console()
    print_summary(console, Summary(interrupted=True, lost=((15, 0.4), (2, 0.0)), seconds=3.0))
    said = "interrupted: the same command goes on from here; what is lost: 15 cells at 40%, 2 cells"
    assert said in printed(console)
    assert "nothing trained in 0:03" in printed(console)

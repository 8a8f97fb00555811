"""The pool: a pack that breaks its worker costs itself alone, and nothing outlives the driver."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.processes import command_line
from support.processes import processes_with
from support.processes import wait_until
from support.suites import shipped_suite
from support.trainers import REPO
from support.trainers import local_workers
from support.trainers import make_pack

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution import worker
from membench.execution.pool import run_packs
from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.execution.worker import ONE_THREAD
from membench.execution.worker import worker_command
from membench.planning.packs import Pack
from membench.planning.plan import make_plan
from membench.records import digest
from membench.registry.registry import discover
from membench.store.store import Store

DRIVER = """
import signal, sys
from pathlib import Path
from support.trainers import *
from membench.execution.pool import run_packs
from membench.store.store import Store
from membench.execution.worker import worker_command

# A test run in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
store = Store(Path(sys.argv[1]))
packs = [make_pack(name, i) for i, name in enumerate(sys.argv[2:])]
command = worker_command(store.folder, trainer="support.trainers:train")
def print_event(event):
    print(event.kind, event.pack.id, flush=True)
summary = run_packs(
    packs,
    store=store,
    factory=local_workers(command),
    workers=2,
    time_limit=100,
    on_event=print_event,
)
print("summary", summary.ok, summary.interrupted, summary.lost, flush=True)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{REPO / 'tests'}")
    monkeypatch.setenv("POOL_TEST_NOTES", str(tmp_path / "notes"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


@pytest.fixture
def run(store: Store) -> Callable[..., Summary]:
    """`run_packs` with two workers, the trainer of these tests, and a short time limit."""

    def run(*packs: Pack, command: Sequence[str] = (), **options: object) -> Summary:
        default = worker_command(store.folder, device="cpu", trainer="support.trainers:train")
        factory = local_workers(command or default)
        defaults = {"store": store, "factory": factory, "workers": 2, "time_limit": 20.0}
        return run_packs(packs, **{**defaults, **options})

    return run


def statuses(store: Store) -> Counter[str]:
    return Counter(f"{r.regularizer} {r.status}" for r in store.read().records.values())


def test_every_pack_is_trained_and_stored(run: Callable[..., Summary], store: Store) -> None:
    summary = run(*(make_pack(index=i) for i in range(5)), make_pack("diverging"), reused=7)
    assert (summary.ok, summary.diverged, summary.reused, summary.failures) == (10, 2, 7, ())
    assert not summary.interrupted and summary.seconds > 0
    assert statuses(store) == {"good ok": 10, "diverging diverged": 2}
    assert store.merge() > 0 and not list(store.shards.glob("*.jsonl"))


def test_packs_that_follow_from_stored_and_from_failed_ones_are_trained_too(
    run: Callable[..., Summary], store: Store
) -> None:
    news = store.news()
    told: list[tuple[str, list[str]]] = []
    follow = {"good": [make_pack(index=7)], "raise": [make_pack("diverging")], "diverging": []}

    def follow_up(pack: Pack) -> list[Pack]:
        told.append((pack.program[2], [record.status for record in news.read()]))
        return follow.pop(pack.program[2], [])

    summary = run(make_pack(), make_pack("raise"), follow_up=follow_up)
    assert (summary.ok, summary.diverged, summary.failed) == (4, 2, 2)
    assert statuses(store) == {"good ok": 4, "diverging diverged": 2, "raise failed": 2}
    told_of = Counter(name for name, _ in told)
    assert told_of == {"good": 2, "raise": 1, "diverging": 1}
    statuses_told = Counter(status for _, new in told for status in new)
    assert statuses_told == {"ok": 4, "diverged": 2, "failed": 2}


def test_a_run_without_packs_starts_no_worker(run: Callable[..., Summary], store: Store) -> None:
    assert run(command=["/nonexistent"]).ok == 0
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (
            "raise",
            r"RuntimeError: no \[bold\]luck\[/bold\] at \[31mall \(support/trainers.py:\d+\)",
        ),
        ("exit", r"SystemExit: 4 \(support/trainers.py:\d+\)"),
        ("die", "worker died: exit status 3"),
        ("segfault", "worker died: killed by SIGSEGV"),
        (
            "lose-one",
            r"ValueError: the records are not those of the pack's cells "
            r"\(execution/worker.py:\d+\)",
        ),
    ],
)
def test_a_pack_that_breaks_its_worker_costs_only_itself(
    run: Callable[..., Summary], store: Store, behaviour: str, reason: str
) -> None:
    bad = make_pack(behaviour)
    summary = run(bad, *(make_pack(index=i) for i in range(3)))
    assert (summary.ok, summary.failed, summary.timeout) == (6, 2, 0)
    (failure,) = summary.failures
    assert (failure.pack, failure.status) == (bad.id, "failed")
    assert re.fullmatch(reason, failure.reason)
    failed = [record for record in store.read().records.values() if record.status == "failed"]
    assert [(r.reason, r.pack, r.env) for r in failed] == [(failure.reason, bad.id, digest({}))] * 2
    assert {record.cell for record in failed} == set(bad.cells)


def test_the_traceback_of_a_pack_is_kept_for_the_report(run: Callable[..., Summary]) -> None:
    (failure,) = run(make_pack("raise")).failures
    assert failure.output.startswith("Traceback") and "in _raise" in failure.output
    (failure,) = run(make_pack("segfault")).failures
    assert "Segmentation fault" in failure.output and "in _segfault" in failure.output


@pytest.mark.parametrize("behaviour", ["hang", "hold-the-gil", "print-for-ever", "leave"])
def test_a_pack_that_hangs_ends_at_its_time_limit(
    run: Callable[..., Summary], store: Store, tmp_path: Path, behaviour: str
) -> None:
    times: dict[str, float] = {}

    def note(event: Event) -> None:
        if event.pack.program[2] == behaviour:
            times.setdefault(event.kind, time.monotonic())

    summary = run(make_pack(behaviour), make_pack(), time_limit=0.7, on_event=note)
    assert times["timeout"] - times["started"] < 0.7 + 5
    assert (summary.ok, summary.timeout) == (2, 2)
    assert summary.failures[0].reason == "no progress within 0.7 s"
    assert statuses(store) == {"good ok": 2, f"{behaviour} timeout": 2}
    wait_until(lambda: not processes_with(tmp_path))


def test_progress_that_grows_starts_the_time_limit_anew(run: Callable[..., Summary]) -> None:
    times: dict[str, float] = {}

    def note(event: Event) -> None:
        times.setdefault(event.kind, time.monotonic())

    summary = run(make_pack("advance"), time_limit=0.7, on_event=note)
    assert (summary.ok, summary.timeout) == (2, 0)
    assert times["stored"] - times["started"] > 0.7


def test_a_pack_that_reports_the_same_progress_again_and_again_ends_at_its_time_limit(
    run: Callable[..., Summary],
) -> None:
    summary = run(make_pack("stand-still"), time_limit=0.7)
    assert (summary.ok, summary.timeout) == (0, 2)


@pytest.mark.parametrize("gpu_workers", [0, 1, 3])
@pytest.mark.parametrize("chosen", [{}, {"TORCHINDUCTOR_COMPILE_THREADS": "5"}])
def test_a_worker_s_thread_variables_are_those_of_its_device_or_the_user_s(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu_workers: int,
    chosen: dict[str, str],
) -> None:
    monkeypatch.setattr(worker, "available_cores", lambda: 8)
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    printed = tmp_path / "printed"
    command = ["sh", "-c", f"env > {printed}; exit 1"]
    with pytest.raises(MembenchError, match="workers cannot start"):
        factory = local_workers(command, gpu_workers=gpu_workers)
        run_packs([make_pack()], store=store, factory=factory, workers=1, time_limit=9)
    variables = dict(line.split("=", 1) for line in printed.read_text().splitlines() if "=" in line)
    expected = {**ONE_THREAD, "OMP_NUM_THREADS": "3", **chosen}
    if gpu_workers == 1 and not chosen:
        del expected["TORCHINDUCTOR_COMPILE_THREADS"]
    if gpu_workers == 3 and not chosen:
        expected["TORCHINDUCTOR_COMPILE_THREADS"] = "2"
    assert {name: variables[name] for name in ONE_THREAD if name in variables} == expected


def test_a_pack_whose_worker_died_is_tried_once_more(
    run: Callable[..., Summary], store: Store
) -> None:
    events: list[Event] = []
    summary = run(make_pack("die-once"), on_event=events.append)
    assert (summary.ok, summary.failures) == (2, ())
    assert [event.kind for event in events if event.kind != "progress"] == [
        "started",
        "retry",
        "started",
        "stored",
    ]
    assert events[-1].counts == {"ok": 2} and {event.pack for event in events} == {
        make_pack("die-once")
    }


def test_a_worker_that_a_pack_has_spoilt_is_replaced_and_no_cell_fails(
    run: Callable[..., Summary], store: Store, tmp_path: Path
) -> None:
    """Each pack is stored by a process of its own, and none is given to a worker that ends."""
    events: list[str] = []
    packs = [make_pack("spoil", i) for i in range(4)]
    summary = run(*packs, workers=1, on_event=lambda event: events.append(event.kind))
    assert (summary.ok, summary.failures) == (8, ())
    assert statuses(store) == {"spoil ok": 8}
    assert events.count("stored") == 4
    assert "retry" not in events
    processes = [line.split()[0] for line in (tmp_path / "notes").read_text().splitlines()]
    assert len(set(processes)) == 4


def test_no_worker_trains_packs_of_two_foreign_files_or_of_one_and_of_what_ships(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    """What a plugin's file does to its process reaches no other plugin."""
    packs = []
    for index, file in enumerate(("", "mine.py", "yours.py") * 3):
        task = f"d/{file.removesuffix('.py') or 'ships'}"
        packs.append(make_pack("note", index, task=task, file=file))
    assert run(*packs).ok == 18
    files_by_worker: dict[str, set[str]] = {}
    for line in (tmp_path / "notes").read_text().splitlines():
        worker, pack_id = line.split(" ", 1)
        files_by_worker.setdefault(worker, set()).add(pack_id.split("/")[1])
    assert all(len(files) == 1 for files in files_by_worker.values())
    assert set().union(*files_by_worker.values()) == {"ships", "mine", "yours"}


def test_cells_that_come_back_failed_count_as_a_failure(run: Callable[..., Summary]) -> None:
    summary = run(make_pack("failing"), make_pack("hang"), workers=1, max_failures=1)
    assert (summary.ok, summary.failed) == (0, 2)
    assert [failure.reason for failure in summary.failures] == ["why"]


def test_a_pack_whose_worker_died_is_not_retried_without_retries(
    run: Callable[..., Summary],
) -> None:
    assert run(make_pack("die-once"), retries_on_death=0).failed == 2


def test_records_that_a_dying_worker_stored_win_over_its_failure(
    run: Callable[..., Summary], store: Store
) -> None:
    assert run(make_pack("store-then-die")).failed == 2
    assert statuses(store) == {"store-then-die ok": 2}


def test_a_plugin_that_prints_messages_or_reads_packs_changes_nothing(
    run: Callable[..., Summary],
) -> None:
    summary = run(make_pack("print"))
    assert (summary.ok, summary.failures) == (2, ())


def test_the_first_failure_ends_the_run_if_asked(run: Callable[..., Summary]) -> None:
    packs = [make_pack("raise", epochs=9), *(make_pack("hang", i) for i in range(3))]
    summary = run(*packs, max_failures=1)
    assert (summary.failed, summary.ok, len(summary.failures), summary.interrupted) == (
        2,
        0,
        1,
        False,
    )


def test_workers_prefer_packs_of_the_program_they_have_compiled(
    run: Callable[..., Summary],
) -> None:
    served: dict[int, list[str]] = {0: [], 1: []}

    def note(event: Event) -> None:
        if event.kind == "stored":
            served[event.worker].append(event.pack.program[2])

    run(*(make_pack(name, i) for name in ("slow", "good") for i in range(4)), on_event=note)
    assert served[0][:2] != served[1][:2]
    assert all(len(set(names)) == 1 or names[:4].count(names[0]) == 4 for names in served.values())


def test_a_pack_larger_than_a_pipe_reaches_its_worker(run: Callable[..., Summary]) -> None:
    assert run(make_pack(width=1000)).ok == 1000


def test_the_run_ends_when_workers_cannot_start(run: Callable[..., Summary], store: Store) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no torch here')"]
    with pytest.raises(
        MembenchError, match=r"workers cannot start: .* exit status 1: no torch here"
    ) as caught:
        run(make_pack(), command=command)
    assert caught.value.code is ExitCode.INTERNAL


def test_the_run_ends_when_workers_cannot_write_the_store(
    run: Callable[..., Summary], store: Store
) -> None:
    store.folder.write_text("a file")
    with pytest.raises(MembenchError, match="cannot write") as caught:
        run(make_pack())
    assert caught.value.code is ExitCode.DISK


def test_a_full_disk_ends_the_run_and_keeps_stored_records(
    run: Callable[..., Summary], store: Store
) -> None:
    packs = [make_pack(epochs=3), make_pack("fill-the-disk", epochs=2), make_pack("hang")]
    acknowledged: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "stored":
            acknowledged.append(event.pack.program[2])

    with pytest.raises(
        MembenchError, match="File too large; all that was stored before is intact"
    ) as caught:
        run(*packs, workers=1, on_event=note)
    assert caught.value.code is ExitCode.DISK
    assert acknowledged == ["good"]
    assert statuses(store) == {"good ok": 2}


def test_no_process_is_left_when_the_listener_raises(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    def stumble(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(make_pack("hang"), make_pack(), on_event=stumble)
    wait_until(lambda: not processes_with(tmp_path))


def test_a_pool_runs_in_a_thread(run: Callable[..., Summary]) -> None:
    summaries: list[Summary] = []
    thread = threading.Thread(target=lambda: summaries.append(run(make_pack())))
    thread.start()
    thread.join()
    assert summaries[0].ok == 2


def test_a_worker_that_is_killed_or_loses_its_reaper_is_replaced(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    """The pool kills the group of a reaper that is gone."""
    killed: list[str] = []

    def kill(event: Event) -> None:
        if event.kind != "started" or len(killed) == 2:
            return
        victim = "worker" if killed else "reaper"
        for folder in Path("/proc").glob("[0-9]*"):
            line = command_line(int(folder.name))
            is_reaper = "reaper.py" in line  # its arguments are the worker's command
            is_worker = "-m membench.execution.worker" in line and not is_reaper
            if str(tmp_path) in line and (is_worker if victim == "worker" else is_reaper):
                os.kill(int(folder.name), signal.SIGKILL)
        killed.append(victim)

    summary = run(make_pack("slow"), on_event=kill, workers=1, retries_on_death=2)
    assert (summary.ok, killed) == (2, ["reaper", "worker"])
    wait_until(lambda: not processes_with(tmp_path))


def start_driver(store: Store, *behaviours: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, store.folder, *behaviours], stdout=subprocess.PIPE, text=True
    )


def read_until(driver: subprocess.Popen[str], start: str) -> list[str]:
    """The driver's lines up to the first that starts so."""
    lines = []
    for line in driver.stdout:
        lines.append(line.strip())
        if line.startswith(start):
            return lines
    raise AssertionError(f"the driver ended without {start!r}: {lines}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_run_with_a_summary_and_what_was_stored(
    store: Store, tmp_path: Path, number: signal.Signals
) -> None:
    with start_driver(store, "good", "hang", "hold-the-gil", "good") as driver:
        read_until(driver, "stored")
        wait_until(lambda: len(processes_with(tmp_path)) >= 5)
        driver.send_signal(number)
        summary = read_until(driver, "summary")[-1]
        assert summary.startswith(("summary 2 True", "summary 4 True"))
        assert driver.wait(5) == 0
    wait_until(lambda: not processes_with(tmp_path))
    assert statuses(store)["good ok"] >= 2 and store.read().torn == 0


def test_a_pack_that_is_about_to_end_is_waited_for_and_what_is_lost_of_others_is_told(
    store: Store, tmp_path: Path
) -> None:
    with start_driver(store, "nearly-done", "far-from-done") as driver:
        for _ in range(4):  # two reports of each
            read_until(driver, "progress")
        driver.send_signal(signal.SIGINT)
        assert "nearly-done" in read_until(driver, "ending")[-1]
        (tmp_path / "notes").touch()
        assert "nearly-done" in read_until(driver, "stored")[-1]
        assert read_until(driver, "summary")[-1] == "summary 2 True ((2, 0.501),)"
    assert statuses(store) == {"nearly-done ok": 2}


def test_a_second_signal_does_not_wait_for_a_pack_that_is_about_to_end(store: Store) -> None:
    with start_driver(store, "nearly-done") as driver:
        for _ in range(2):
            read_until(driver, "progress")
        driver.send_signal(signal.SIGINT)
        read_until(driver, "ending")
        driver.send_signal(signal.SIGINT)
        assert driver.wait(5) != 0


def test_no_worker_and_no_child_of_one_survives_the_driver(store: Store, tmp_path: Path) -> None:
    """This includes a worker that holds the GIL in C, and a worker's grandchildren."""
    notes = tmp_path / "notes"
    with start_driver(store, "good", "children", "hold-the-gil") as driver:
        acknowledged = read_until(driver, "stored")
        wait_until(lambda: notes.exists() and notes.read_text().count("child") == 2)
        read_until(driver, "started d/a/hold-the-gil")
        driver.kill()
        wait_until(lambda: not processes_with(tmp_path))
    assert acknowledged[-1].startswith("stored d/a/good")
    assert statuses(store) == {"good ok": 2}


PLUGIN = """
from membench import Regularizer, hookimpl

def shift(x, y, lane):
    return x + lane.strenght, y

@hookimpl
def register():
    return [Regularizer("mistyped", strengths=(0.1, 0.2, 0.3, 0.4, 0.5), batch=shift)]
"""


@pytest.mark.slow
def test_the_engine_trains_in_a_worker_and_a_plugins_error_names_its_line(
    store: Store, tmp_path: Path
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    registry = discover([str(plugin)])
    plan = make_plan(
        shipped_suite("smoke"),
        registry,
        lambda name: "",
        lambda *names: None,
        lambda cell: "mistyped" in cell,
    )
    packs = [pack for pack in plan.packs() if pack.cells[0].regularizer in ("none", "mistyped")]
    command = worker_command(store.folder, device="cpu", plugins=[str(plugin)])
    factory = local_workers(command)
    summary = run_packs(packs, store=store, factory=factory, workers=1, time_limit=100)
    assert summary.ok == sum(
        len(pack.cells) for pack in packs if pack.cells[0].regularizer == "none"
    )
    assert {f.reason.partition(":")[0] for f in summary.failures} == {"LaneError"}
    assert all(f.reason.endswith("/mine.py:5)") for f in summary.failures)
    assert len({record.env for record in store.read().records.values()}) == 1

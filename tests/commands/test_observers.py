"""Observers are told what a run does, in order and once; what they raise costs the run nothing."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.cli import REPO
from support.cli import Shell

from membench import hookimpl
from membench.commands.observers import Observers
from membench.commands.observers import hook_names
from membench.commands.observers import load_observers
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Record
from membench.store.store import Store

RUN = ["run", "--suite", "tiny", "-n", "1", "-k", "label-smoothing or (raising and [1])"]
STUDY = REPO / "tests" / "support" / "tiny_study.py"
#: Its packs fail, and what they leave are records too.
RAISING = """\
from membench import Regularizer, hookimpl


def weights(params, lane):
    raise ValueError("no such luck")


@hookimpl
def register():
    return [Regularizer("raising", strengths=(1, 2, 3, 4, 5), weights=weights)]
"""
#: Writes down what it is told; `records` counts what the store holds for certain at that time.
DIARY = """\
import json
from pathlib import Path

from membench import hookimpl
from membench.store.store import Store

STORE = Store(Path("leaderboard/records"))


def note(hook, **what):
    with open("diary.jsonl", "a") as file:
        file.write(json.dumps({"hook": hook, **what}) + "\\n")


@hookimpl
def membench_run_started(suite, cells, environment):
    note("run_started", suite=suite, cells=cells, torch=environment["torch"])


@hookimpl
def membench_cell_finished(record):
    stored = (record.key, record.env) in STORE.read().records
    note("cell_finished", id=record.id, status=record.status, stored=stored)


@hookimpl
def membench_row_finished(row):
    note("row_finished", entry=row.entry, H=row.H and row.H.mean, reason=row.reason)


@hookimpl
def membench_run_finished(summary):
    note("run_finished", ok=summary.ok, reused=summary.reused, failed=summary.failed)


@hookimpl
def membench_board_written(folder):
    note("board_written", page=(folder / "README.md").is_file())
"""
FAULTY = """\
from membench import hookimpl


@hookimpl
def membench_cell_finished(record):
    raise ValueError("no connection")


@hookimpl
def membench_run_finished():
    raise SystemExit(3)
"""


def diary(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "diary.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def observed(
    inside: Shell, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict], str]:
    """A run with two observers, the first of which raises: its folder, what was told, stderr."""
    folder = tmp_path_factory.mktemp("observed")
    (folder / "diary.py").write_text(DIARY)
    (folder / "faulty.py").write_text(FAULTY)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "raising.py").write_text(RAISING)
    done = inside([*RUN, "--observer", "faulty.py", "--observer", "diary.py"], folder)
    assert done.returncode == ExitCode.FAILED, done.stderr
    return folder, diary(folder), done.stderr


Observed = tuple[Path, list[dict], str]


def test_the_hooks_are_called_in_the_order_of_the_run(observed: Observed) -> None:
    _, told, _ = observed
    order = list(dict.fromkeys(line["hook"] for line in told))
    assert [f"membench_{name}" for name in order] == hook_names()
    started, *_, finished, written = told
    assert started["suite"] == "tiny 1" and started["cells"] > 0 and started["torch"]
    assert finished["hook"] == "run_finished"
    assert written == {"hook": "board_written", "page": True}


def test_every_cell_is_told_once_when_its_record_is_stored(observed: Observed) -> None:
    folder, told, _ = observed
    cells = [line for line in told if line["hook"] == "cell_finished"]
    stored = Store(folder / "leaderboard" / "records").read().records.values()
    assert sorted(line["id"] for line in cells) == sorted(record.id for record in stored)
    assert {line["stored"] for line in cells} == {True}
    (finished,) = [line for line in told if line["hook"] == "run_finished"]
    failed = [line for line in cells if line["status"] == "failed"]
    assert (finished["ok"], finished["failed"]) == (len(cells) - 3, 3)
    assert {line["id"].split("/")[2] for line in failed} == {"raising[1]"}


def test_a_row_is_told_once_as_it_is_on_the_board(observed: Observed) -> None:
    _, told, _ = observed
    rows = {line["entry"]: line for line in told if line["hook"] == "row_finished"}
    assert len(rows) == [line["hook"] for line in told].count("row_finished")
    assert {"label-smoothing", "training less"} <= rows.keys()
    line = rows["label-smoothing"]  # in six steps the plain network memorizes nothing
    assert (line["H"], line["reason"]) == (None, "no task is valid")


def test_what_an_observer_raises_is_named_once_for_each_hook(observed: Observed) -> None:
    _, _, err = observed
    raised = [line for line in err.splitlines() if "faulty.py" in line]
    assert len(raised) == 2
    first, second = raised
    assert first.startswith(
        "observer faulty.py: membench_cell_finished raised ValueError: no connection ("
    )
    assert "faulty.py:6" in first and first.endswith("; the run goes on")
    assert "membench_run_finished raised SystemExit: 3" in second


def test_a_run_that_trains_nothing_tells_no_cell(observed: Observed, inside: Shell) -> None:
    folder, told, _ = observed
    done = inside([*RUN, "-q", "--observer", "diary.py"], folder)
    assert done.returncode == ExitCode.FAILED, done.stderr
    again = diary(folder)[len(told) :]
    assert [line["hook"] for line in again] == ["run_started", "run_finished", "board_written"]
    assert again[1]["ok"] == 0 and again[1]["reused"] == again[0]["cells"]


def test_studies_are_told_too(inside: Shell, tmp_path: Path) -> None:
    (tmp_path / "diary.py").write_text(DIARY.replace("leaderboard/records", "out/records"))
    words = ["reproduce", "-p", str(STUDY), "tiny", "--out", "out", "-n", "1"]
    done = inside([*words, "--observer", "diary.py"], tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    started, *cells, finished, written = diary(tmp_path)
    assert started["suite"] == "tiny at scale quick" and started["cells"] == len(cells)
    assert {line["hook"] for line in cells} == {"cell_finished"}
    assert {line["stored"] for line in cells} == {True}
    assert finished["ok"] == len(cells) and written["page"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def register():\n    return []\n",
            "no function of it is marked @membench.hookimpl; its hooks are membench_run_started, ",
        ),
        (
            "from membench import hookimpl\n\n@hookimpl\ndef membench_cell_finish(record): ...\n",
            "there is no hook membench_cell_finish: did you mean membench_cell_finished?",
        ),
        (
            "from membench import hookimpl\n\n@hookimpl\ndef membench_cell_finished(cell): ...\n",
            "membench_cell_finished(record) is the most that it may take",
        ),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_is_no_observer_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(MembenchError) as raised:
        load_observers(["mine.py"])
    assert message in str(raised.value)
    assert "mine.py: " in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.code == ExitCode.USAGE


def test_an_observer_that_is_not_there_ends_the_command(inside: Shell, tmp_path: Path) -> None:
    done = inside([*RUN, "--observer", "absent.py"], tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "--observer absent.py: no such Python file; correct the path" in done.stderr


class Counter:
    """An observer that is an object, as a notebook has it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def membench_cell_finished(self, record: Record) -> None:
        self.seen.append(record.id)
        raise OSError(f"away at {record.id}")


def test_a_hook_that_has_raised_is_called_again(capsys: pytest.CaptureFixture[str]) -> None:
    counter = Counter()
    observers = load_observers([counter])
    for name in ("one", "two"):
        observers.tell("membench_cell_finished", record=SimpleNamespace(id=name))
    assert counter.seen == ["one", "two"]
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("observer Counter: membench_cell_finished raised OSError: away at one")


def test_observers_of_installed_packages_are_found_and_faulty_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "installed_diary.py").write_text(DIARY)
    package = tmp_path / "diary-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    points = "[membench.observers]\ngood = installed_diary\nwrong = no_such_module\n"
    (package / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert metadata.entry_points(group="membench.observers").names == {"good", "wrong"}
    observers = load_observers([])
    observers.tell("membench_run_started", suite="tiny 1", cells=3, environment={"torch": "2"})
    assert diary(tmp_path) == [{"hook": "run_started", "suite": "tiny 1", "cells": 3, "torch": "2"}]
    assert "observer diary: no module named 'no_such_module'" in capsys.readouterr().err


def test_without_observers_nobody_is_told() -> None:
    assert not Observers()
    Observers().tell("membench_run_finished", summary=None)

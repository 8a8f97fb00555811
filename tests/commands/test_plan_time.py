"""What `membench plan` says of the time: nothing without records, then the work that is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from support.phase_records import record_of
from support.phase_records import records_of
from support.plans import SUITE
from support.plans import plan_of

from membench.api import Recipe
from membench.commands.plan import time_left
from membench.planning.plan import Plan
from membench.records import Record
from membench.records import digest
from membench.store.store import Store

VERSIONS = {"torch": "2", "device": "cpu FAST"}
RECIPE = Recipe(batch=10, epochs=50)  # 150 steps on 30 images


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan of one network, and an empty working folder."""
    monkeypatch.chdir(tmp_path)
    suite = replace(SUITE, architectures=("mlp",), recipes={("dots", "mlp"): RECIPE})
    return plan_of(suite, select=lambda cell: "/dropout[" in cell or "/none/" in cell)


def put(out: Path, records: Iterable[Record], seconds: float = 2.0) -> None:
    env = digest(VERSIONS)
    with Store(out / "records").writer() as writer:
        writer.append(
            [replace(r, env=env, versions=VERSIONS, steps=150, seconds=seconds) for r in records]
        )


def test_before_anything_is_trained_nothing_is_known(plan: Plan) -> None:
    (line,) = time_left(plan, Path("my-board"), workers=2)
    assert line == "how long it takes is told once something has been trained in my-board"


def test_what_is_left_takes_as_long_as_what_was_measured(plan: Plan, tmp_path: Path) -> None:
    put(Path("my-board"), records_of(plan, "none"))
    done, line = time_left(plan, Path("my-board"), workers=1)
    assert done == "9 of these cells have records in my-board"
    # 12 cells of dropout choose and 3 confirm, at the usual 1.5 plain steps a step; 6 and 3 of the
    # control are plain: at 2 s a plain cell
    assert 2 * (1.5 * (12 + 3) + (6 + 3)) == 63
    assert line == (
        "the rest takes about 1:03 on 1 worker, at the speed of the records of cpu FAST in my-board"
    )


def test_a_new_folder_takes_the_speed_of_the_default_one(plan: Plan) -> None:
    put(Path("leaderboard"), records_of(plan, "none"), seconds=20.0)
    (line,) = time_left(plan, Path("my-board"), workers=2)
    assert line == (
        "about 6:45 on 2 workers, at the speed of the records of cpu FAST in leaderboard"
    )  # 20 s for each of 9 plain cells, and what is left of them above


def test_of_a_finished_plan_nothing_is_left(plan: Plan) -> None:
    records = records_of(plan, "none", "low-lr", "dropout")
    put(Path("my-board"), records)
    lines = time_left(plan, Path("my-board"), workers=2)
    assert "takes about" in lines[-1], "the second phase"
    whole = plan.confirming(
        {("dots/mlp", "dropout"): ((0.1,), (0.5,)), ("dots/mlp", "low-lr"): ((1 / 3,),)}
    )
    put(Path("my-board"), [record_of(whole, cell) for cell in whole.cells])
    assert time_left(plan, Path("my-board"), workers=2)[-1] == "nothing is left to train"

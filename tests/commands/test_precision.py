"""The precision of a task: measured once, then obeyed; the records' where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.plans import registry
from support.records import make_record

from membench.api import Recipe
from membench.commands import precision
from membench.commands import session
from membench.commands.precision import Choice
from membench.commands.precision import Task
from membench.commands.precision import choose_precisions
from membench.commands.precision import compiled_environments
from membench.commands.precision import describe_choices
from membench.engine import environment
from membench.engine import matmul_trial
from membench.engine.machine import describe_machine
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.store.store import Store

FAST = Choice(precision="medium", speed=1.9)
SLOW = Choice(precision="highest", speed=0.5)


class Trials:
    """Stands in for the trial: the choice of each architecture, and what was measured."""

    def __init__(self, **outcomes: Choice | None) -> None:
        self.outcomes = outcomes
        self.measured: list[str] = []

    def measure(self, task: Task, folder: Path | None, time_products: object) -> Choice | None:
        self.measured.append(task.name)
        return self.outcomes[task.architecture]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """A machine that needs a trial: bfloat16 pays for the mlp only."""
    trials = Trials(mlp=FAST, cnn=SLOW)
    monkeypatch.setattr(environment, "needs_trial", lambda device: True)
    monkeypatch.setattr(precision, "_measure", trials.measure)
    return trials


def task(architecture: str, *keys: str) -> Task:
    return Task(
        dataset="dots",
        architecture=architecture,
        recipe=Recipe(),
        registry=registry(),
        keys=set(keys),
    )


def choose(store: Store, *tasks: Task, **options: Any) -> dict[str, Choice]:
    machine = describe_machine("cpu")
    trial = {"machine": machine, "time_products": matmul_trial.time_products}
    return choose_precisions(tasks, store, store.read(), **trial, **options)


def store_record(store: Store, architecture: str, env: str, **fields: Any) -> Record:
    record = make_record(Cell("dots", architecture, "none", (), "real", 0), env=env, **fields)
    with store.writer() as writer:
        writer.append([record])
    return record


def env_of(chosen: str) -> str:
    return digest(describe_machine("cpu").environments(True, chosen)[0])


def test_two_tasks_are_measured_once_and_may_differ(store: Store, trials: Trials) -> None:
    expected = {"dots/mlp": FAST, "dots/cnn": SLOW}
    assert choose(store, task("mlp", "1"), task("cnn", "2"), task("mlp", "3")) == expected
    trials.outcomes = {"mlp": SLOW, "cnn": FAST}  # noise in a timing
    assert choose(store, task("cnn", "2"), task("mlp", "4")) == expected
    assert trials.measured == ["dots/mlp", "dots/cnn"]


def test_a_store_obeys_the_precision_of_its_records_from_this_machine(
    store: Store, trials: Trials
) -> None:
    store_record(store, "mlp", env_of("highest"))
    store_record(store, "cnn", "another machine")
    choices = choose(store, task("mlp", "1"), task("cnn", "2"))
    assert choices == {"dots/mlp": Choice(precision="highest"), "dots/cnn": SLOW}
    assert trials.measured == ["dots/cnn"]


def test_what_was_decided_comes_before_the_records(store: Store, trials: Trials) -> None:
    assert choose(store, task("mlp", "1")) == {"dots/mlp": FAST}
    store_record(store, "mlp", env_of("highest"))
    assert choose(store, task("mlp", "1")) == {"dots/mlp": FAST}


def test_nothing_is_measured_where_all_records_count_already(store: Store, trials: Trials) -> None:
    record = store_record(store, "mlp", "another machine")
    assert choose(store, task("mlp", record.key), accept_all=True) == {}
    assert choose(store, task("mlp", record.key), measure=False) == {}
    assert trials.measured == [] and not (store.shards / "decisions.json").exists()
    choose(store, task("mlp", record.key, "2"), accept_all=True)
    assert trials.measured == ["dots/mlp"]


def test_a_network_that_cannot_be_measured_is_not_decided(store: Store, trials: Trials) -> None:
    trials.outcomes = {"mlp": None}
    assert choose(store, task("mlp", "1")) == {}
    assert not (store.shards / "decisions.json").exists()


def test_nothing_is_chosen_where_no_trial_is_needed(
    store: Store, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "needs_trial", lambda device: False)
    assert choose(store, task("mlp", "1")) == {}
    assert trials.measured == [] and not store.folder.exists()
    machine = describe_machine("cpu")
    assert compiled_environments({}, machine) == machine.environments(compiled=True)


def test_the_environments_of_both_precisions_count_that_of_bfloat16_first() -> None:
    machine = describe_machine("cpu")
    both = compiled_environments({"dots/cnn": SLOW, "dots/mlp": FAST}, machine)
    assert [environment["precision"] for environment in both] == ["medium", "highest"]
    (one,) = compiled_environments({"dots/cnn": SLOW}, machine)
    assert one == {**machine.environments(compiled=True)[0], "precision": "highest"}


def test_the_trial_of_a_shipped_network_gives_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul_trial, "TRIAL_SECONDS", 0.0)
    plugins = session.load_registry(Options())
    digits = Task(
        dataset="digits",
        architecture="small-mlp",
        recipe=Recipe(batch=30),
        registry=plugins,
        keys={"1"},
    )
    choice = precision._measure(digits, None, matmul_trial.time_products)
    assert choice is not None and choice.speed is not None and choice.speed > 0
    assert choice.precision in ("medium", "highest")
    missing = Task(dataset="digits", architecture="no-such", recipe=Recipe(), registry=plugins)
    assert precision._measure(missing, None, matmul_trial.time_products) is None


class Options:
    """The options of a command that looks for plugins."""

    plugins = ()


@pytest.mark.parametrize(
    ("choices", "lines"),
    [
        ({}, []),
        ({"a": FAST}, ["bfloat16 products: 1.9x fp32 here"]),
        (
            {"a": FAST, "b": Choice(precision="medium", speed=2.44)},
            ["bfloat16 products: 1.9x to 2.4x fp32 here"],
        ),
        ({"a": SLOW}, ["fp32 products: bfloat16 is 0.5x fp32 here"]),
        ({"a": Choice(precision="medium")}, ["bfloat16 products: as in the records here"]),
        (
            {"a": FAST, "b": SLOW},
            [
                "bfloat16 products: 1.9x fp32 here (a)",
                "fp32 products: bfloat16 is 0.5x fp32 here (b)",
            ],
        ),
    ],
)
def test_the_header_says_what_was_chosen(choices: dict[str, Choice], lines: list[str]) -> None:
    assert describe_choices(choices) == lines

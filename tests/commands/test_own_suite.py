"""A user's own suite and optimizer on the command line: listed, planned, narrowed, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.cli import Shell

from membench.commands import training
from membench.store.store import Store

OPTIMIZER = '''"""Sign descent: a step of the learning rate's size.

Nobody, 2026.
"""
import torch
from membench import Optimizer, hookimpl

def update(params, grads, slots, lr, t, recipe):
    return {k: w - lr * torch.sign(grads[k]) for k, w in params.items()}, slots

@hookimpl
def register():
    return [Optimizer("signs", init=lambda params, recipe: {}, update=update)]
'''
SUITE = '''"""Digits, 60 training images.

Nobody, 2026.
"""
from membench import Recipe, Split, Suite, hookimpl

@hookimpl
def register():
    mine = Suite(
        "mine",
        datasets=("digits",),
        architectures=("small-mlp",),
        signals=("real", "mixed@0.4", "randY"),
        choosing=(0, 1),
        confirming=(2, 3, 4),
        splits={"digits": Split(test=100, train=60, validation=100)},
        recipes={("digits", "small-mlp"): Recipe("signs", lr=0.01, batch=30, epochs=2)},
        compiled=False,
        version=7,
    )
    return [mine]
'''


@pytest.fixture
def _plugins(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "signs.py").write_text(OPTIMIZER)
    (tmp_path / "plugins" / "mine.py").write_text(SUITE)


pytestmark = pytest.mark.usefixtures("_plugins")


def test_a_user_s_suite_and_optimizer_are_listed(cli: Cli) -> None:
    code, out, err = cli("list", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    (mine,) = [suite for suite in listed["suites"] if suite["name"] == "mine"]
    assert (mine["summary"], mine["origin"]) == ("Digits, 60 training images", "plugins/mine.py")
    assert (mine["version"], mine["choosing"], mine["confirming"]) == (7, [0, 1], [2, 3, 4])
    assert mine["splits"]["digits"]["train"] == 60
    assert "signs" in [optimizer["name"] for optimizer in listed["optimizers"]]
    shown = cli("list")[1]
    assert "6 optimizers" in shown
    assert "7 suites" in shown
    table = cli("list", "suites")[1].splitlines()
    assert any(line.split()[-4:] == ["2", "+", "3", "plugins/mine.py"] for line in table)


def test_a_user_s_suite_is_planned(cli: Cli) -> None:
    code, out, err = cli("run", "--suite", "mine", "-k", "label-smoothing", "--collect-only")
    assert (code, err) == (0, "")
    assert "digits/small-mlp/label-smoothing[0.1]/mixed@0.4/seed1" in out.splitlines()
    assert "digits/small-mlp/none/real/seed4" in out.splitlines()
    assert "suite mine 7" in cli("plan", "--suite", "mine", "-k", "label-smoothing")[1]


def test_requested_signals_and_seeds_make_a_custom_suite(cli: Cli) -> None:
    words = ("--suite", "mine", "-k", "label-smoothing")
    narrowed = (*words, "--signals", "mixed@0.2,pair-flip@0.4", "--seeds", "8-9")
    code, out, err = cli("plan", *narrowed)
    assert code == 0
    assert "without real its runs are stored, and no row is scored" in err
    assert re.search("suite mine-custom-[0-9a-f]{4} 7", out)
    *ids, _ = cli("run", *narrowed, "--collect-only")[1].splitlines()
    assert {cell.split("/")[3] for cell in ids} == {"mixed@0.2", "pair-flip@0.4"}
    assert {cell.split("/")[4] for cell in ids} == {"seed0", "seed1", "seed8", "seed9"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suite", "mines"), "unknown suite 'mines': did you mean mine?"),
        (("--suite", "mine", "--signals", "mixd@0.2"), "unknown signal 'mixd': did you mean mixed"),
        (
            ("--suite", "mine", "--seeds", "1-3"),
            "--seeds: suite 'mine' chooses strengths on seed 1, so it cannot be read there; "
            "give other seeds than 0, 1",
        ),
    ],
)
def test_what_a_suite_cannot_be_asked_for_is_one_line_and_exit_code_4(
    cli: Cli, words: tuple[str, ...], said: str
) -> None:
    code, out, err = cli("plan", "-k", "dropout", *words)
    assert (code, out) == (4, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_suite_whose_optimizer_is_gone_is_refused_with_the_known_ones(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "plugins" / "signs.py").unlink()
    code, _, err = cli("plan", "--suite", "mine", "-k", "dropout")
    assert code == 4
    assert "recipe of digits/small-mlp: unknown optimizer 'signs'; known: adamw, lion, " in err


@pytest.mark.parametrize("command", [("plan",), ("run", "--out", "o")])
def test_a_refused_suite_is_named_before_it_is_said_to_be_unknown(
    cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "plugins" / "mine.py"
    path.write_text(SUITE.replace("confirming=(2, 3, 4)", "confirming=(1, 2, 3)"))
    code, _, err = cli(*command, "--suite", "mine", "-k", "dropout")
    assert code == 4
    assert err.splitlines() == [
        "plugins/mine.py: suite 'mine': seed 1 is in choosing and in confirming; "
        "what was chosen on a seed cannot be read on it",
        "membench: unknown suite 'mine': known: fashion, quick, quick-adamw, quick-noise, smoke, "
        "standard",
    ]


def test_what_an_optimizer_that_is_edited_while_a_run_starts_has_trained_is_not_stored(
    inside: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "--suite", "mine", "-k", "none and real and seed2", "-n", "1", "--out", "o")
    train_missing = training.train_missing

    def edit_first(*arguments: Any) -> Any:
        (tmp_path / "plugins" / "signs.py").write_text(OPTIMIZER.replace("w - lr", "w - 2 * lr"))
        return train_missing(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_missing", edit_first)
        done = inside(words, tmp_path)
    assert done.returncode == 1
    assert "optimizer 'signs' (" in done.stderr
    assert "plugins/signs.py) is not the one that was planned; run the command again" in done.stderr
    store = Store(tmp_path / "o" / "records")
    assert store.read().records == {}

    assert inside(words, tmp_path).returncode == 0
    trained = store.read().records.values()
    assert {record.status for record in trained} == {"ok"}
    assert "digits/small-mlp/none/real/seed2" in {record.id for record in trained}

"""The suite `standard`: shown without its data, and at a small scale with all its signals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.cli import Cli
from support.cli import Shell
from support.engine import registry
from support.suites import shipped_suite

from membench.data import load_arrays
from membench.store.store import Store

STANDARD = shipped_suite("standard")
#: Digits from a file: what only `--data-dir` can give, to the workers too.
PLUGIN = """\
import numpy as np
from membench import Arrays, Dataset, hookimpl

def load(folder):
    with np.load(folder / "images.npz") as table:
        return Arrays(table["x"], table["y"], 10)

@hookimpl
def register():
    return [Dataset("mine", load)]
"""
SMALL = (
    "--datasets",
    "mine",
    "--data-dir",
    "sets",
    "--architectures",
    "mlp",
    "--train-size",
    "200",
    "--epochs",
    "60",
    "--seeds",
    "20-21",
)


def test_a_plan_is_shown_before_anything_is_fetched(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket", None)
    words = ("--suite", "standard", "--datasets", "cifar10", "--data-dir", str(tmp_path))
    code, out, err = cli("plan", *words)
    assert code == 0
    assert "suite standard 3: " in out
    assert "data set 'cifar10' is missing: there is no " in err
    assert "to get it: membench data fetch cifar10" in err
    code, out, _ = cli("run", "--all", *words, "--collect-only")
    assert code == 0
    assert "cifar10/wide-mlp/none/pair-flip@0.4/seed0" in out
    assert list(tmp_path.iterdir()) == []


def test_an_uncalibrated_data_set_is_left_out_with_the_reason(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("plan", "--suite", "standard", "--data-dir", str(tmp_path))
    assert code == 0
    assert (
        "fashion-mnist/wide-mlp" in out and "fashion-mnist/wide-cnn" in out and "cifar10" not in out
    )
    assert "cifar10 is left out: no recipe has been calibrated for it" in err
    assert "--datasets cifar10" in err


def test_a_run_needs_the_data(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli(
        "run", "--all", "--suite", "standard", "--datasets", "cifar10", "--data-dir", str(tmp_path)
    )
    assert (code, out) == (4, "")
    assert err.splitlines()[-1].startswith("membench: data set 'cifar10' is missing: ")


def test_full_sets_are_used_up_and_batches_leave_no_rest() -> None:
    totals = {"fashion-mnist": (60000, 10000), "cifar10": (50000, 10000)}
    for name, split in STANDARD.splits.items():
        assert (split.train + split.validation, split.test) == totals[name]
        assert split.train % 100 == 0


@pytest.mark.slow
def test_the_suite_runs_at_a_small_scale(shell: Shell, tmp_path: Path) -> None:
    arrays = load_arrays(registry().dataset("digits"))
    for folder in (tmp_path / "plugins", tmp_path / "sets" / "mine"):
        folder.mkdir(parents=True)
    (tmp_path / "plugins" / "mine.py").write_text(PLUGIN)
    np.savez(tmp_path / "sets" / "mine" / "images.npz", x=arrays.x, y=arrays.y)
    done = shell(
        ("run", "--suite", "standard", *SMALL, "-k", "input-dropout", "--out", "board"), tmp_path
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "board" / "README.md").read_text("utf-8")
    assert "standard-custom" in page
    records = list(Store(tmp_path / "board" / "records").read().records.values())
    (count,) = set(Counter(r.signal for r in records if r.regularizer == "none").values())
    assert count == len(STANDARD.choosing) + 2
    chosen = Counter(r.signal for r in records if r.regularizer == "input-dropout")
    assert chosen.keys() == set(STANDARD.signals)
    (count,) = set(chosen.values())
    choosing = 5 * len(STANDARD.choosing)
    assert choosing <= count <= choosing + 2 * 2  # at most two strengths are confirmed
    assert {(r.status, r.num_train) for r in records} == {("ok", 200)}
    for signal in STANDARD.signals:
        assert f"`{signal}`" in page

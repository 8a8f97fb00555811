"""What strangers bring (`tests/cases`), as the commands meet it: right, or refused by the cause."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.cli import REPO
from support.cli import Cli
from support.cli import Shell
from support.engine import pack
from support.engine import registry

from membench.api import Recipe
from membench.api import Split
from membench.data import draw_run
from membench.engine.train import train_pack
from membench.planning.suites import default_split
from membench.records import Cell
from membench.registry.discovery import PluginSource
from membench.registry.loading import load_records
from membench.registry.loading import read_plugin
from membench.registry.registry import discover
from membench.store.store import Store

CASES = REPO / "tests" / "cases"


@pytest.mark.parametrize(
    ("case", "words", "code", "said"),
    [
        (
            "data_nan",
            "--datasets with-nan -k none",
            4,
            "data set 'with-nan': 107 of 6000 values are not finite, the first in row 0",
        ),
        (
            "dropblock",
            "-k dropblock",
            5,
            "dropblock cannot act on digits/small-mlp: no feature map",
        ),
        (
            "arch_own_optimizer",
            "--architectures mlp-decay -k none",
            4,
            "recipe of digits/mlp-decay: unknown schedule 'step'; known: constant, cosine",
        ),
        (
            "signal_matrix",
            "-k class-noise@0.4",
            5,
            "no class-noise@0.4 among its signals: add --signals real,mixed@0.4,randY,class-noise",
        ),
    ],
)
def test_a_run_refuses_before_it_trains_and_names_the_cause(
    cli: Cli, case: str, words: str, code: int, said: str
) -> None:
    path = str(CASES / f"{case}.py")
    found, out, err = cli("run", "--suite", "smoke", "-p", path, *words.split())
    assert (found, out, len(err.splitlines())) == (code, "", 1)
    assert said in err
    assert not Path("leaderboard").exists()


def test_a_network_with_an_optimizer_that_ships_by_now_is_planned(cli: Cli) -> None:
    path = str(CASES / "arch_own_optimizer.py")
    words = ("--suite", "smoke", "--architectures", "mlp-lion", "-k", "none", "--collect-only")
    code, out, _ = cli("run", "-p", path, *words)
    assert code == 0
    assert "digits/mlp-lion/none/real/seed0" in out.splitlines()


def test_an_own_signal_is_planned_as_a_suite_of_its_own(cli: Cli, tmp_path: Path) -> None:
    text = (CASES / "signal_matrix.py").read_text()
    (tmp_path / "mine.py").write_text(text)
    signals = "real,class-noise@0.4"
    words = ("-p", "mine.py", "--suite", "smoke", "--signals", signals, "-k", "none")
    code, out, err = cli("run", *words, "--collect-only")
    assert (code, out) == (4, "")
    assert "write class-noise, or give its Signal levels=True" in err

    (tmp_path / "mine.py").write_text(text.replace('noise="labels"', 'noise="labels", levels=True'))
    code, out, err = cli("run", *words, "--collect-only")
    assert code == 0
    assert "digits/small-mlp/none/class-noise@0.4/seed0" in out.splitlines()
    assert err == ""


def test_an_own_signal_has_a_board_of_its_own_noise(inside: Shell, tmp_path: Path) -> None:
    text = (CASES / "signal_matrix.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace('noise="labels"', 'noise="labels", levels=True'))
    words = ("-p", "mine.py", "--suite", "tiny", "--signals", "real,class-noise@0.4")
    done = inside(("run", *words, "-k", "label-smoothing", "--out", "b", "-n", "1"), tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "b" / "README.md").read_text()
    assert "The training labels are noisy as `class-noise@0.4` makes them." in page
    assert "lacks" not in page
    assert "*M*⁰@class-noise" in page  # what the plain network memorized of it
    (manifest,) = Store(tmp_path / "b" / "records").manifests().values()
    assert manifest.noisy == ("class-noise@0.4",)


def test_a_rare_class_is_in_each_split_in_its_share() -> None:
    plugins = discover([str(CASES / "data_imbalanced.py")])
    arrays = plugins.dataset("imbalanced").load(None)
    split = default_split(len(arrays.y), 0)
    drawn = draw_run(arrays, split, registry().signal("real"), None, "imbalanced/small-mlp", 0)
    rare = [int((arrays.y[part.rows] == 1).sum()) for part in (drawn.train, drawn.val, drawn.test)]
    assert rare == [9, 9, 12]


def test_a_class_that_is_too_rare_for_each_split_is_refused_by_name_and_number(
    cli: Cli, tmp_path: Path
) -> None:
    text = (CASES / "data_imbalanced.py").read_text()
    assert "30" in text
    (tmp_path / "rare.py").write_text(text.replace("30", "2"))
    words = ("--suite", "smoke", "--datasets", "imbalanced", "-k", "none")
    code, _, err = cli("run", "-p", "rare.py", *words)
    assert code == 4
    assert "data set 'imbalanced': 2 images of class 1 are too few" in err


def test_a_tensor_without_a_device_trains_on_a_cpu() -> None:
    path = CASES / "min_device.py"
    ((entry,), _) = read_plugin(PluginSource(path, "min_device.py"))
    (part,) = load_records(entry)

    class Plugins:
        def regularizer(self, name: str) -> tuple[object, ...]:
            return (part,)

        def __getattr__(self, kind: str) -> object:
            return getattr(registry(), kind)

    cell = Cell("digits", "small-mlp", part.name, (part.strengths[-1],), "real", 0)
    split = Split(test=100, train=60, validation=60)
    (record,) = train_pack(pack([cell], Recipe(batch=30, epochs=1), split), Plugins(), "cpu")
    assert (record.status, record.reason, record.cost) == ("ok", "", 1.0)


def test_check_looks_for_data_where_run_does(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "rows"
    folder.mkdir(parents=True)
    np.savetxt(folder / "rows.csv", [(i, i % 3) for i in range(600)], delimiter=",")
    script = (CASES / "flow_data_dir.sh").read_text()
    text = script.partition("<<'P'\n")[2].partition("\nP\n")[0]
    (tmp_path / "rows.py").write_text(text)
    code, out, _ = cli("check", "-n", "1", "rows.py")
    assert (code, "3 passed" in out) == (0, True), "the data are not at hand"
    code, out, _ = cli("check", "-n", "1", "--data-dir", "sets", "rows.py")
    assert (code, "6 passed" in out) == (0, True), out
    assert "MEMBENCH_DATA" not in os.environ


def test_a_plugin_that_cannot_be_loaded_is_named_before_any_other_message(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "syntax.py").write_text("import x\nx = (\n")
    for words in (("run", "--suite", "smoke", "-k", "syntax"), ("plan", "-k", "syntax")):
        code, _, err = cli(*words, "-p", "syntax.py")
        first, second = err.splitlines()
        assert code == 5
        assert first.startswith("syntax.py: cannot be loaded: line 2: SyntaxError:")
        assert second.startswith("membench: -k 'syntax' selects no cell of suite ")
    code, out, err = cli("list", "--json", "-p", "syntax.py")
    assert (code, bool(json.loads(out))) == (1, True)
    assert err.startswith("syntax.py: cannot be loaded")

"""Noise that people bring: a matrix, noise that depends on the image, labels that people gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cli import REPO
from support.engine import registry

from membench.api import Arrays
from membench.api import Signal
from membench.api import Split
from membench.data import draw_run
from membench.errors import MembenchError
from membench.registry.discovery import PluginSource
from membench.registry.loading import load_records
from membench.registry.loading import read_plugin
from membench.testing.catalogue import CHECKS
from membench.testing.subject import Subject

MATRIX = (REPO / "tests" / "cases" / "signal_matrix.py").read_text()
BY_IMAGE = '''"""Labels of dark images are random: the darker, the likelier.

Xia et al. 2020, arXiv:2006.07836.
"""
import numpy as np

from membench import Signal, hookimpl


def apply(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    light = x.reshape(len(x), -1).mean(axis=1).argsort().argsort() / len(x)
    hit = draw.uniform("hit", len(y)) < np.clip(2 * level * (1 - light), 0, 1)
    other = (draw.uniform("class", len(y)) * draw.num_classes).astype(np.int64)
    return x, np.where(hit, other, y), hit


@hookimpl
def register():
    return [Signal("dark-noise", apply, noise="labels", levels=True)]
'''
BY_PEOPLE = '''"""The labels that people gave, from a file beside this one.

Wei et al. 2022, arXiv:2110.12088.
"""
from pathlib import Path

import numpy as np

from membench import Signal, hookimpl
from membench.errors import MembenchError

FILE = Path(__file__).with_name("labels.npz")


def apply(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    file = np.load(FILE)
    if len(file["clean"]) <= draw.rows.max() or (file["clean"][draw.rows] != y).any():
        raise MembenchError(f"{FILE} is of another data set, or of another order of it")
    given = file["given"][draw.rows].astype(np.int64)
    return x, given, given != y


@hookimpl
def register():
    return [Signal("people", apply, noise="labels")]
'''


def read(text: str, folder: Path) -> tuple[Subject, Signal]:
    path = folder / "mine.py"
    path.write_text(text)
    ((entry,), problems) = read_plugin(PluginSource(path, "mine.py"))
    assert not problems
    return Subject(entry, registry()), load_records(entry)[0]


def digits(n: int = 400) -> Arrays:
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (n, 1, 4, 4)).astype(np.uint8)
    return Arrays(x, np.arange(n) % 10, 10)


@pytest.mark.parametrize(
    "text",
    [MATRIX.replace('noise="labels"', 'noise="labels", levels=True'), BY_IMAGE],
    ids=["a noise matrix", "noise that depends on the image"],
)
def test_own_noise_keeps_the_contract_and_makes_wrong_labels(text: str, tmp_path: Path) -> None:
    subject, signal = read(text, tmp_path)
    table = CHECKS["signals"]
    found = [subject.outcome(check, table) for check in table.values()]
    assert [f for f in found if f.status not in ("passed", "skipped")] == []
    run = draw_run(digits(), Split(100, 200, 100), signal, 0.4, "digits/mlp", 0)
    assert 0.2 < run.wrong.mean() < 0.5
    assert not (run.clean & run.wrong).any()


def test_labels_that_people_gave_are_joined_by_the_rows_of_the_data_set(tmp_path: Path) -> None:
    arrays = digits()
    given = np.where(np.arange(400) % 4 == 0, (arrays.y + 1) % 10, arrays.y)
    np.savez(tmp_path / "labels.npz", clean=arrays.y, given=given)
    _, signal = read(BY_PEOPLE, tmp_path)
    run = draw_run(arrays, Split(100, 200, 100), signal, None, "digits/mlp", 0)
    assert np.array_equal(run.wrong, run.train.rows % 4 == 0)
    assert not run.clean[run.wrong].any()


@pytest.mark.parametrize("rows", [399, 400], ids=["a file too short", "another order"])
def test_labels_of_another_order_of_the_data_are_refused(rows: int, tmp_path: Path) -> None:
    arrays = digits()
    np.savez(tmp_path / "labels.npz", clean=arrays.y[::-1][:rows], given=arrays.y[:rows])
    _, signal = read(BY_PEOPLE, tmp_path)
    with pytest.raises(MembenchError, match=r"labels.npz is of another data set, or of another"):
        draw_run(arrays, Split(0, 300, 100), signal, None, "digits/mlp", 0)

"""CIFAR-N on generated files of the published format: joined by row, refused where they are not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from support.engine import registry

from membench.api import Arrays
from membench.api import Signal
from membench.api import Split
from membench.data import draw_run
from membench.errors import MembenchError
from membench.fetching import md5

ROWS = 400
SPLIT = Split(test=50, train=200, validation=100)
#: of every set, which rows the file has wrong: all whose number this divides
EVERY = {"aggre_label": 10, "worse_label": 2, "noisy_label": 2, "random_label1": 5}


def images(classes: int) -> Arrays:
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (ROWS, 3, 32, 32)).astype(np.uint8)
    return Arrays(x, np.arange(ROWS) % classes, classes)


def saved(name: str, folder: Path, clean: np.ndarray, classes: int) -> Signal:
    """Save a file as the authors did; return the signal that knows its sum."""
    signal = registry().signal(name)
    (labels,) = signal.apply.args
    content = {"clean_label": clean}
    for column in labels.sets.values():
        wrong = np.arange(len(clean)) % EVERY.get(column, 3) == 0
        content[column] = np.where(wrong, (clean + 1) % classes, clean)
    (folder / name).mkdir()
    path = folder / name / labels.file
    torch.save({**content, "clean_coarse_label": [int(label) for label in clean]}, path)
    known = replace(labels, md5=md5(path))
    return replace(signal, apply=partial(signal.apply.func, known))


@pytest.mark.parametrize(
    ("name", "level", "every"),
    [
        ("cifar10n", "aggregate", 10),
        ("cifar10n", "random1", 5),
        ("cifar10n", "random3", 3),
        ("cifar10n", "worst", 2),
        ("cifar100n", None, 2),
    ],
)
def test_the_labels_of_a_set_are_those_of_the_training_images_rows(
    name: str, level: str | None, every: int, tmp_path: Path
) -> None:
    classes = 100 if name == "cifar100n" else 10
    arrays = images(classes)
    signal = saved(name, tmp_path, arrays.y, classes)
    run = draw_run(arrays, SPLIT, signal, level, "cifar/cnn", 3, tmp_path)
    assert np.array_equal(run.wrong, run.train.rows % every == 0)
    assert np.array_equal(run.clean, ~run.wrong)
    plain = draw_run(arrays, SPLIT, registry().signal("real"), None, "cifar/cnn", 3)
    assert np.array_equal(run.val.rows, plain.val.rows)
    assert run.val.x is None and len(np.unique(run.val.y)) == classes  # clean, with other ids


@pytest.mark.parametrize(
    "clean",
    [np.arange(ROWS)[::-1] % 10, np.arange(200) % 10],
    ids=["another order", "fewer images"],
)
def test_labels_of_other_images_are_refused(clean: np.ndarray, tmp_path: Path) -> None:
    signal = saved("cifar10n", tmp_path, clean, 10)
    with pytest.raises(MembenchError, match=r"its labels are of cifar10, in its order; these are"):
        draw_run(images(10), SPLIT, signal, "worst", "cifar/cnn", 0, tmp_path)


def test_other_data_are_refused_before_the_file_is_asked_for(tmp_path: Path) -> None:
    arrays = images(10)
    small = replace(arrays, x=arrays.x[:, :1])
    with pytest.raises(MembenchError, match="are of cifar10: add --datasets cifar10"):
        draw_run(small, SPLIT, registry().signal("cifar10n"), "worst", "mnist5k/cnn", 0, tmp_path)


def test_a_damaged_file_is_refused_with_the_way_to_a_whole_one(tmp_path: Path) -> None:
    signal = saved("cifar10n", tmp_path, images(10).y, 10)
    path = tmp_path / "cifar10n" / "CIFAR-10_human.pt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MembenchError, match=r"is damaged.*fetch cifar10n --data-dir") as error:
        draw_run(images(10), SPLIT, signal, "worst", "cifar/cnn", 0, tmp_path)
    assert str(path) in str(error.value)


def test_a_file_that_holds_more_than_numbers_is_not_read(tmp_path: Path) -> None:
    signal = saved("cifar10n", tmp_path, images(10).y, 10)
    path = tmp_path / "cifar10n" / "CIFAR-10_human.pt"
    torch.save({"clean_label": partial(print, "read")}, path)
    labels = replace(signal.apply.args[0], md5=md5(path))
    signal = replace(signal, apply=partial(signal.apply.func, labels))
    with pytest.raises(Exception, match="Weights only load failed"):
        draw_run(images(10), SPLIT, signal, "worst", "cifar/cnn", 0, tmp_path)


def test_a_file_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    signal = registry().signal("cifar100n")
    with pytest.raises(
        MembenchError, match=r"lacks a file: there is no .*human.pt; to get it: "
    ) as e:
        draw_run(images(100), SPLIT, signal, None, "cifar/cnn", 0, tmp_path)
    assert str(e.value).endswith(f"membench data fetch cifar100n --data-dir {tmp_path}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cifar10n", "signal 'cifar10n': write cifar10n@aggregate or cifar10n@random1 or "),
        ("cifar10n@0.4", "signal 'cifar10n@0.4': write cifar10n@aggregate or "),
        ("cifar100n@worst", "signal 'cifar100n@worst': cifar100n takes no level"),
    ],
)
def test_a_set_that_there_is_not_is_refused_with_those_that_there_are(name: str, said: str) -> None:
    with pytest.raises(MembenchError) as error:
        registry().signal_entry(name)
    assert str(error.value).startswith(said)


def test_the_published_files_have_these_sets() -> None:
    assert registry().signal_entry("cifar10n@worst").levels == (
        "aggregate",
        "random1",
        "random2",
        "random3",
        "worst",
    )
    assert registry().signal_entry("cifar100n").levels is False

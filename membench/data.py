"""Draw what one run trains on from a data set's arrays.

`load_arrays` loads and checks a data set; `draw_run` cuts off its test set, draws the training and
validation images of a seed, and applies the signal. Numpy only. The engine calls this for each
(task, seed, signal), and planning for the hash of the raw arrays.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Signal
from membench.api import Split
from membench.errors import MembenchError
from membench.files import cache_folder
from membench.records import Cell
from membench.rng import Draws
from membench.rng import chain
from membench.rng import word

Array = NDArray[np.generic]


# --- data sets -----------------------------------------------------------------------------------


def data_folder() -> Path:
    """Find the folder that holds one folder for each data set.

    It is `$MEMBENCH_DATA`, else `data` in the user's cache folder.
    """
    configured = os.environ.get("MEMBENCH_DATA")
    return Path(configured).absolute() if configured else cache_folder() / "data"


def file_inside(module: str, name: str, requirement: str) -> Path:
    """Find a file that an installed package carries, for `Dataset.load`.

    The package is not imported, which may take seconds.

    Args:
        module: the package's import name.
        name: the file's path inside it.
        requirement: what pip must install to have it, as in "scikit-learn>=1.4".

    Raises:
        FileNotFoundError: the package or the file is missing; says what to install.
    """
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        path = Path(folder, name)
        if path.exists():
            return path
    raise FileNotFoundError(f"{module}/{name} ships inside a package: pip install '{requirement}'")


def load_arrays(dataset: Dataset, folder: Path | None = None) -> Arrays:
    """Load a data set and check it.

    Args:
        dataset: its record.
        folder: that holds a folder for each data set; default: `data_folder()`.

    Raises:
        MembenchError: the data are missing (a `FileNotFoundError` is the cause), or are not what
            `Arrays` promises.
    """
    try:
        arrays = dataset.load((folder or data_folder()) / dataset.name)
    except FileNotFoundError as error:
        raise MembenchError(f"data set {dataset.name!r} is missing: {error}") from error
    return check_arrays(dataset.name, arrays)


def check_arrays(name: str, arrays: Arrays) -> Arrays:
    """Return the arrays if they keep the promises of `Arrays`.

    Raises:
        MembenchError: says which promise they break.
    """
    parts = [(arrays.x, arrays.y)]
    if arrays.test is not None:
        parts.append(arrays.test)
    for x, y in parts:
        fault = _fault(x, y, arrays)
        if fault:
            raise MembenchError(f"data set {name!r}: {fault}")
    return arrays


def _fault(x: Array, y: Array, arrays: Arrays) -> str:
    """Describe the first promise that images and labels break; "" if they keep all of them."""
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
        return f"x must be [n, c, h, w] uint8 or float32, got {x.shape} {x.dtype}"
    if y.shape != x.shape[:1] or y.dtype != np.int64:
        return f"y must be [{len(x)}] int64, got {y.shape} {y.dtype}"
    if len(y) and not 0 <= y.min() <= y.max() < arrays.num_classes:
        return f"labels must lie in 0..{arrays.num_classes - 1}"
    if x.shape[1:] != arrays.x.shape[1:] or x.dtype != arrays.x.dtype:
        return f"test images are {x.shape} {x.dtype}, unlike the training images"
    return ""


def all_images(arrays: Arrays) -> Array:
    """Concatenate all images of a data set, [N, c, h, w]; its own test set, if any, comes last."""
    return arrays.x if arrays.test is None else np.concatenate([arrays.x, arrays.test[0]])


def arrays_digest(arrays: Arrays) -> str:
    """Hash the raw data set, for cell keys: SHA-256, in hex."""
    return array_digest([arrays.x, arrays.y, *(arrays.test or ())])


def array_digest(arrays: Iterable[Array | None]) -> str:
    """Hash the types, shapes and bytes of arrays, None left out: SHA-256, in hex."""
    sha = hashlib.sha256()
    for array in arrays:
        if array is not None:
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


# --- the data of one run -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SplitData:
    """The examples of one split: rows of `all_images`, or inputs that the signal made instead."""

    rows: NDArray[np.int64]  #: [n], into `all_images`
    x: Array | None  #: [n, c, h, w] float32, used instead of the images when not None
    y: NDArray[np.int64]  #: [n], class ids permuted


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The data of one (task, seed, signal); example order and class ids are permuted for each."""

    train: SplitData
    val: SplitData
    test: SplitData  #: the same images in the same order for all seeds and signals
    wrong: NDArray[np.bool_]  #: [n] training labels that are not the real ones
    clean: NDArray[np.bool_]  #: [n] training examples that the signal left alone
    mean: NDArray[np.float32]  #: [c], of the clean training inputs
    std: NDArray[np.float32]  #: [c]
    digest: str  #: SHA-256 of the splits, `wrong` and `clean`


def draw_run(
    arrays: Arrays, split: Split, signal: Signal, level: float | None, task: str, seed: int
) -> RunData:
    """Draw a run's images, apply the signal, and permute example order and class ids.

    The result is a function of the arguments only.

    Args:
        arrays: the data set.
        split: how many images are test, training and validation.
        signal: applied to each split.
        level: the p of `name@p`, else None.
        task: as in "mnist5k/mlp".
        seed: of the run.

    Raises:
        MembenchError: the data set is too small for the split, or the signal broke its promises.
    """
    key = word("task", task, seed if split.fixed is None else split.fixed)
    rows = _draw_rows(arrays, split, task, key)
    images = all_images(arrays)
    labels = arrays.y if arrays.test is None else np.concatenate([arrays.y, arrays.test[1]])

    shuffle = shuffles(key, signal.name, level)
    order = shuffle.permutation("examples", split.train)
    new_ids = shuffle.permutation("classes", arrays.num_classes)
    world = Draws(chain(key, word(signal.name, level, "world")), arrays.num_classes)
    splits, changed = {}, {}
    for name, drawn in rows.items():
        draw = Draws(chain(key, word(signal.name, level, name)), arrays.num_classes, world)
        x, y, changed[name] = _apply(signal, images[drawn], labels[drawn], level, draw, name)
        splits[name] = SplitData(rows=drawn, x=x, y=new_ids[y])

    drawn_train = splits["train"]
    train = SplitData(
        rows=drawn_train.rows[order],
        x=None if drawn_train.x is None else drawn_train.x[order],
        y=drawn_train.y[order],
    )
    splits["train"] = train
    wrong = train.y != new_ids[labels[train.rows]]
    changed_train = changed["train"][order]
    mean, std = _statistics(images[rows["train"]])
    return RunData(
        train=train,
        val=splits["val"],
        test=splits["test"],
        wrong=wrong,
        clean=~changed_train,
        mean=mean,
        std=std,
        digest=_digest(images, splits, wrong, changed_train),
    )


def shuffles(key: int, signal: str, level: float | None) -> Draws:
    """Make the draws that hide which example and which class is which.

    Args:
        key: of the task and seed.
        signal: its name.
        level: the p of `name@p`, else None.

    Returns:
        Draws whose permutations `examples` and `classes` are used.
    """
    return Draws(chain(key, word("blind", signal, level)))


blind = shuffles  #: the name that two studies import


def trained_rows(split: Split, cell: Cell) -> NDArray[np.bool_]:
    """Select the rows of its training set that a run trains on; all, unless the split has a share.

    They are chosen uniformly by task and seed: the signal, the setting and a fixed data seed do not
    enter.

    Returns:
        [n] bool.
    """
    if split.share is None:
        return np.ones(split.train, dtype=bool)
    order = Draws(word("share", cell.task, cell.seed)).permutation("rows", split.train)
    selected = np.zeros(split.train, dtype=bool)
    selected[order[: split.trained]] = True
    return selected


def _draw_rows(arrays: Arrays, split: Split, task: str, key: int) -> dict[str, NDArray[np.int64]]:
    """Draw the rows of `all_images` that are training, validation and test images.

    Raises:
        MembenchError: the data set is too small for the split.
    """
    test = _test_rows(arrays, split, task.split("/", maxsplit=1)[0])
    rest = np.arange(len(arrays.y))
    if arrays.test is None:
        rest = np.setdiff1d(rest, test)
    if len(test) < split.test or len(rest) < split.train + split.validation:
        wanted = f"{split.train} training, {split.validation} validation and {split.test} test"
        raise MembenchError(
            f"{task}: the suite wants {wanted} images; "
            f"this data set has {len(rest)} and {len(test)} for test"
        )
    drawn = rest[Draws(key).permutation("split", len(rest))[: split.train + split.validation]]
    return {"train": drawn[: split.train], "val": drawn[split.train :], "test": test}


def _test_rows(arrays: Arrays, split: Split, dataset: str) -> NDArray[np.int64]:
    """Choose the fixed test images, the same for every task and seed.

    Cut from the training images, they are as balanced over the classes as the numbers allow.
    """
    draws = Draws(word("test", dataset))
    if arrays.test is not None:
        first = len(arrays.y)
        return first + draws.permutation("test", len(arrays.test[1]))[: split.test]
    order = draws.permutation("test", len(arrays.y))
    rank = np.empty(len(order), dtype=np.int64)  # of each image within its class
    for label in range(arrays.num_classes):
        members = order[arrays.y[order] == label]
        rank[members] = np.arange(len(members))
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return np.lexsort((position, rank))[: split.test]


def _apply(
    signal: Signal, x: Array, y: Array, level: float | None, draw: Draws, split: str
) -> tuple[Array | None, NDArray[np.int64], NDArray[np.bool_]]:
    """Apply the signal to one split and check what it returns.

    Returns:
        (x [n, c, h, w] float32, None where it is unchanged; y [n]; changed [n]).

    Raises:
        MembenchError: the signal wrote into its inputs, changed a shape or invented a class.
    """
    before = array_digest([x, y])
    new_x, new_y, changed = signal.apply(x, y, level, draw, split == "train")
    if array_digest([x, y]) != before:
        raise MembenchError(
            f"signal {signal.name!r} changed its input arrays in place: copy before writing"
        )
    if new_x.shape != x.shape or new_y.shape != y.shape or changed.shape != y.shape:
        raise MembenchError(f"signal {signal.name!r} changed a shape: {x.shape} -> {new_x.shape}")
    if len(new_y) and not 0 <= new_y.min() <= new_y.max() < draw.num_classes:
        raise MembenchError(f"signal {signal.name!r} made labels outside 0..{draw.num_classes - 1}")
    unchanged = new_x is x or np.array_equal(new_x, x)
    return (
        None if unchanged else new_x.astype(np.float32),
        new_y.astype(np.int64),
        changed.astype(bool),
    )


def _statistics(x: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute each channel's mean and standard deviation, [c] float32; 1 for a constant channel."""
    means, stds = [], []
    for channel in range(x.shape[1]):  # one at a time: 8 bytes a grey level
        values = x[:, channel].ravel().astype(np.float64)
        means.append(values.mean())
        stds.append(values.std())
    mean, std = np.array(means), np.array(stds)
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)


def _digest(
    images: Array,
    splits: dict[str, SplitData],
    wrong: NDArray[np.bool_],
    changed: NDArray[np.bool_],
) -> str:
    """Hash all that a run trains and is read on: SHA-256, in hex."""
    arrays: list[Array] = []
    for data in splits.values():
        arrays.append(images[data.rows] if data.x is None else data.x)
        arrays.append(data.y)
    return array_digest([*arrays, wrong, changed])

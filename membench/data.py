"""From a data set's arrays to what one run trains on: test cut off, train and validation drawn, the signal applied.

Numpy only. Called by the engine for each (task, seed, signal), and by the plan for the hash of the raw arrays.
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


@dataclass(frozen=True)
class SplitData:
    """One split: rows of the pool, or inputs of its own where the signal changed them."""

    rows: NDArray[np.int64]  #: [n], into the pool
    x: Array | None  #: [n, c, h, w] float32, used instead of the pool's rows when not None
    y: NDArray[np.int64]  #: [n], class ids permuted


@dataclass(frozen=True)
class RunData:
    """What one (task, seed, signal) sees. Example order and class ids are permuted, differently for each."""

    train: SplitData
    val: SplitData
    test: SplitData  #: the same images in the same order for all seeds and signals
    wrong: NDArray[np.bool_]  #: [n] training labels that are not the real ones
    clean: NDArray[np.bool_]  #: [n] training examples that the signal left alone
    mean: NDArray[np.float32]  #: [c], of the clean training inputs
    std: NDArray[np.float32]  #: [c]
    digest: str  #: SHA-256 of all of the above


def data_folder() -> Path:
    """`$MEMBENCH_DATA`, else `data` in the user's cache folder; each data set has a folder of its name in it."""
    own = os.environ.get("MEMBENCH_DATA")
    return Path(own).absolute() if own else cache_folder() / "data"


def load_arrays(dataset: Dataset, folder: Path | None = None) -> Arrays:
    """The data set, checked.

    Args:
        dataset: its record.
        folder: where data sets lie; default: `data_folder()`.

    Raises:
        MembenchError: it is not at hand (a `FileNotFoundError` is the cause), or not what `Arrays` promises.
    """
    try:
        arrays = dataset.load((folder or data_folder()) / dataset.name)
    except FileNotFoundError as error:
        raise MembenchError(f"data set {dataset.name!r} is not at hand: {error}") from error
    return check_arrays(dataset.name, arrays)


def file_inside(module: str, name: str, requirement: str) -> Path:
    """A file that an installed package carries, for `Dataset.load`; found without the seconds that an import may take.

    Args:
        module: the package's import name.
        name: the file's path inside it.
        requirement: what pip must install to have it, as in "scikit-learn>=1.4".

    Raises:
        FileNotFoundError: the package or the file is not there; says what to install.
    """
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if Path(folder, name).exists():
            return Path(folder, name)
    raise FileNotFoundError(f"{module}/{name} ships inside a package: pip install '{requirement}'")


def all_images(arrays: Arrays) -> Array:
    """[N, c, h, w]: all images of the data set; a test set of its own comes last."""
    return arrays.x if arrays.test is None else np.concatenate([arrays.x, arrays.test[0]])


def array_digest(arrays: Iterable[Array | None]) -> str:
    """SHA-256 over shapes, types and bytes."""
    sha = hashlib.sha256()
    for a in arrays:
        if a is not None:
            sha.update(f"{a.dtype.str}{a.shape}".encode())
            sha.update(np.ascontiguousarray(a).tobytes())
    return sha.hexdigest()


def check_arrays(name: str, arrays: Arrays) -> Arrays:
    """The arrays, or a `MembenchError` that says which promise of `Arrays` they break."""
    for x, y in [(arrays.x, arrays.y), *([arrays.test] if arrays.test else [])]:
        if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
            raise MembenchError(
                f"data set {name!r}: x must be [n, c, h, w] uint8 or float32, got {x.shape} {x.dtype}"
            )
        if y.shape != x.shape[:1] or y.dtype != np.int64:
            raise MembenchError(
                f"data set {name!r}: y must be [{len(x)}] int64, got {y.shape} {y.dtype}"
            )
        if len(y) and not 0 <= y.min() <= y.max() < arrays.num_classes:
            raise MembenchError(
                f"data set {name!r}: labels must lie in 0..{arrays.num_classes - 1}"
            )
        if x.shape[1:] != arrays.x.shape[1:] or x.dtype != arrays.x.dtype:
            raise MembenchError(
                f"data set {name!r}: test images are {x.shape} {x.dtype}, unlike the training images"
            )
    return arrays


def arrays_digest(arrays: Arrays) -> str:
    """SHA-256 of the raw data set, part of every cell key."""
    return array_digest([arrays.x, arrays.y, *(arrays.test or ())])


def draw_run(
    arrays: Arrays, split: Split, signal: Signal, level: float | None, task: str, seed: int
) -> RunData:
    """Cut, draw and corrupt; a function of its arguments only.

    Raises:
        MembenchError: the data set is too small for the split, or the signal broke its promises.
    """
    key = word("task", task, seed if split.fixed is None else split.fixed)
    labels = np.concatenate([arrays.y, arrays.test[1]]) if arrays.test else arrays.y
    test = _test_rows(arrays, split, task.split("/", maxsplit=1)[0])
    rest = (
        np.setdiff1d(np.arange(len(labels)), test)
        if arrays.test is None
        else np.arange(len(arrays.y))
    )
    if len(test) < split.test or len(rest) < split.train + split.validation:
        want = f"{split.train} training, {split.validation} validation and {split.test} test images"
        raise MembenchError(
            f"{task}: the suite wants {want}; this data set has {len(rest)} and {len(test)} for test"
        )
    drawn = rest[Draws(key).permutation("split", len(rest))[: split.train + split.validation]]
    images = all_images(arrays)
    rows = {"train": drawn[: split.train], "val": drawn[split.train :], "test": test}
    mean, std = _statistics(images[rows["train"]])

    shuffle = shuffles(key, signal.name, level)
    order = shuffle.permutation("examples", split.train)
    classes = shuffle.permutation("classes", arrays.num_classes)
    world = Draws(chain(key, word(signal.name, level, "world")), arrays.num_classes)
    parts, changed = {}, np.zeros(split.train, dtype=bool)
    for name, r in rows.items():
        draw = Draws(chain(key, word(signal.name, level, name)), arrays.num_classes, world)
        x, y, hit = _apply(signal, images[r], labels[r], level, draw, name)
        if name == "train":
            true = labels[r][order]
            x, y, changed = (None if x is None else x[order]), y[order], hit[order]
        parts[name] = SplitData(r[order] if name == "train" else r, x, classes[y])
    wrong = parts["train"].y != classes[true]
    everything = [a for p in parts.values() for a in (images[p.rows] if p.x is None else p.x, p.y)]
    sha = array_digest([*everything, wrong, changed])
    return RunData(**parts, wrong=wrong, clean=~changed, mean=mean, std=std, digest=sha)


def shuffles(key: int, signal: str, level: float | None) -> Draws:
    """The draws that hide which example and which class is which: permutations of `examples` and of `classes`."""
    return Draws(chain(key, word("blind", signal, level)))


blind = shuffles  #: the name that two studies import


def trained_rows(split: Split, cell: Cell) -> Array:
    """[n] bool: the rows of its training set that a run trains on; all, unless the split has a share.

    Chosen uniformly by task and seed: the signal, the setting and a fixed data seed do not enter.
    """
    if split.share is None:
        return np.ones(split.train, dtype=bool)
    order = Draws(word("share", cell.task, cell.seed)).permutation("rows", split.train)
    rows = np.zeros(split.train, dtype=bool)
    rows[order[: split.trained]] = True
    return rows


def _apply(
    signal: Signal, x: Array, y: Array, level: float | None, draw: Draws, split: str
) -> tuple[Array | None, NDArray[np.int64], NDArray[np.bool_]]:
    """The signal on one split, checked; x is None where it is unchanged."""
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
    same = new_x is x or np.array_equal(new_x, x)
    return None if same else new_x.astype(np.float32), new_y.astype(np.int64), changed.astype(bool)


def _test_rows(arrays: Arrays, split: Split, dataset: str) -> NDArray[np.int64]:
    """The fixed test images: as balanced over the classes as the numbers allow, the same for every task and seed."""
    if arrays.test is not None:
        n = len(arrays.y)
        return (
            n + Draws(word("test", dataset)).permutation("test", len(arrays.test[1]))[: split.test]
        )
    order = Draws(word("test", dataset)).permutation("test", len(arrays.y))
    rank = np.empty(len(order), dtype=np.int64)  # of each image within its class
    for c in range(arrays.num_classes):
        mine = order[arrays.y[order] == c]
        rank[mine] = np.arange(len(mine))
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return np.lexsort((position, rank))[: split.test]


def _statistics(x: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel, [c] float32; a constant channel gets 1."""
    wide = (
        x[:, c].ravel().astype(np.float64) for c in range(x.shape[1])
    )  # one at a time: 8 bytes a grey level
    mean, std = np.array([(channel.mean(), channel.std()) for channel in wide]).T
    return mean.astype(np.float32), np.where(std > 0, std, 1.0).astype(np.float32)

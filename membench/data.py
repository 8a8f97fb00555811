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

#: A class is rare if it has fewer images than this share of the average class, or fewer than that
#: many. What is drawn of a data set that has a rare class is made to hold every class.
RARE_SHARE, RARE_IMAGES = 0.5, 30


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
    fault = _fault(arrays.x, arrays.y, arrays) or _absent_class(arrays)
    if not fault and arrays.test is not None:
        fault = _fault(*arrays.test, arrays)
    if fault:
        raise MembenchError(f"data set {name!r}: {fault}")
    return arrays


def _fault(x: Array, y: Array, arrays: Arrays) -> str:
    """Describe the first promise that images and labels break; "" if they keep all of them."""
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
        is_wanted = f"x must be [n, c, h, w] uint8 or float32, got {x.shape} {x.dtype}"
        return f"{is_wanted}: write {_as_images(x)}"
    if y.shape != x.shape[:1] or y.dtype != np.int64:
        write = "y.argmax(1)" if y.ndim == 2 else "y.astype(np.int64)"
        return f"y must be [{len(x)}] int64, got {y.shape} {y.dtype}: write {write}"
    if len(y) and not 0 <= y.min() <= y.max() < arrays.num_classes:
        found = f"they go from {y.min()} to {y.max()}"
        return f"labels must lie in 0..{arrays.num_classes - 1}: {found}"
    if x.shape[1:] != arrays.x.shape[1:] or x.dtype != arrays.x.dtype:
        return f"test images are {x.shape} {x.dtype}, unlike the training images"
    broken = np.zeros(0, bool) if x.dtype == np.uint8 else ~np.isfinite(x.reshape(len(x), -1))
    if broken.any():
        row = broken.any(axis=1).argmax()
        where = f"row {row}" if x is arrays.x else f"row {row} of its own test set"
        return f"{broken.sum()} of {x.size} values are not finite, the first in {where}"
    return ""


def _as_images(x: Array) -> str:
    """Say how an array is made images, [n, c, h, w], of a type that is taken."""
    expression = "x"
    if x.ndim == 2:  # a table: a column is a channel
        expression = "x[:, :, None, None]"
    elif x.ndim == 3:
        expression = "x[:, None]"
    cast = "" if x.dtype in (np.uint8, np.float32) else ".astype(np.float32)"
    if x.dtype.kind in "iu" and cast and x.size and x.min() >= 0 and x.max() <= 255:
        cast = ".astype(np.uint8)"
    return expression + cast


def _absent_class(arrays: Arrays) -> str:
    """Name the first class that no image is of; "" if there is none.

    A test set of its own may lack one: accuracy is then measured without it.
    """
    counts = np.bincount(arrays.y, minlength=arrays.num_classes)
    absent = np.flatnonzero(counts == 0)
    if not len(absent):
        return ""
    others = f", nor have {len(absent) - 1} others" if len(absent) > 1 else ""
    return f"class {absent[0]} of {arrays.num_classes} has no image{others}"


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
    arrays: Arrays,
    split: Split,
    signal: Signal,
    level: float | str | None,
    task: str,
    seed: int,
    folder: Path | None = None,
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
        folder: that holds a folder for each signal that reads files; default: `data_folder()`.

    Raises:
        MembenchError: the data set is too small for the split, a file that the signal reads is
            missing (a `FileNotFoundError` is the cause), or the signal broke its promises.
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
        draw = Draws(
            key=chain(key, word(signal.name, level, name)),
            num_classes=arrays.num_classes,
            shared=world,
            rows=_read_only(drawn),
            folder=(folder or data_folder()) / signal.name,
        )
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


def _read_only(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the same numbers so that a signal cannot change them."""
    view = array.view()
    view.flags.writeable = False
    return view


def shuffles(key: int, signal: str, level: float | str | None) -> Draws:
    """Make the draws that hide which example and which class is which.

    Args:
        key: of the task and seed.
        signal: its name.
        level: the p of `name@p`, else None.

    Returns:
        Draws whose permutations `examples` and `classes` are used.
    """
    return Draws(chain(key, word("blind", signal, level)))


def pack_bits(values: NDArray[np.bool_]) -> str:
    """Write [n] booleans as records do: eight in a byte, the first one highest, in hex."""
    return np.packbits(values).tobytes().hex()


def unpack_bits(text: str, size: int) -> NDArray[np.bool_] | None:
    """Read what `pack_bits` wrote, [size]; None if it is not of so many booleans."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    except ValueError:
        return None
    bits = np.unpackbits(packed)
    if len(packed) != -(-size // 8) or bits[size:].any():
        return None
    return bits[:size].astype(bool)


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

    `Split` says how.

    Raises:
        MembenchError: the data set is too small for the split.
    """
    order = Draws(word("test", task.split("/", maxsplit=1)[0]))
    rest = np.arange(len(arrays.y))
    limited = False
    if arrays.test is None:
        test, limited = _cut_test_rows(arrays.y, order.permutation("test", len(arrays.y)), split)
        rest = np.setdiff1d(rest, test)
    else:
        own = order.permutation("test", len(arrays.test[1]))
        (test,) = _draw_parts(own, arrays.test[1], (split.test,))
        test = len(arrays.y) + test
    check_split(arrays, split, task)
    drawn = rest[Draws(key).permutation("split", len(rest))]
    sizes = (split.train, split.validation)
    train, validation = _draw_parts(drawn, arrays.y, sizes, in_shares=limited)
    return {"train": train, "val": validation, "test": test}


def check_split(arrays: Arrays, split: Split, task: str) -> None:
    """Check that a data set has the images that a split takes.

    Args:
        arrays: the data set.
        split: of the task.
        task: as in "mnist5k/mlp".

    Raises:
        MembenchError: it has fewer.
    """
    rest, test = len(arrays.y), split.test
    if arrays.test is None:
        rest -= min(rest, split.test)
        test = min(len(arrays.y), split.test)
    else:
        test = len(arrays.test[1])
    if test < split.test or rest < split.train + split.validation:
        wanted = f"{split.train} training, {split.validation} validation and {split.test} test"
        raise MembenchError(
            f"{task}: the suite wants {wanted} images; this data set has {rest}, and {test} for "
            "test: take fewer, as with --train-size"
        )


def check_classes(arrays: Arrays, name: str) -> None:
    """Check that each class has an image for training, for validation and for test.

    Args:
        arrays: the data set.
        name: of the data set.

    Raises:
        MembenchError: a class has fewer.
    """
    needed = 3 if arrays.test is None else 2
    for label, count in enumerate(np.bincount(arrays.y, minlength=arrays.num_classes)):
        if count < needed:
            raise MembenchError(
                f"data set {name!r}: {count} images of class {label} are too few: training, "
                f"validation and test take {needed} at least; drop the class, or find more"
            )


def _cut_test_rows(
    y: NDArray[np.int64], order: NDArray[np.int64], split: Split
) -> tuple[NDArray[np.int64], bool]:
    """Choose the fixed test images of a data set that brings none.

    Args:
        y: [n], all labels.
        order: [n], all rows in a random order.
        split: how many are wanted.

    Returns:
        Their rows, and whether a class was limited to its share because it would have had too few
        images left.
    """
    counts = np.bincount(y)
    left_over = np.minimum(counts, np.where(counts > 2, 2, 1))  # the least that is not test
    share = np.clip(
        _divide_up(counts * split.test, len(y)),
        np.minimum(1, counts - left_over),
        counts - left_over,
    )
    enough = _divide_up(counts * (split.train + split.validation), 2 * len(y))
    enough = np.maximum(enough, left_over)
    limits = counts.copy()
    while True:
        test = _most_equal(y, order, limits)[: split.test]
        given = np.bincount(y[test], minlength=len(counts))
        short = (counts - given < enough) & (limits > share)
        if not short.any():
            return test, bool((limits < counts).any())
        limits[short] = share[short]


def _most_equal(
    y: NDArray[np.int64], order: NDArray[np.int64], limits: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sort rows so that the first ones, however many, have all classes about equally often.

    Args:
        y: [n], all labels.
        order: [n], all rows in a random order.
        limits: [num_classes], after how many images of a class all other classes go first.
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = _rank_in_class(y[order])
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return np.lexsort((position, rank, rank >= limits[y]))


def _draw_parts(
    order: NDArray[np.int64],
    y: NDArray[np.int64],
    sizes: tuple[int, ...],
    in_shares: bool = False,
) -> list[NDArray[np.int64]]:
    """Draw disjoint parts of the given sizes, one after the other, from rows in a random order.

    They are the first rows, whatever their classes; but every class in its share, at least one
    image each as far as there are, where the first rows lack a class of a data set that has a rare
    one (`RARE_SHARE`, `RARE_IMAGES`).

    Args:
        order: rows in a random order.
        y: labels by row.
        sizes: how many rows each part has.
        in_shares: draw every class in its share in any case.
    """
    first = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    num_present = len(np.unique(y[order]))
    is_whole = all(len(np.unique(y[rows])) == num_present for rows in first)
    if not in_shares and (is_whole or not _has_rare_class(y)):
        return first

    parts = []
    for index, size in enumerate(sizes):
        labels = y[order]
        quotas = _quotas(np.bincount(labels), size, later=len(sizes) - index - 1)
        is_taken = _rank_in_class(labels) < quotas[labels]
        parts.append(order[is_taken])
        order = order[~is_taken]
    return parts


def _has_rare_class(y: NDArray[np.int64]) -> bool:
    """Tell whether the labels of a data set name some class rarely, which is not never."""
    counts = np.bincount(y)
    counts = counts[counts > 0]
    return len(counts) > 0 and counts.min() < max(RARE_IMAGES, RARE_SHARE * counts.mean())


def _quotas(counts: NDArray[np.int64], size: int, later: int) -> NDArray[np.int64]:
    """Share a part's rows out among the classes, in proportion and by largest remainder.

    Args:
        counts: [num_classes], rows that are still there.
        size: of the part.
        later: how many further parts each class must have a row left for, if it has that many.

    Returns:
        [num_classes], at least 1 for each class that has a row to give, if the part is that large.
    """
    most = np.maximum(counts - later, np.minimum(counts, 1))
    if most.sum() < size:
        most = counts
    least = np.minimum(counts, 1)
    if least.sum() > size:
        least = np.zeros_like(counts)
    shares = counts * size / max(1, counts.sum())
    quotas = np.clip(np.floor(shares).astype(np.int64), least, most)
    while quotas.sum() < min(size, counts.sum()):
        quotas[np.where(quotas < most, shares - quotas, -np.inf).argmax()] += 1
    while quotas.sum() > size:
        quotas[np.where(quotas > least, quotas - shares, -np.inf).argmax()] -= 1
    return quotas


def _rank_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each label how often it stands before: [n], 0 for the first of its class."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _divide_up(numerator: NDArray[np.int64], denominator: int) -> NDArray[np.int64]:
    return -(-numerator // max(1, denominator))


def _apply(
    signal: Signal, x: Array, y: Array, level: float | str | None, draw: Draws, split: str
) -> tuple[Array | None, NDArray[np.int64], NDArray[np.bool_]]:
    """Apply the signal to one split and check what it returns.

    Returns:
        (x [n, c, h, w] float32, None where it is unchanged; y [n]; changed [n]).

    Raises:
        MembenchError: a file that it reads is missing, or the signal wrote into its inputs, changed
            a shape or invented a class.
    """
    before = array_digest([x, y])
    try:
        new_x, new_y, changed = signal.apply(x, y, level, draw, split == "train")
    except FileNotFoundError as error:
        raise MembenchError(f"signal {signal.name!r} lacks a file: {error}") from error
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

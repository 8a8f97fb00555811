"""Checks of data sets and signals. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from membench.api import Arrays
from membench.data import array_digest
from membench.data import arrays_digest
from membench.data import check_arrays
from membench.files import cache_folder
from membench.rng import Draws
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject

N = 40  #: examples of a signal's tries


# --- data sets ------------------------------------------------------------------------------------


def _arrays(subject: Subject) -> Arrays:
    (record,) = subject.records
    try:
        return record.load(cache_folder() / "data" / record.name)
    except FileNotFoundError as error:
        raise NotApplicable(f"it is not at hand: {error}") from error


def loads(subject: Subject) -> str:
    """Shapes, types, range of the labels."""
    arrays = _arrays(subject)
    if not isinstance(arrays, Arrays):
        raise Fault(
            f"load returned a {type(arrays).__name__}, not membench.Arrays",
            source_location(subject.records[0].load),
        )
    check_arrays(subject.entry.name, arrays)
    return f"{len(arrays.y)} images {list(arrays.x.shape[1:])}, {arrays.num_classes} classes"


def same_arrays(subject: Subject) -> None:
    """Loaded twice."""
    if arrays_digest(_arrays(subject)) != arrays_digest(_arrays(subject)):
        raise Fault("the second load gives other arrays", source_location(subject.records[0].load))


def values(subject: Subject) -> None:
    """Of the training images."""
    arrays, where = _arrays(subject), source_location(subject.records[0].load)
    x = arrays.x
    if x.dtype == np.float32 and not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise Fault(
            f"float32 images must lie in 0 to 1: they go from {x.min():g} to {x.max():g}", where
        )
    if arrays.num_classes < 2 or len(np.unique(arrays.y)) < arrays.num_classes:
        raise Fault(
            f"{arrays.num_classes} classes are promised, {len(np.unique(arrays.y))} occur", where
        )
    if x.min() == x.max():
        raise Fault("all pixels of all images are the same", where)


def no_shared_images(subject: Subject) -> None:
    """By their bytes."""
    arrays = _arrays(subject)
    if arrays.test is None:
        raise NotApplicable("the harness cuts the test set off")
    train = {image.tobytes() for image in arrays.x}
    doubles = sum(image.tobytes() in train for image in arrays.test[0])
    if doubles:
        raise Fault(
            f"{doubles} of {len(arrays.test[0])} test images are training images too",
            source_location(subject.records[0].load),
        )


# --- signals --------------------------------------------------------------------------------------


def _try(subject: Subject, key: int = 1, train: bool = True) -> tuple[Any, Any, tuple[Any, ...]]:
    """(x, y, result) of random images; level 0.5 where the signal has levels."""
    (record,) = subject.records
    x = (Draws(5).uniform("x", N * 64) * 256).astype(np.uint8).reshape(N, 1, 8, 8)
    y = np.arange(N, dtype=np.int64) % 4
    draw = Draws(key, 4, Draws(key + 1000, 4))  # the world's own stream
    try:
        return x, y, record.apply(x, y, None, draw, train)
    except TypeError:  # None is no number: it has levels
        return x, y, record.apply(x, y, 0.5, draw, train)


def applies(subject: Subject) -> None:
    """On training and other splits."""
    where = source_location(subject.records[0].apply)
    for train in (True, False):
        x, y, result = _try(subject, train=train)
        if (
            not isinstance(result, tuple)
            or len(result) != 3
            or not all(isinstance(v, np.ndarray) for v in result)
        ):
            raise Fault("apply must return three numpy arrays: x, y, changed", where)
        new_x, new_y, hit = result
        if (new_x.shape, new_y.shape, hit.shape) != (x.shape, y.shape, y.shape):
            raise Fault(
                f"shapes {new_x.shape}, {new_y.shape}, {hit.shape} for {x.shape}, {y.shape}", where
            )
        if (
            hit.dtype != bool
            or new_y.dtype.kind not in "iu"
            or not 0 <= new_y.min() <= new_y.max() < 4
        ):
            raise Fault(
                "changed must be bool, and labels whole numbers below draw.num_classes", where
            )


def arrays_untouched(subject: Subject) -> None:
    """The images and labels that were handed over."""
    x, y, _ = _try(subject)
    fresh = (
        (Draws(5).uniform("x", N * 64) * 256).astype(np.uint8).reshape(N, 1, 8, 8),
        np.arange(N) % 4,
    )
    if not (np.array_equal(x, fresh[0]) and np.array_equal(y, fresh[1])):
        raise Fault("apply changes its arrays in place", source_location(subject.records[0].apply))


def same_bytes(subject: Subject) -> None:
    """Compared by hash."""
    one, again, other = (array_digest(_try(subject, key)[2]) for key in (1, 1, 2))
    where = source_location(subject.records[0].apply)
    if one != again:
        raise Fault("the same draw gives other bytes", where)
    if subject.records[0].noise and one == other:
        raise Fault("another draw gives the same noise", where)


def changed(subject: Subject) -> None:
    """Of a training split."""
    x, y, (new_x, new_y, hit) = _try(subject)
    if not (np.array_equal(new_x[~hit], x[~hit]) and np.array_equal(new_y[~hit], y[~hit])):
        raise Fault(
            "examples that are not marked in `changed` are not what they were",
            source_location(subject.records[0].apply),
        )


def noise(subject: Subject) -> None:
    """What the record says of itself."""
    (record,) = subject.records
    x, y, (new_x, new_y, _) = _try(subject)
    where = source_location(record.apply)
    if record.noise == "labels" and not np.array_equal(new_x, x):
        raise Fault('noise="labels", and inputs change', where)
    if record.noise == "inputs" and not np.array_equal(new_y, y):
        raise Fault('noise="inputs", and labels change', where)
    other_x, other_y, _ = _try(subject, train=False)[2]
    kept = np.array_equal(other_x, x) and np.array_equal(other_y, y)
    same_world = np.array_equal(other_x, new_x) and np.array_equal(other_y, y)
    if record.noise and not (kept or same_world):
        raise Fault("validation and test are changed too, and not as training is", where)

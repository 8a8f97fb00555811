"""Checks of data sets and signals. Imports no torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from membench.api import Arrays
from membench.api import Signal
from membench.data import array_digest
from membench.data import arrays_digest
from membench.data import check_arrays
from membench.data import data_folder
from membench.errors import MembenchError
from membench.rng import Draws
from membench.testing.check import Fault
from membench.testing.check import NotApplicable
from membench.testing.check import source_location
from membench.testing.subject import Subject

Array = np.ndarray[Any, Any]

# --- data sets ------------------------------------------------------------------------------------


def _load(subject: Subject) -> Arrays:
    """Load the data set.

    Raises:
        NotApplicable: Its files have not been downloaded.
    """
    (record,) = subject.records
    try:
        arrays: Arrays = record.load(data_folder() / record.name)
    except FileNotFoundError as error:
        raise NotApplicable(f"it is not at hand: {error}") from error
    return arrays


def _load_location(subject: Subject) -> str:
    return source_location(subject.records[0].load)


def loads(subject: Subject) -> str:
    """Check that `load` gives what `Arrays` promises, also to a run: it would be refused there."""
    arrays = _load(subject)
    if not isinstance(arrays, Arrays):
        raise Fault(
            f"load returned a {type(arrays).__name__}, not membench.Arrays",
            _load_location(subject),
        )
    check_arrays(subject.entry.name, arrays)
    return f"{len(arrays.y)} images {list(arrays.x.shape[1:])}, {arrays.num_classes} classes"


def same_arrays(subject: Subject) -> None:
    """Check that loading twice gives identical arrays."""
    if arrays_digest(_load(subject)) != arrays_digest(_load(subject)):
        raise Fault("the second load gives other arrays", _load_location(subject))


def values(subject: Subject) -> None:
    """Check that training images are in range and not all alike, and that there are classes.

    `loads` has found that they are finite and that each class occurs.
    """
    arrays = _load(subject)
    where = _load_location(subject)
    x = arrays.x
    if arrays.num_classes < 2:
        raise Fault(f"there must be two classes or more, not {arrays.num_classes}", where)
    if x.min() == x.max():
        raise Fault("all pixels of all images are the same", where)
    if x.dtype == np.float32 and not (x.min() >= 0 and x.max() <= 1):
        raise Fault(
            f"float32 values go from {x.min():g} to {x.max():g}: inputs are standardised, but what "
            "acts in grey levels (adversarial, pgd-3) takes 0 to 1 for the whole range",
            where,
            "write (x - x.min()) / (x.max() - x.min()), by column where it is a table",
            warns=True,
        )


def no_shared_images(subject: Subject) -> None:
    """Check that no training image is in the test set, byte for byte."""
    arrays = _load(subject)
    if arrays.test is None:
        raise NotApplicable("the harness cuts the test set off")
    train_images = {image.tobytes() for image in arrays.x}
    test_images = arrays.test[0]
    shared = sum(image.tobytes() in train_images for image in test_images)
    if shared:
        raise Fault(
            f"{shared} of {len(test_images)} test images are training images too",
            _load_location(subject),
        )


# --- signals --------------------------------------------------------------------------------------

EXAMPLES = 40
CLASSES = 10
LEVELS = (0.3, 0.6)  #: of a signal whose levels are numbers; the checks use the last one


def _examples() -> tuple[Array, Array]:
    """Make random images [40, 1, 8, 8] of uint8 and their labels 0 to 9 [40]."""
    pixels = Draws(5).uniform("x", EXAMPLES * 64) * 256
    images = pixels.astype(np.uint8).reshape(EXAMPLES, 1, 8, 8)
    return images, np.arange(EXAMPLES, dtype=np.int64) % CLASSES


def _apply(
    subject: Subject,
    x: Array,
    y: Array,
    key: int = 1,
    train: bool = True,
    level: float | str | None = None,
) -> Any:
    """Apply the signal to images and labels, which are said to be the first of a data set.

    Args:
        subject: The signal.
        x: Images [n, 1, 8, 8].
        y: Labels [n].
        key: The key of its draws.
        train: Whether the split is the training split.
        level: The level, if the signal has levels; default: the last one.

    Returns:
        What the signal returned: (x, y, changed) if it is sound.

    Raises:
        NotApplicable: It reads a file that is not here, or that is of other images.
    """
    (record,) = subject.records
    levels = _levels(record)
    if level is None and levels:
        level = levels[-1]
    draw = Draws(
        key,
        CLASSES,
        shared=Draws(key + 1000, CLASSES),
        rows=np.arange(len(y)),
        folder=data_folder() / record.name,
    )
    try:
        return record.apply(x, y, level, draw, train)
    except FileNotFoundError as error:
        raise NotApplicable(f"a file of it is not at hand: {error}") from error
    except MembenchError as error:
        raise NotApplicable(f"it refuses the images of the check: {error}") from error


def _levels(record: Signal) -> tuple[float | str, ...]:
    """Return the levels that the checks try, () if the signal has none."""
    if isinstance(record.levels, tuple):
        return record.levels
    return LEVELS if record.levels else ()


def _apply_location(subject: Subject) -> str:
    return source_location(subject.records[0].apply)


def applies(subject: Subject) -> None:
    """Check that `apply` gives (x, y, changed) of the right shapes and types, on every split."""
    where = _apply_location(subject)
    for train in (True, False):
        x, y = _examples()
        result = _apply(subject, x, y, train=train)
        is_triple = isinstance(result, tuple) and len(result) == 3
        if not is_triple or not all(isinstance(array, np.ndarray) for array in result):
            raise Fault("apply must return three numpy arrays: x, y, changed", where)
        new_x, new_y, changed = result
        if (new_x.shape, new_y.shape, changed.shape) != (x.shape, y.shape, y.shape):
            raise Fault(
                f"shapes {new_x.shape}, {new_y.shape}, {changed.shape} for {x.shape}, {y.shape}",
                where,
            )
        are_labels = new_y.dtype.kind in "iu" and 0 <= new_y.min() <= new_y.max() < CLASSES
        if changed.dtype != bool or not are_labels:
            raise Fault(
                "changed must be bool, and labels whole numbers below draw.num_classes", where
            )


def levels(subject: Subject) -> None:
    """Check that a signal that has levels changes more at a higher one, and acts at named ones."""
    (record,) = subject.records
    if not record.levels:
        raise NotApplicable("it has none")
    counts = []
    for level in _levels(record):
        counts.append(_apply(subject, *_examples(), level=level)[2].sum())
        if not counts[-1]:
            what = f"it changes none of {EXAMPLES} examples at level {level}"
            raise Fault(what, _apply_location(subject))
    if isinstance(record.levels, tuple):
        return
    low, high = counts
    if not low < high:
        raise Fault(
            f"of {EXAMPLES} examples it changes {low} at level {LEVELS[0]}, {high} at {LEVELS[1]}",
            _apply_location(subject),
        )


def arrays_untouched(subject: Subject) -> None:
    """Check that `apply` leaves the images and labels that it was given alone."""
    x, y = _examples()
    _apply(subject, x, y)
    fresh_x, fresh_y = _examples()
    if not (np.array_equal(x, fresh_x) and np.array_equal(y, fresh_y)):
        raise Fault("apply changes its arrays in place", _apply_location(subject))


def same_bytes(subject: Subject) -> None:
    """Check that the same draw gives the same bytes, and another draw other noise."""
    digests = [array_digest(_apply(subject, *_examples(), key=key)) for key in (1, 1, 2)]
    if digests[0] != digests[1]:
        raise Fault("the same draw gives other bytes", _apply_location(subject))
    if subject.records[0].noise and digests[0] == digests[2]:
        raise Fault("another draw gives the same noise", _apply_location(subject))


def changed(subject: Subject) -> None:
    """Check that training examples which are not marked as changed are as they were."""
    x, y = _examples()
    new_x, new_y, is_changed = _apply(subject, x, y)
    kept = ~is_changed
    if not (np.array_equal(new_x[kept], x[kept]) and np.array_equal(new_y[kept], y[kept])):
        raise Fault(
            "examples that are not marked in `changed` are not what they were",
            _apply_location(subject),
        )


def noise(subject: Subject) -> None:
    """Check that the record's `noise` names what changes, and that only training data changes.

    Other splits may change as training does: then the signal describes another world.
    """
    (record,) = subject.records
    where = _apply_location(subject)
    x, y = _examples()
    new_x, new_y, _ = _apply(subject, x, y)
    if record.noise == "labels" and not np.array_equal(new_x, x):
        raise Fault('noise="labels", and inputs change', where)
    if record.noise == "inputs" and not np.array_equal(new_y, y):
        raise Fault('noise="inputs", and labels change', where)
    test_x, test_y, _ = _apply(subject, *_examples(), train=False)
    labels_unchanged = np.array_equal(test_y, y)
    as_before = np.array_equal(test_x, x) and labels_unchanged
    as_in_training = np.array_equal(test_x, new_x) and labels_unchanged
    if record.noise and not (as_before or as_in_training):
        raise Fault("validation and test are changed too, and not as training is", where)

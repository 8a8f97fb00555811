"""Images with their pixels in another order: one for all images, or one for each training image.

Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking
generalization", ICLR 2017, arXiv:1611.03530, section 2. The channels of a pixel stay together;
labels are kept.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw

Array = NDArray[Any]
Applied = tuple[Array, Array, Array]


def shuffled(x: Array, y: Array, level: None, draw: Draw, train: bool) -> Applied:
    """Move validation and test too: what is learned generalizes, without neighbourhoods."""
    n, c, h, w = x.shape
    order = draw.world.permutation("pixels", h * w)
    return x.reshape(n, c, h * w)[:, :, order].reshape(x.shape), y, np.full(len(y), train)


def random(x: Array, y: Array, level: None, draw: Draw, train: bool) -> Applied:
    """Leave validation and test real: only the fit of the training set means anything."""
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    n, c, h, w = x.shape
    keys = draw.uniform("pixels", n * h * w).reshape(n, 1, h * w)
    orders = keys.argsort(axis=-1, kind="stable")
    moved = np.take_along_axis(x.reshape(n, c, h * w), orders, -1)
    return moved.reshape(x.shape), y, np.ones(len(y), dtype=bool)


@hookimpl
def register() -> list[Signal]:
    return [
        Signal(
            "shuffled-pixels",
            shuffled,
            noise="inputs",
            summary="One order of the pixels for all images.",
        ),
        Signal(
            "random-pixels",
            random,
            noise="inputs",
            summary="An order of the pixels for each training image.",
        ),
    ]

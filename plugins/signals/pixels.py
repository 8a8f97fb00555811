"""Images with their pixels in another order: one order for the whole world, or one for each training image.

Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking generalization", ICLR 2017,
arXiv:1611.03530, section 2. The channels of a pixel stay together; labels are kept.
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def shuffled(x, y, level, draw, train):
    """Validation and test too: what is learned still generalizes, without the neighbourhoods."""
    n, c, h, w = x.shape
    order = draw.world.permutation("pixels", h * w)
    return x.reshape(n, c, h * w)[:, :, order].reshape(x.shape), y, np.full(len(y), train)


def random(x, y, level, draw, train):
    """Validation and test stay real, so only the fit of the training set means anything."""
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    n, c, h, w = x.shape
    orders = draw.uniform("pixels", n * h * w).reshape(n, 1, h * w).argsort(axis=-1, kind="stable")
    return np.take_along_axis(x.reshape(n, c, h * w), orders, -1).reshape(x.shape), y, np.ones(len(y), dtype=bool)


@hookimpl
def register():
    return [
        Signal("shuffled-pixels", shuffled, noise="inputs", summary="One order of the pixels for all images."),
        Signal("random-pixels", random, noise="inputs", summary="An order of the pixels for each training image."),
    ]

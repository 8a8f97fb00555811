"""Training inputs replaced by Gaussian noise: of each pixel's moments, or in p of the images.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3 (which does not say whether mean and variance are matched by image set or by pixel: `randX` is the
former, by channel); labels are kept. Moments of grey levels are taken in whole numbers, so that a
signal has the same bytes everywhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw

Array = NDArray[Any]
Applied = tuple[Array, Array, Array]


def rand_x_pixel(x: Array, y: Array, level: None, draw: Draw, train: bool) -> Applied:
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return gaussian(x, draw, axes=(0,)), y, np.ones(len(y), dtype=bool)


def mixed_inputs(x: Array, y: Array, level: float, draw: Draw, train: bool) -> Applied:
    hit = np.zeros(len(y), dtype=bool)
    if not train:
        return x, y, hit
    hit[draw.permutation("which", len(y))[: round(level * len(y))]] = True
    noise = gaussian(x, draw, axes=(0, 2, 3))
    return np.where(hit[:, None, None, None], noise, x.astype(np.float32)), y, hit


def gaussian(x: Array, draw: Draw, axes: tuple[int, ...]) -> Array:
    """Draw noise that has the mean and standard deviation of x along some axes.

    Args:
        x: [n, c, h, w].
        draw: of the split.
        axes: over which the moments are taken.

    Returns:
        [n, c, h, w] float32.
    """
    mean, std = moments(x, axes)
    noise: Array = draw.normal("inputs", x.size).reshape(x.shape)
    return mean + std * noise


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Compute mean and standard deviation along some axes, which are kept with length 1: float32.

    Of grey levels, uint8, they are exact up to one rounding; of float32 images they are as good as
    the order in which this numpy adds.
    """
    if x.dtype != np.uint8:
        wide = x.astype(np.float64)
        mean, std = wide.mean(axis=axes, keepdims=True), wide.std(axis=axes, keepdims=True)
        return mean.astype(np.float32), std.astype(np.float32)
    total = x.sum(axis=axes, keepdims=True, dtype=np.int64)
    squares = np.square(x, dtype=np.uint16).sum(axis=axes, keepdims=True, dtype=np.int64)
    n = x.size // total.size
    # n^2 times the variance may need more than 64 bits
    spread = n * squares.astype(object) - total.astype(object) ** 2
    std = np.sqrt(spread.astype(np.float64)) / n
    return (total / n).astype(np.float32), std.astype(np.float32)


@hookimpl
def register() -> list[Signal]:
    return [
        Signal(
            "randX-pixel",
            rand_x_pixel,
            noise="inputs",
            summary="Gaussian inputs with each pixel's own moments.",
        ),
        Signal(
            "mixed-inputs",
            mixed_inputs,
            noise="inputs",
            levels=True,
            summary="mixed-inputs@p: a fraction p of them is noise.",
        ),
    ]

"""Training inputs replaced by Gaussian noise: of each pixel's own moments, or only a fraction p of the images.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section 3 (which does not
say whether mean and variance are matched by image set or by pixel: `randX` is the former, by channel); labels are kept.
Moments of grey levels are taken in whole numbers, so that a signal has the same bytes everywhere.
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def rand_x_pixel(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return gaussian(x, draw, axis=0), y, np.ones(len(y), dtype=bool)


def mixed_inputs(x, y, level, draw, train):
    hit = np.zeros(len(y), dtype=bool)
    if not train:
        return x, y, hit
    hit[draw.permutation("which", len(y))[: round(level * len(y))]] = True
    return np.where(hit[:, None, None, None], gaussian(x, draw, axis=(0, 2, 3)), x.astype(np.float32)), y, hit


def gaussian(x, draw, axis):
    """[n, c, h, w] float32 with the mean and standard deviation of x along `axis`."""
    mean, std = moments(x, axis)
    return mean + std * draw.normal("inputs", x.size).reshape(x.shape)


def moments(x, axis):
    """Mean and standard deviation, float32, one for each index that is not in `axis`, as wide as x."""
    if x.dtype != np.uint8:  # float32 images: as good as the order in which this numpy adds
        wide = x.astype(np.float64)
        mean, std = wide.mean(axis=axis, keepdims=True), wide.std(axis=axis, keepdims=True)
        return mean.astype(np.float32), std.astype(np.float32)
    total, squares = (v.sum(axis=axis, keepdims=True, dtype=np.int64) for v in (x, np.square(x, dtype=np.uint16)))
    n = x.size // total.size
    spread = n * squares.astype(object) - total.astype(object) ** 2  # n^2 times the variance may need more than 64 bits
    return (total / n).astype(np.float32), (np.sqrt(spread.astype(np.float64)) / n).astype(np.float32)


@hookimpl
def register():
    return [
        Signal("randX-pixel", rand_x_pixel, noise="inputs", summary="Gaussian inputs with each pixel's own moments."),
        Signal("mixed-inputs", mixed_inputs, noise="inputs", summary="mixed-inputs@p: a fraction p of them is noise."),
    ]

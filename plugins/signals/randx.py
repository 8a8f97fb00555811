"""Training inputs replaced by Gaussian noise with the real inputs' mean and variance (per channel); labels kept.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section 3. Validation and
test stay real, so only the fit of the training set means anything.
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def rand_x(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    flat = x.astype(np.float64)
    mean = flat.mean(axis=(0, 2, 3), keepdims=True).astype(np.float32)
    std = flat.std(axis=(0, 2, 3), keepdims=True).astype(np.float32)
    noise = draw.normal("inputs", x.size).reshape(x.shape)
    return mean + std * noise, y, np.ones(len(y), dtype=bool)


@hookimpl
def register():
    return [Signal("randX", rand_x, noise="inputs")]

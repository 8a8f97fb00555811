"""Training sets with real inputs: untouched, all labels random, or a part of them random.

Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking
generalization", ICLR 2017, arXiv:1611.03530; Arpit et al., "A Closer Look at Memorization in Deep
Networks", ICML 2017, arXiv:1706.05394, sec. 3. A random label is uniform on all classes, so one in
K stays right.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw

Array = NDArray[Any]
Applied = tuple[Array, Array, Array]


def real(x: Array, y: Array, level: None, draw: Draw, train: bool) -> Applied:
    return x, y, np.zeros(len(y), dtype=bool)


def rand_y(x: Array, y: Array, level: None, draw: Draw, train: bool) -> Applied:
    return mixed(x, y, 1.0, draw, train)


def mixed(x: Array, y: Array, level: float, draw: Draw, train: bool) -> Applied:
    hit = np.zeros(len(y), dtype=bool)
    if not train:
        return x, y, hit
    hit[draw.permutation("which", len(y))[: round(level * len(y))]] = True
    random = (draw.uniform("label", len(y)) * draw.num_classes).astype(y.dtype)
    return x, np.where(hit, random, y), hit


@hookimpl
def register() -> list[Signal]:
    return [
        Signal("real", real, summary="The data as they are."),
        Signal(
            "randY", rand_y, noise="labels", summary="Every training label is uniformly random."
        ),
        Signal(
            "mixed",
            mixed,
            noise="labels",
            levels=True,
            summary="mixed@p: a fraction p of the training labels is random.",
        ),
    ]

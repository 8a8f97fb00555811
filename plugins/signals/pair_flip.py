"""pair-flip@p: a fraction p of the training labels becomes the next class, the last the first.

Han, Yao, Yu, Niu, Xu, Hu, Tsang and Sugiyama, "Co-teaching", NeurIPS 2018, arXiv:1804.06872,
section 4 (pair flipping). Every label flips with probability p there; here exactly round(p n) do,
as in `mixed@p`. Which class a wrong label names depends on the true one, as with annotators who
take similar classes for each other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw

Array = NDArray[Any]


def pair_flip(
    x: Array, y: Array, level: float, draw: Draw, train: bool
) -> tuple[Array, Array, Array]:
    hit = np.zeros(len(y), dtype=bool)
    if train:
        hit[draw.permutation("which", len(y))[: round(level * len(y))]] = True
    return x, np.where(hit, (y + 1) % draw.num_classes, y), hit


@hookimpl
def register() -> list[Signal]:
    return [Signal("pair-flip", pair_flip, noise="labels", levels=True)]

"""Training labels shuffled among the images: as random as `randY`, with the class counts kept.

Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking
generalization", ICLR 2017, arXiv:1611.03530, section 2 (there uniform); the shuffled form is that
of permutation tests. One in K stays right.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw

Array = NDArray[Any]


def permuted(
    x: Array, y: Array, level: None, draw: Draw, train: bool
) -> tuple[Array, Array, Array]:
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return x, y[draw.permutation("labels", len(y))], np.ones(len(y), dtype=bool)


@hookimpl
def register() -> list[Signal]:
    return [Signal("randY-permuted", permuted, noise="labels")]

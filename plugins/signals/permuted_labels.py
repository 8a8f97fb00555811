"""Training labels shuffled among the images: as random as `randY`, with every class exactly as frequent as before.

Zhang, Bengio, Hardt, Recht and Vinyals, "Understanding deep learning requires rethinking generalization", ICLR 2017,
arXiv:1611.03530, section 2 (there uniform); the shuffled form is that of permutation tests. One in K stays right.
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def permuted(x, y, level, draw, train):
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    return x, y[draw.permutation("labels", len(y))], np.ones(len(y), dtype=bool)


@hookimpl
def register():
    return [Signal("randY-permuted", permuted, noise="labels")]

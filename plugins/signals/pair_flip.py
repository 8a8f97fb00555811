"""pair-flip@p: a fraction p of the training labels becomes the next class, k to k + 1, the last to the first.

Han, Yao, Yu, Niu, Xu, Hu, Tsang and Sugiyama, "Co-teaching", NeurIPS 2018, arXiv:1804.06872, section 4 (pair flipping).
Every label flips with probability p; here exactly round(p n) do, as in `mixed@p`. Which class a wrong label names
depends on the true one, as with annotators who take similar classes for each other.
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def pair_flip(x, y, level, draw, train):
    hit = np.zeros(len(y), dtype=bool)
    if train:
        hit[draw.permutation("which", len(y))[: round(level * len(y))]] = True
    return x, np.where(hit, (y + 1) % draw.num_classes, y), hit


@hookimpl
def register():
    return [Signal("pair-flip", pair_flip, noise="labels")]

"""Cutout: a square of s times the image's side, its centre anywhere in the image, is set to the channel's mean.

DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017, arXiv:1708.04552: the
square may stick out over the border, so that some examples keep more. A pixel is in it if its middle is: where s times
the side is a whole number k, that is k pixels each way, as in the paper. Strength: the square's side over the image's,
0 to 2, where nothing is left (the paper: 8 to 20 of 32 pixels, 0.25 to 0.6).
"""

import torch

from membench import Regularizer
from membench import hookimpl


def inside(centre, share, size):
    """[n, size] bool: the pixels whose middle is within half of share * size of centre * size; centre [n, 1]."""
    middle = torch.arange(size, device=centre.device) + 0.5
    return (middle - centre * size).abs() < share * size / 2


def batch(x, y, lane):
    n, _, height, width = x.shape
    centre = lane.uniform((n, 2))
    rows, columns = inside(centre[:, :1], lane.strength, height), inside(centre[:, 1:], lane.strength, width)
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return x * ~hole, y


@hookimpl
def register():
    return [Regularizer("cutout", strengths=(0.25, 0.5, 0.75, 1.0, 1.3), group="data", batch=batch)]

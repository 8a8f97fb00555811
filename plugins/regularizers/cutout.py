"""Cutout: a square of s times the image's side, anywhere in it, is set to the channel's mean.

DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
arXiv:1708.04552: the square may stick out over the border, so that some examples keep more. A pixel
is in it if its middle is: where s times the side is a whole number k, that is k pixels each way, as
in the paper. Strength: the square's side over the image's, 0 to 2, where nothing is left (the
paper: 8 to 20 of 32 pixels, 0.25 to 0.6).
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def inside(centre: Tensor, share: Tensor, size: int) -> Tensor:
    """Find the pixels of a side whose middle lies in the square.

    Args:
        centre: [n, 1], the square's centre over the side.
        share: 0-d, the square's length over the side.
        size: the side, in pixels.

    Returns:
        [n, size] bool.
    """
    middle = torch.arange(size, device=centre.device) + 0.5
    return (middle - centre * size).abs() < share * size / 2


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    n, _, height, width = x.shape
    centre = lane.uniform((n, 2))
    rows = inside(centre[:, :1], lane.strength, height)
    columns = inside(centre[:, 1:], lane.strength, width)
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return x * ~hole, y


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "cutout", strengths=(0.25, 0.5, 0.75, 1.0, 1.3), limit=2.0, group="data", batch=batch
        )
    ]

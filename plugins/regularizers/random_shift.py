"""Random shift: each image is moved by up to s pixels along each axis, its border repeated.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
section 4.2: a random crop after padding s = 4 pixels on each side. Up or down, left or right, each
image moves by round((2 s + 1)(u - 1/2)), u uniform on [0, 1): for a whole s that is uniform on -s
.. s, in between the outermost moves are rarer. The padding is the image's own border in place of
their zeros, so that no value is made up; MNIST's is black. Strength: the largest move, in pixels,
from 0.
"""

import torch
from torch import Tensor

from membench import Composite
from membench import Regularizer
from membench import hookimpl
from membench.api import Lane

PAIRS = (
    'Pairs with augmentation, after the pair of Arpit et al., "A Closer Look at Memorization in '
    'Deep Networks", ICML 2017, arXiv:1706.05394, sec. 5.'
)
AVERAGED = (
    'Kang, Liu, Huang, Yu, Han, Wang and Liu, "Unleashing the Potential of Regularization '
    'Strategies in Learning with Noisy Labels", 2023, arXiv:2307.05025: augmentation, an average '
    "of the weights and a falling rate rival methods that are made for noisy labels."
)


def source(move: Tensor, size: int) -> Tensor:
    """Return which row, or column, each one is taken from: [n, size] int64, for moves [n, 1]."""
    return (torch.arange(size, device=move.device) - move).clamp(0, size - 1).to(torch.int64)


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    n, _, height, width = x.shape
    move = ((2 * lane.strength + 1) * (lane.uniform((n, 2)) - 0.5)).round()
    rows = source(move[:, :1], height)[:, None, :, None].expand(x.shape)
    columns = source(move[:, 1:], width)[:, None, None, :].expand(x.shape)
    return x.gather(2, rows).gather(3, columns), y


@hookimpl
def register() -> list[Regularizer | Composite]:
    return [
        Regularizer(
            "random-shift", strengths=(0.25, 1.0, 2.0, 4.0, 8.0), group="data", batch=batch
        ),
        Composite(
            "random-shift+dropout",
            strengths=((1.0, 0.1), (2.0, 0.2), (2.0, 0.3), (4.0, 0.3), (4.0, 0.5)),
            summary="Random shift with dropout: augmentation, and noise inside the network.",
            source=PAIRS,
        ),
        Composite(
            "random-shift+ema",
            strengths=((1.0, 0.995), (2.0, 0.995), (4.0, 0.995), (4.0, 0.998), (8.0, 0.999)),
            summary="Random shift, evaluated at an exponential moving average of the weights.",
            source=AVERAGED,
        ),
        Composite(
            "random-shift+adversarial",
            strengths=((0.5, 0.2), (1.0, 0.3), (2.0, 0.3), (4.0, 0.3), (4.0, 0.6)),
            summary="Random shift with one-step adversarial training.",
            source=PAIRS,
        ),
    ]

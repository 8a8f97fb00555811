"""Spatial dropout: each channel is zeroed with probability s, others are scaled by 1 / (1 - s).

Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient Object Localization Using Convolutional
Networks", CVPR 2015, arXiv:1411.4280, section 3.2. After every hidden activation, for each example
apart: [n, c, h, w] loses channels, [n, tokens, c] features at all tokens; a unit of a fully
connected layer, [n, c], is a channel with one position, so that there it is plain dropout.
Strength: the rate, 0 to below 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def hidden(h: Tensor, lane: Lane) -> Tensor:
    channels = (h.shape[0], 1, h.shape[2]) if h.dim() == 3 else (*h.shape[:2], *[1] * (h.dim() - 2))
    keep = lane.uniform(channels) >= lane.strength
    return h * keep / (1 - lane.strength)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "spatial-dropout", strengths=(0.1, 0.3, 0.5, 0.65, 0.8), group="model", hidden=hidden
        )
    ]

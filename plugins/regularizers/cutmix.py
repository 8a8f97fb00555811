"""CutMix: with probability s, a box of another image is pasted in, the labels mixed by its area.

Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with
Localizable Features", ICCV 2019, arXiv:1905.04899. The box has sqrt(1 - l) of the image's height
and width, l ~ Beta(1, 1), and its centre anywhere in the image; it is cut at the border, and the
other label's share is that of the pixels really pasted. Here each example draws a box of its own;
the paper's code draws one a batch. Strength: the probability s, 0 to 1 (the paper: 0.5 on CIFAR, 1
on ImageNet).
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def inside(centre: Tensor, share: Tensor, size: int) -> Tensor:
    """Find the pixels of a side whose middle lies in the box.

    Args:
        centre: [n, 1], the box's centre over the side.
        share: [n, 1], the box's length over the side.
        size: the side, in pixels.

    Returns:
        [n, size] bool.
    """
    middle = torch.arange(size, device=centre.device) + 0.5
    return (middle - centre * size).abs() < share * size / 2


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    n, _, height, width = x.shape
    hit = lane.uniform((n, 1)) < lane.strength
    share = hit * lane.uniform((n, 1)).sqrt()
    centre, other = lane.uniform((n, 2)), lane.permutation(n)
    rows, columns = inside(centre[:, :1], share, height), inside(centre[:, 1:], share, width)
    box = rows[:, None, :, None] & columns[:, None, None, :]
    pasted = box.flatten(1).to(y.dtype).mean(dim=1, keepdim=True)
    return torch.where(box, x[other], x), (1 - pasted) * y + pasted * y[other]


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "cutmix", strengths=(0.2, 0.4, 0.6, 0.8, 1.0), limit=1.0, group="data", batch=batch
        )
    ]

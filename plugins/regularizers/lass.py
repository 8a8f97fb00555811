"""LASS adversarial training: with probability s an example is replaced by a critical sample.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394,
algorithm 1 and section 5: x' <- clip(x' + a sign(grad CE of the predicted class) + b N(0, 1)) to
the box |x' - x| <= r, until the prediction at x' is not that at x; an example whose prediction
stays keeps its x. Two iterations: with their a : b : r = .25 : .2 : .3 the search, near x, is at a
corner of the box by then. Their r = 0.3 grey levels of 0-255 is below what these networks notice; r
was raised, a and b in proportion, until it did something: at s = 0.7 the cnn still fits 96 % of
random labels with 32, 80 % with 64, which is taken. Strength: the weight s of the critical samples,
0 to 1; the paper swept 0.2 to 0.7, with dropout.
"""

import torch
from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.nn import cross_entropy
from membench.nn import one_hot

ITERATIONS = 2
RADIUS = 64  # grey levels, r
STEP = RADIUS * 0.25 / 0.3  # a
NOISE = RADIUS * 0.2 / 0.3  # b


def critical(x: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    """Search each image's box for a critical sample.

    Returns:
        Where the search ended, as a move [n, c, h, w], and whether the prediction is another there,
        [n] bool.
    """
    radius = RADIUS * lane.pixel
    predicted = lane.forward(x).argmax(dim=1)
    target = one_hot(predicted, lane.num_classes)

    def objective(z: Tensor) -> tuple[Tensor, Tensor]:
        logits = lane.forward(z)
        return cross_entropy(logits, target).sum(), logits

    move = torch.zeros_like(x)
    for _ in range(ITERATIONS):
        ascent, logits = grad(objective, has_aux=True)(x + move)
        step = lane.pixel * (STEP * ascent.sign() + NOISE * lane.normal(x.shape))
        searching = (logits.argmax(dim=1) == predicted)[:, None, None, None]
        move = torch.where(searching, (move + step).clamp(-radius, radius), move)
    return move, lane.forward(x + move).argmax(dim=1) != predicted


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    move, found = critical(x, lane)
    hit = found & (lane.uniform((x.shape[0],)) < lane.strength)
    return x + hit[:, None, None, None] * move, y


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "lass", strengths=(0.4, 0.6, 0.8, 0.9, 1.0), limit=1.0, group="data", batch=batch
        )
    ]

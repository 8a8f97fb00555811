"""Adversarial training: with probability s an example is replaced by its one-step sign attack.

Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015,
arXiv:1412.6572: with x_adv = x + 32 pixel sign(grad CE), attacked at the current weights without
taps, the expected loss is (1 - s) CE(x) + s CE(x_adv). Strength: the weight s, 0 to 1; the step is
32 grey levels of 0-255. Arpit et al., ICML 2017, arXiv:1706.05394, section 5, combine it with
dropout at weights 0.2-0.7 (theirs attacks by LASS).
"""

from torch import Tensor
from torch.func import grad

from membench import Composite
from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.nn import cross_entropy

STEP = 32  # grey levels


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    ascent = grad(lambda z: cross_entropy(lane.forward(z), y).sum())(x).sign()
    hit = lane.uniform((x.shape[0], 1, 1, 1)) < lane.strength
    return x + hit * (STEP * lane.pixel * ascent), y


@hookimpl
def register() -> list[Regularizer | Composite]:
    return [
        Regularizer(
            "adversarial", strengths=(0.2, 0.4, 0.6, 0.8, 1.0), limit=1.0, group="data", batch=batch
        ),
        Composite(
            "dropout+adversarial",
            strengths=((0.1, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.7)),
            summary="Dropout with one-step adversarial training, the paper's best pair.",
            source='Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, '
            "arXiv:1706.05394, sec. 5.",
        ),
    ]

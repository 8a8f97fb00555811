"""Adversarial training: each example is replaced, with probability s, by its one-step signed-gradient attack.

Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015, arXiv:1412.6572: with the
step x + 32 pixel sign(grad CE), attacked at the current weights without taps, the expected loss is (1 - s) CE(x) +
s CE(x_adv). Strength: the weight s, 0 to 1; the step is 32 grey levels of 0-255. Arpit et al., ICML 2017,
arXiv:1706.05394, section 5, combine it with dropout at weights 0.2-0.7 (theirs attacks by LASS).
"""

from torch.func import grad

from membench import Composite
from membench import Regularizer
from membench import hookimpl
from membench.nn import cross_entropy

STEP = 32  # grey levels


def batch(x, y, lane):
    ascent = grad(lambda z: cross_entropy(lane.forward(z), y).sum())(x).sign()
    hit = lane.uniform((x.shape[0], 1, 1, 1)) < lane.strength
    return x + hit * (STEP * lane.pixel * ascent), y


@hookimpl
def register():
    return [
        Regularizer("adversarial", strengths=(0.2, 0.4, 0.6, 0.8, 1.0), group="data", batch=batch),
        Composite(
            "dropout+adversarial",
            strengths=((0.1, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.7)),
            summary="Dropout and one-step adversarial training at once, the pair that the paper found best.",
            source='Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, sec. 5.',
        ),
    ]

"""Projected gradient: with probability s an example is replaced by its three-step attack.

Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards Deep Learning Models Resistant to Adversarial
Attacks", ICLR 2018, arXiv:1706.06083: from a uniform point of the box |x' - x| <= e, e = 32 grey
levels, three times x' <- clip(x' + a sign(grad CE)) to it, at the current weights without taps; a
step a = 2.5 e / 3 reaches the border from anywhere. The box is not cut to 0-255, as in
`adversarial`. The expected loss is (1 - s) CE(x) + s CE(x'). Strength: the weight s, 0 to 1; e is
32 grey levels of 0-255.
"""

from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.nn import cross_entropy

STEPS = 3
RADIUS = 32  # grey levels
STEP = 2.5 * RADIUS / STEPS


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    ascent = grad(lambda z: cross_entropy(lane.forward(z), y).sum())
    radius = RADIUS * lane.pixel
    move = radius * (2 * lane.uniform(x.shape) - 1)
    for _ in range(STEPS):
        move = (move + STEP * lane.pixel * ascent(x + move).sign()).clamp(-radius, radius)
    hit = lane.uniform((x.shape[0], 1, 1, 1)) < lane.strength
    return x + hit * move, y


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "pgd-3", strengths=(0.1, 0.3, 0.5, 0.75, 1.0), limit=1.0, group="data", batch=batch
        )
    ]

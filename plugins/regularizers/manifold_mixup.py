"""Manifold mixup: the input or one of two hidden layers is blended with a random other example.

Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz and Bengio, "Manifold Mixup: Better
Representations by Interpolating Hidden States", ICML 2019, arXiv:1806.05236: each step draws one of
the three places for the whole batch, the authors' set {0, 1, 2}; the labels are blended alike. The
example's own weight is 1 - s u with u uniform on [0, 1), each example its own, as in `mixup`; s = 1
is Beta(1, 1). Skips networks whose first two taps are not hidden layers: a blended branch beside a
shortcut that is not would not match its label. Strength: s, 0 to 1, the largest share of the other
example.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Net

PLACES = 3


def skip(net: Net) -> str | None:
    kinds = [kind for kind, _ in net.taps[: PLACES - 1]]
    if kinds != ["hidden"] * (PLACES - 1):
        return f"the first {PLACES - 1} taps are not hidden layers"
    return None


def blend(values: Tensor, lane: Lane, active: Tensor | int = 1) -> Tensor:
    """Blend each example with another one; their draws have names, so the whole step has the same.

    Args:
        values: [n, ...], one row an example.
        lane: the run.
        active: 0-d; 0 = leave the values as they are.

    Returns:
        [n, ...].
    """
    n = values.shape[0]
    own = 1 - lane.strength * active * lane.uniform((n, *[1] * (values.dim() - 1)), "share")
    return own * values + (1 - own) * values[lane.permutation(n, "other")]


def drawn(place: int, lane: Lane) -> Tensor:
    """Tell whether this step blends at `place`: 0 is the input, k the k-th tap."""
    return (PLACES * lane.uniform((), "place")).floor() == place


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    return blend(x, lane, drawn(0, lane)), blend(y, lane)


def hidden(h: Tensor, lane: Lane) -> Tensor:
    return blend(h, lane, drawn(lane.tap + 1, lane)) if lane.tap + 1 < PLACES else h


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.1, 0.25, 0.5, 0.75, 1.0)
    return [
        Regularizer(
            "manifold-mixup",
            strengths,
            limit=1.0,
            group="model",
            skip=skip,
            batch=batch,
            hidden=hidden,
        )
    ]

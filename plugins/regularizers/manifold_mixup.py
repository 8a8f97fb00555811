"""Manifold mixup: the input, or the first or second hidden layer, is blended with that of a random other example.

Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz and Bengio, "Manifold Mixup: Better Representations by Interpolating
Hidden States", ICML 2019, arXiv:1806.05236: each step draws one of the three places for the whole batch, the authors'
set {0, 1, 2}; the labels are blended alike. The example's own weight is 1 - s u with u uniform on [0, 1), each example
its own, as in `mixup`; s = 1 is Beta(1, 1). Skips networks whose first two taps are not hidden layers: a blended branch
beside a shortcut that is not would not match its label. Strength: s, 0 to 1, the largest share of the other example.
"""

from membench import Regularizer
from membench import hookimpl

PLACES = 3


def skip(net):
    kinds = [kind for kind, _ in net.taps[: PLACES - 1]]
    return None if kinds == ["hidden"] * (PLACES - 1) else f"the first {PLACES - 1} taps are not hidden layers"


def blend(v, lane, active=1):
    """v [n, ...], or v itself where `active` is 0; partners and shares are the step's, since their draws have names."""
    n = v.shape[0]
    own = 1 - lane.strength * active * lane.uniform((n, *[1] * (v.dim() - 1)), "share")
    return own * v + (1 - own) * v[lane.permutation(n, "other")]


def drawn(place, lane):
    """Whether this step blends at `place`: 0 the input, k the k-th tap."""
    return (PLACES * lane.uniform((), "place")).floor() == place


def batch(x, y, lane):
    return blend(x, lane, drawn(0, lane)), blend(y, lane)


def hidden(h, lane):
    return blend(h, lane, drawn(lane.tap + 1, lane)) if lane.tap + 1 < PLACES else h


@hookimpl
def register():
    strengths = (0.1, 0.25, 0.5, 0.75, 1.0)
    return [Regularizer("manifold-mixup", strengths, group="model", skip=skip, batch=batch, hidden=hidden)]

"""Hidden noise: adds s times standard Gaussian noise after every hidden activation.

Poole, Sohl-Dickstein and Ganguli, "Analyzing noise in autoencoders and deep networks", 2014,
arXiv:1406.1831; swept by Arpit et al., ICML 2017, arXiv:1706.05394, section 5. Strength: the
standard deviation, in units of the activation.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def hidden(h: Tensor, lane: Lane) -> Tensor:
    return h + lane.strength * lane.normal(h.shape)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "hidden-noise", strengths=(0.25, 0.5, 1.0, 2.0, 4.0), group="model", hidden=hidden
        )
    ]

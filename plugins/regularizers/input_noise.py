"""Input noise: adds s times standard Gaussian noise to the standardised inputs at each step.

C. M. Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation
7(1), 1995; swept by Arpit et al., ICML 2017, arXiv:1706.05394, section 5. Strength: the noise's
standard deviation over the inputs', 0 to 8.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    return x + lane.strength * lane.normal(x.shape), y


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("input-noise", strengths=(0.5, 1.0, 2.0, 4.0, 8.0), group="data", batch=batch)
    ]

"""Input dropout: each input value is set to its mean with probability s, others get 1 / (1 - s).

Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15,
2014; swept on inputs by Arpit et al., ICML 2017, arXiv:1706.05394, section 5. Strength: the rate, 0
to below 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def batch(x: Tensor, y: Tensor, lane: Lane) -> tuple[Tensor, Tensor]:
    keep = lane.uniform(x.shape) >= lane.strength
    return x * keep / (1 - lane.strength), y


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "input-dropout", strengths=(0.2, 0.4, 0.6, 0.8, 0.95), group="data", batch=batch
        )
    ]

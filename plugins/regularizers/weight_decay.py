"""Weight decay: adds (s / 2) times the squared norm of all weight matrices to the loss.

A. Krogh and J. A. Hertz, "A Simple Weight Decay Can Improve Generalization", NeurIPS 1991; biases
are left alone; swept by Arpit et al., ICML 2017, arXiv:1706.05394, section 5. Strength: the
coefficient, per unit of squared weight, as `weight_decay` in torch.optim.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def penalty(params: Params, lane: Lane) -> Tensor:
    return 0.5 * lane.strength * sum(w.square().sum() for w in params.values() if w.dim() > 1)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "weight-decay",
            strengths=(0.003, 0.01, 0.03, 0.06, 0.2),
            group="weights",
            penalty=penalty,
        )
    ]

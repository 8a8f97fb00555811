"""Small-loss trimming: the share s of the batch with the largest losses is left out.

Shen and Sanghavi, "Learning with Bad Training Data via Iterative Trimmed Loss Minimization", ICML
2019, arXiv:1810.11874, in each batch, the mean taken over the others, as Han et al., "Co-teaching",
NeurIPS 2018, arXiv:1804.06872, but with one network. As there, the share rises linearly to s at the
start, here over a tenth of the steps: classes that are not learned yet have the largest losses.
Where s n is no whole number, the example at the border counts for the fraction. Strength: the share
s, 0 to below 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane

RISE = 0.1  # of the steps


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    share = lane.strength * (lane.progress / RISE).clamp_max(1)
    kept = (1 - share) * losses.shape[0]
    rank = losses.detach().argsort(stable=True).argsort(stable=True)  # 0 = the smallest
    return losses * (kept - rank).clamp(0, 1) / (1 - share)


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer("small-loss", strengths=(0.05, 0.1, 0.2, 0.3, 0.4), group="loss", loss=loss)
    ]

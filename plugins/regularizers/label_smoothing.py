"""Label smoothing: the target is 1 - s of the label and s of the uniform distribution.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016, arXiv:1512.00567, section 7. Cross-entropy is linear in the target, so the loss
is (1 - s) CE(y) + s CE(uniform). Strength: the share s, 0 to 1; at 1 the labels are not used.
"""

import torch.nn.functional as F
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    uniform = -F.log_softmax(logits, dim=1).mean(dim=1)
    return (1 - lane.strength) * losses + lane.strength * uniform


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "label-smoothing",
            strengths=(0.1, 0.3, 0.6, 0.9, 0.98),
            limit=1.0,
            group="loss",
            loss=loss,
        )
    ]

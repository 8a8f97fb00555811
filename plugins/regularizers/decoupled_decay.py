"""Decoupled weight decay: each step takes lr s times the weight matrices off, past the gradient.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101, with
the learning rate as a factor, as in torch.optim.AdamW: w' = update(w) - lr s w. Biases are left
alone. With plain SGD momentum 0.9, an s ten times that of an L2 penalty pulls as hard. Strength:
the coefficient s, 0 to 1 / lr.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def weights(params: Params, lane: Lane) -> Params:
    pull = lane.lr * lane.strength
    return {name: w - pull * lane.before[name] if w.dim() > 1 else w for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "decoupled-decay",
            strengths=(0.05, 0.2, 0.4, 0.6, 1.0),
            group="weights",
            weights=weights,
        )
    ]

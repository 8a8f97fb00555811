"""Self-distillation: the target is 1 - s of the label and s of the averaged weights' output.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, at
temperature 1, from a teacher with averaged weights, that of Tarvainen and Valpola, "Mean teachers
are better role models", NeurIPS 2017, arXiv:1703.01780: a <- 0.99 a + 0.01 w after each step, from
the initial weights, without taps. Evaluated is the student. Strength: the share s of the teacher's
answer, 0 to 1; at 1 the labels are not used.
"""

from typing import Any

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import cross_entropy

DECAY = 0.99


def loss(losses: Tensor, logits: Tensor, y: Tensor, lane: Lane) -> Tensor:
    taught = lane.forward(lane.x, lane.state["teacher"]).softmax(dim=1)
    return (1 - lane.strength) * losses + lane.strength * cross_entropy(logits, taught)


def init(params: Params, lane: Lane) -> dict[str, Any]:
    return {"teacher": params}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    old = lane.state["teacher"]
    return {"teacher": {name: DECAY * old[name] + (1 - DECAY) * w for name, w in params.items()}}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.1, 0.4, 0.8, 0.9, 0.95)
    return [
        Regularizer(
            "self-distillation",
            strengths,
            limit=1.0,
            group="loss",
            loss=loss,
            init=init,
            update=update,
        )
    ]

"""DropConnect: each weight is zeroed with probability s in each step, others get 1 / (1 - s).

Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of Neural Networks using DropConnect", ICML
2013. One mask a step for the weight matrices' entries: the paper draws one for each example, masks
biases too, leaves the output layer alone, and samples at evaluation where this uses the mean
weights. Strength: the rate, 0 to below 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import settle


def mask(w: Tensor, lane: Lane) -> Tensor:
    """Draw 0 or 1 / (1 - s) for each entry of a weight matrix."""
    # settled: left to fuse it with the backward pass, torch 2.14's compiler fails
    return settle((lane.uniform(w.shape) >= lane.strength) / (1 - lane.strength))


def perturb(params: Params, lane: Lane) -> Params:
    return {name: w * mask(w, lane) if w.dim() > 1 else w for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "dropconnect", strengths=(0.05, 0.1, 0.2, 0.3, 0.5), group="model", perturb=perturb
        )
    ]

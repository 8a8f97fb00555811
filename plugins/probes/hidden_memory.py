"""Hidden memory: how fast wrong labels that the network does not show are learned again.

The trained network is trained on without its regularizer (SGD, the run's rate, momentum and batch),
once on its labels as given, once with other wrong labels in the wrong ones' place, and the initial
network on the labels as given. All three are read on the same examples: wrong labels that the
trained network does not predict at first, `held` of the wrong ones. What `relearned` is above `new`
was in the weights though not in the answers: savings in relearning, after H. Ebbinghaus, "Über das
Gedächtnis", 1885. `relearned`, `new`, `scratch`: share predicted as given after 0, 1, ... epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.func import grad

from membench import Probe
from membench import hookimpl
from membench.nn import cross_entropy
from membench.nn import one_hot

if TYPE_CHECKING:
    from torch import Tensor

    from membench.api import Params
    from membench.probes import Metrics
    from membench.probes import ProbeData
    from membench.probes import ProbeLane

EPOCHS = 10


def other_labels(data: ProbeData, predicted: Tensor, lane: ProbeLane) -> Tensor:
    """Replace each wrong label by a uniform one that is neither it nor what the network predicts.

    The labels are [n] int64. The prediction is mostly the real class, which would be learned faster
    than noise is.
    """
    low, high = torch.minimum(data.y, predicted), torch.maximum(data.y, predicted)
    new = (lane.uniform((len(data.y),), "new") * (lane.num_classes - 2)).long()
    new = new + (new >= low)
    return torch.where(data.wrong, new + (new >= high), data.y)


def fits(params: Params, data: ProbeData, labels: Tensor, read: Tensor, lane: ProbeLane) -> Tensor:
    """Train on, and read after 0, 1, ... epochs how much is predicted as labelled.

    Args:
        params: the weights to begin with.
        data: the run's.
        labels: [n] int64, what is trained on.
        read: [n] bool, the rows that are read.
        lane: the run.

    Returns:
        [EPOCHS + 1], shares of the rows that are read.
    """
    rows = data.trained.nonzero()[:, 0]
    batch, recipe = lane.recipe.batch, lane.recipe
    slots = {name: torch.zeros_like(w) for name, w in params.items()}
    soft = one_hot(labels, lane.num_classes)

    def loss(weights: Params, rows: Tensor) -> Tensor:
        return cross_entropy(lane.forward(data.x[rows], weights), soft[rows]).mean()

    def share(weights: Params) -> Tensor:
        predicted = lane.forward(data.x[read], weights).argmax(dim=1)
        return (predicted == labels[read]).double().mean()

    gradient = grad(loss)
    curve = [share(params)]
    for epoch in range(EPOCHS):
        order = rows[lane.permutation(len(rows), f"epoch {epoch}")]
        for index in order[: len(order) // batch * batch].split(batch):
            slopes = gradient(params, index)
            slots = {name: recipe.momentum * v + slopes[name] for name, v in slots.items()}
            params = {name: w - recipe.lr * slots[name] for name, w in params.items()}
        curve.append(share(params))
    return torch.stack(curve)


def measure(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    with torch.no_grad():
        wrong = data.wrong & data.trained
        predicted = lane.forward(data.x).argmax(dim=1)
        new = other_labels(data, predicted, lane)
        # the same examples for all three curves, which start at nothing
        held = wrong & (predicted != data.y)
        return {
            "held": held.sum() / wrong.sum(),
            "relearned": fits(params, data, data.y, held, lane),
            "new": fits(params, data, new, held, lane),
            "scratch": fits(lane.initial, data, data.y, held, lane),
        }


@hookimpl
def register() -> list[Probe]:
    return [Probe("hidden-memory", measure, at="end")]

"""Forgetting events: how often an example that was predicted as labelled no longer is.

Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", ICLR
2019, arXiv:1812.05159: counted at the presentations in mini-batches, with the regularizer acting,
labels as given. For the examples with a wrong label (`wrong-...`) and those that the signal left
alone (`clean-...`): `events`, the mean number a run; `unforgettable`, the share that was learned
and never forgotten; `unlearned`, the share that never was right; `histogram`, the share with 0, 1,
..., 19 and at least 20 events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from membench import Probe
from membench import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from membench.api import Lane
    from membench.api import Params
    from membench.probes import Metrics
    from membench.probes import ProbeData
    from membench.probes import ProbeLane

MOST = 20  # events told apart


def init(params: Params, lane: Lane) -> dict[str, Tensor]:
    like = next(iter(params.values()))
    return {name: like.new_zeros(lane.num_examples) for name in ("right", "times", "events")}


def update(params: Params, lane: Lane) -> dict[str, Tensor]:
    state, index = lane.state, lane.index
    right = (lane.logits.argmax(dim=1) == lane.y.argmax(dim=1)).to(state["right"].dtype)
    forgotten = state["right"][index] * (1 - right)
    return {
        "right": state["right"].index_copy(0, index, right),
        "times": state["times"].index_copy(0, index, state["times"][index] + right),
        "events": state["events"].index_copy(0, index, state["events"][index] + forgotten),
    }


def group_metrics(state: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Return what is told of one group, rows [n] bool."""
    events, times = state["events"][rows], state["times"][rows]
    shares = torch.bincount(events.long().clamp(max=MOST), minlength=MOST + 1) / max(len(events), 1)
    return {
        "events": events.mean(),
        "rate": events.sum() / times.sum(),
        "unforgettable": ((events == 0) & (times > 0)).double().mean(),
        "unlearned": (times == 0).double().mean(),
        "histogram": shares,
    }


def measure(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    groups = {"wrong": data.wrong & data.trained, "clean": data.clean & data.trained}
    return {
        f"{g}-{name}": value
        for g, rows in groups.items()
        for name, value in group_metrics(lane.state, rows).items()
    }


@hookimpl
def register() -> list[Probe]:
    return [Probe("forgetting", measure, at="end", init=init, update=update)]

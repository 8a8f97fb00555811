"""Margins: log p / (1 - p) of the given label, for every wrongly labelled example, at the end.

The statistic of Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022,
arXiv:2112.03570, sec. IV-A, on canaries: mislabelled examples, whose membership is what there is to
leak (Aerni, Zhang and Tramer, "Evaluations of Machine Learning Privacy Defenses are Misleading",
CCS 2024, arXiv:2404.17399). `canary` is the examples' rows, `margin` their margins in nats, two
decimals, whether or not the run trained on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from membench import Probe
from membench import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from membench.api import Params
    from membench.probes import Metrics
    from membench.probes import ProbeData
    from membench.probes import ProbeLane

LIMIT = 99.99  # nats; what is surer than this is not told apart


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Compute z_y - log sum of exp over the other classes, [n], of logits [n, c] and labels [n]."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(dim=1)


def measure(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    rows = data.wrong.nonzero()[:, 0]
    with torch.no_grad():
        found = margin(lane.forward(data.x[rows]).double(), data.y[rows])
    return {"canary": rows, "margin": found.clamp(-LIMIT, LIMIT).round(decimals=2)}


@hookimpl
def register() -> list[Probe]:
    return [Probe("margins", measure, at="end")]

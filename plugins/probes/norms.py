"""Norms of the trained weights: capacity measures that look at the network and not at the data.

Biases are left out; products over layers are given as logarithms. `parameters`: how many weights
and biases. `frobenius`: sum over layers of log ||W||_F. `spectral`: sum of log ||W||_2 (Bartlett,
Foster and Telgarsky, NeurIPS 2017, arXiv:1706.08498). `path`: log of the sum over paths of the
product of squared weights (Neyshabur, Salakhutdinov and Srebro, NeurIPS 2015, arXiv:1506.02617).
`distance`: ||theta - theta_0||_2 (Nagarajan and Kolter, 2019, arXiv:1901.01672). The path norm
treats each matrix as a layer of a chain; it is left out of networks that are none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from membench import Probe
from membench import hookimpl
from membench.nn import global_norm

if TYPE_CHECKING:
    from torch import Tensor

    from membench.api import Params
    from membench.probes import Metrics
    from membench.probes import ProbeData
    from membench.probes import ProbeLane


def path(matrices: list[Tensor]) -> Tensor | None:
    """Compute log of the sum over paths; None if layers' outputs are not the next ones' inputs."""
    if any(after.shape[1] != before.shape[0] for before, after in pairwise(matrices)):
        return None
    total = torch.ones(matrices[0].shape[1], dtype=torch.float64)
    for w in matrices:
        total = w.square() @ total
    return total.sum().log()


def measure(params: Params, data: ProbeData, lane: ProbeLane) -> Metrics:
    matrices = [w.detach().cpu().double().flatten(1) for w in params.values() if w.dim() > 1]
    moved = {name: (w - lane.initial[name]).double() for name, w in params.items()}
    found = {
        "parameters": sum(w.numel() for w in params.values()),
        "frobenius": sum(w.norm().log() for w in matrices),
        "spectral": sum(torch.linalg.matrix_norm(w, 2).log() for w in matrices),
        "distance": global_norm(moved),
    }
    along = path(matrices)
    return found if along is None else {**found, "path": along}


@hookimpl
def register() -> list[Probe]:
    return [Probe("norms", measure, at="end")]

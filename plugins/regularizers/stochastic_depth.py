"""Stochastic depth: a branch is left out of a step with probability s, others get 1 / (1 - s).

Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016,
arXiv:1603.09382: a branch is dropped for the whole mini-batch. All branches have one rate, the
paper's uniform variant (its default grows linearly with depth), and are scaled in training in place
of evaluation. Skips networks without a residual branch. Strength: the rate, 0 to below 1.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Net


def skip(net: Net) -> str | None:
    has_branch = any(kind == "branch" for kind, _ in net.taps)
    return None if has_branch else "the network has no residual branch"


def hidden(h: Tensor, lane: Lane) -> Tensor:
    if lane.kind != "branch":
        return h
    keep = lane.uniform(()) >= lane.strength
    return h * keep / (1 - lane.strength)


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.1, 0.2, 0.35, 0.5, 0.8)
    return [Regularizer("stochastic-depth", strengths, group="model", skip=skip, hidden=hidden)]

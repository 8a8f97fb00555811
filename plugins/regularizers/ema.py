"""Weight averaging: evaluates a moving average of the weights, a <- s a + (1 - s) w each step.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim.
30(4), 1992; in the exponential form, Tarvainen and Valpola, "Mean teachers are better role models",
NeurIPS 2017, arXiv:1703.01780. Training itself is untouched. Strength: the decay s, 0 to below 1;
the average starts at the initial weights.
"""

from typing import Any

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def init(params: Params, lane: Lane) -> dict[str, Any]:
    return {"average": params}


def update(params: Params, lane: Lane) -> dict[str, Any]:
    old, s = lane.state["average"], lane.strength
    return {"average": {name: s * old[name] + (1 - s) * w for name, w in params.items()}}


def readout(params: Params, lane: Lane) -> Params:
    return lane.state["average"]


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.98, 0.995, 0.998, 0.999, 0.9997)
    return [
        Regularizer("ema", strengths, group="trajectory", init=init, update=update, readout=readout)
    ]

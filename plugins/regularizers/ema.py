"""Weight averaging: evaluates an exponential moving average of the weights, a <- s a + (1 - s) w after each step.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30(4), 1992; in the
exponential form, Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780. Training
itself is untouched. Strength: the decay s, 0 to below 1; the average starts at the initial weights.
"""

from membench import Regularizer
from membench import hookimpl


def init(params, lane):
    return {"average": params}


def update(params, lane):
    old, s = lane.state["average"], lane.strength
    return {"average": {name: s * old[name] + (1 - s) * w for name, w in params.items()}}


def readout(params, lane):
    return lane.state["average"]


@hookimpl
def register():
    strengths = (0.98, 0.995, 0.998, 0.999, 0.9997)
    return [Regularizer("ema", strengths, group="trajectory", init=init, update=update, readout=readout)]

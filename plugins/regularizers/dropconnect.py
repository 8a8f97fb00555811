"""DropConnect: in each step, each entry of the weight matrices is zeroed with probability s, others get 1 / (1 - s).

Wan, Zeiler, Zhang, LeCun and Fergus, "Regularization of Neural Networks using DropConnect", ICML 2013. One mask a step:
the paper draws one for each example, masks biases too, leaves the output layer alone, and samples at evaluation where
this uses the mean weights. Strength: the rate, 0 to below 1.
"""

from membench import Regularizer
from membench import hookimpl
from membench.nn import settle


def mask(w, lane):
    """[*w.shape]: 0 or 1 / (1 - s). Settled: left to fuse it with the backward pass, torch 2.14's compiler fails."""
    return settle((lane.uniform(w.shape) >= lane.strength) / (1 - lane.strength))


def perturb(params, lane):
    return {name: w * mask(w, lane) if w.dim() > 1 else w for name, w in params.items()}


@hookimpl
def register():
    return [Regularizer("dropconnect", strengths=(0.05, 0.1, 0.2, 0.3, 0.5), group="model", perturb=perturb)]

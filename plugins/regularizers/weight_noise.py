"""Weight noise: each step takes its gradient at the weights plus s times Gaussian noise.

A. Graves, "Practical Variational Inference for Neural Networks", NeurIPS 2011 (fixed-variance
Gaussian posterior); A. F. Murray and P. J. Edwards, IEEE Trans. Neural Networks 5(5), 1994. Forward
and backward pass see the noise, which is standard Gaussian times s. Strength: the standard
deviation, in units of the weights; the update itself is applied to the clean weights.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def perturb(params: Params, lane: Lane) -> Params:
    return {name: w + lane.strength * lane.normal(w.shape) for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "weight-noise", strengths=(0.01, 0.03, 0.06, 0.1, 0.2), group="weights", perturb=perturb
        )
    ]

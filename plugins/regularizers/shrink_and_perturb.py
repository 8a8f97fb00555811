"""Shrink and perturb: after each tenth of the run, all weights become (1 - s) w + s r z.

Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020, arXiv:1910.08475: lambda w
+ noise, before training goes on with more data; here on the same data, lambda = 1 - s, and the
noise z, Gaussian, has s times the standard deviation r of the tensor's initial weights. Strength:
the share s that is replaced, 0 to 1; 1 starts over nine times, and ends with a tenth of the budget.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params

PARTS = 10


def weights(params: Params, lane: Lane) -> Params:
    done, part = lane.step + 1, max(1, lane.steps // PARTS)
    share = lane.strength * ((done % part == 0) & (done < PARTS * part))
    fresh = {name: w.std(correction=0) * lane.normal(w.shape) for name, w in lane.initial.items()}
    return {name: (1 - share) * w + share * fresh[name] for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.3, 0.6, 0.8, 0.9, 0.97)
    return [
        Regularizer("shrink-and-perturb", strengths, limit=1.0, group="trajectory", weights=weights)
    ]

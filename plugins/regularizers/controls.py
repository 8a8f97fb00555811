"""Controls: what a regularizer must beat, and what must not beat anything.

membench, README, "Controls". `low-lr` is `none` at s times the learning rate; `placebo` is `none` with other initial
weights, batch order and draws. Early stopping needs no run: it is read from the stored curve of `none`.
"""

from membench import Regularizer
from membench import hookimpl


def slower(params, lane):
    # before + s (w - before), written so that s = 1 gives w to the last bit
    return {name: w - (1 - lane.strength) * (w - lane.before[name]) for name, w in params.items()}


@hookimpl
def register():
    return [
        Regularizer(
            "low-lr",
            strengths=(1 / 3, 1 / 10, 1 / 30),
            off=1.0,
            group="control",
            weights=slower,
            summary="The unregularized network at a lower learning rate; strength is the factor on it.",
        ),
        Regularizer(
            "placebo",
            strengths=(1.0, 2.0, 3.0, 4.0, 5.0),
            group="control",
            redraw=True,
            summary="The unregularized network from other initial weights and in another order; must tie with none.",
        ),
    ]

"""Controls: what a regularizer must beat, and what must not beat anything.

membench, README, "Controls". `low-lr` is `none` at a lower learning rate; its strength is how many
of the plain run's steps all its own add up to. Each step is min(1, strength / steps) times as long
as it would be, so that one grid means the same for every budget, schedule and optimizer, and a
strength above the number of steps changes nothing. `placebo` is `none` with other initial weights,
batch order and draws. Early stopping needs no run: it is read from the stored curve of `none`.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def slower(params: Params, lane: Lane) -> Params:
    factor = (lane.strength / lane.steps).clamp_max(1.0)
    # before + factor (w - before), written so that a factor of 1 gives w to the last bit
    return {name: w - (1 - factor) * (w - lane.before[name]) for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "low-lr",
            strengths=(80.0, 40.0, 24.0, 16.0, 10.0),
            off=float("inf"),
            group="control",
            weights=slower,
            summary="The plain network at a lower learning rate; strength is in plain steps.",
        ),
        Regularizer(
            "placebo",
            strengths=(1.0, 2.0, 3.0, 4.0, 5.0),
            group="control",
            redraw=True,
            summary="The plain network with other weights and another order; must tie with none.",
        ),
    ]

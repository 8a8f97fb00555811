"""Controls: what a regularizer must beat, and what must not beat anything.

membench, README, "Controls". `low-lr` is `none` at a lower learning rate; its strength is how far
the rate goes over the run, rate x steps: the mean of the rate over the budget's steps, times their
number. Each step is taken at min(1, strength / that of the plain run) times its rate, so that one
grid means the same on every suite, and a strength above the plain run's changes nothing. `placebo`
is `none` with other initial weights, batch order and draws. Early stopping needs no run: it is read
from the stored curve of `none`.
"""

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def slower(params: Params, lane: Lane) -> Params:
    factor = (lane.strength / (lane.mean_lr * lane.steps)).clamp_max(1.0)
    # before + factor (w - before), written so that a factor of 1 gives w to the last bit
    return {name: w - (1 - factor) * (w - lane.before[name]) for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "low-lr",
            strengths=(4.0, 2.0, 1.2, 0.8, 0.5),
            off=float("inf"),
            group="control",
            weights=slower,
            summary="The plain network at a lower learning rate; strength is rate x steps.",
        ),
        Regularizer(
            "placebo",
            strengths=(1.0, 2.0, 3.0, 4.0, 5.0),
            group="control",
            redraw=True,
            summary="The plain network with other weights and another order; must tie with none.",
        ),
    ]

"""A user's study of seconds: narrow and wide networks on 50 digits.  Nobody, 2026."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from membench import Architecture
from membench import Arm
from membench import Finding
from membench import Probe
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.studies import Results
from membench.studies import paired
from membench.studies import select

WIDTHS = (8, 32)


def build(shape: tuple[int, int, int], num_classes: int, width: int) -> Any:
    """Torch is imported here: the report reads this file without it."""
    import math

    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(math.prod(shape), width), nn.Linear(width, num_classes)

        def forward(self, x: Any, tap: Any) -> Any:
            return self.two(tap(self.one(x.flatten(1)).relu()))

    return Net()


def measure(params: Mapping[str, Any], data: Any, lane: Any) -> Mapping[str, Any]:
    return {"norm": sum(p.square().sum() for p in params.values()).sqrt()}


def analyse(results: Results) -> Finding:
    wide, narrow = (
        select(results["main"], signal="randY", architecture=f"mlp-w{w}") for w in reversed(WIDTHS)
    )
    fits = [[r.train[-1] for r in records] for records in (wide, narrow)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for record in (wide[0], narrow[0]):
            axes.plot(record.epochs, record.train, label=record.architecture)
        axes.set(xlabel="epochs", ylabel="training accuracy")
        axes.legend()

    test = Test("fit, wide - narrow", *paired(*fits), method="paired t over 2 seeds")
    norms = [
        (r.architecture, f"{r.probes['weight-norm']['norm'][-1]:.3g}") for r in (wide[0], narrow[0])
    ]
    return Finding(
        (test,),
        (("network", "norm"), *norms),
        draw,
        "Fit of random labels by epoch.",
        ("Two seeds.",),
    )


ARM = Arm(
    name="main",
    dataset="digits",
    architectures=tuple(f"mlp-w{w}" for w in WIDTHS),
    signals=("real", "randY"),
    seeds=(0, 1),
    split=Split(test=797, train=50, validation=100),
    recipe=Recipe(lr=0.1, batch=10, epochs=3),
    probes=("weight-norm",),
    compiled=False,
)


@hookimpl
def register() -> list[Any]:
    own = (
        *(Architecture(f"mlp-w{w}", partial(build, width=w)) for w in WIDTHS),
        Probe("weight-norm", measure),
    )
    claim = "The wider network fits random labels better."
    return [Study("tiny", {"quick": (ARM,)}, analyse, claim, "Fig. 5", own, "50 digits, 3 epochs.")]

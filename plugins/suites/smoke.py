"""The whole pipeline in a minute: 30 digits of 8x8, 50 steps; shows that things run, proves little.

Data: UCI ML hand-written digits, 1998, as scikit-learn ships them.
"""

from membench import Recipe
from membench import Split
from membench import Suite
from membench import hookimpl

SMOKE = Suite(
    name="smoke",
    version=4,
    datasets=("digits",),
    architectures=("small-mlp",),
    signals=("real", "mixed@0.4", "randY"),
    choosing=(0,),
    confirming=(1, 2),
    splits={"digits": Split(test=400, train=30, validation=200)},
    # Of the SGD recipes tried, the one with the fewest steps that passes the gate safely. Half-way,
    # 36 development seeds fit .990 of the random labels in the mean, .933 at the worst.
    recipes={("digits", "small-mlp"): Recipe(lr=0.12, momentum=0.87, batch=30, epochs=50)},
    width=45,
    compiled=False,
)


@hookimpl
def register() -> list[Suite]:
    return [SMOKE]

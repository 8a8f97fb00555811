"""A suite that takes seconds: six steps on 60 digits, a seed of each phase.

Data: UCI ML hand-written digits, 1998, as scikit-learn ships them.
"""

from membench import Recipe
from membench import Split
from membench import Suite
from membench import hookimpl


@hookimpl
def register() -> list[Suite]:
    tiny = Suite(
        "tiny",
        datasets=("digits",),
        architectures=("mlp",),
        signals=("real", "mixed@0.4", "randY"),
        choosing=(0,),
        confirming=(1,),
        splits={"digits": Split(test=100, train=60, validation=100)},
        recipes={("digits", "mlp"): Recipe(lr=0.1, batch=30, epochs=3)},
        compiled=False,
    )
    return [tiny]

"""Real MNIST digits, 1000 training images, two architectures, ten confirming seeds.

After Arpit et al., 2017, "A Closer Look at Memorization in Deep Networks", arXiv:1706.05394, scaled
to two cores.
"""

from membench import Recipe
from membench import Split
from membench import Suite
from membench import hookimpl

QUICK = Suite(
    name="quick",
    version=2,
    datasets=("mnist5k",),
    architectures=("mlp", "cnn"),
    signals=("real", "mixed@0.4", "randY"),
    choosing=(0, 1, 2),
    confirming=(3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    splits={"mnist5k": Split(test=2000, train=1000, validation=1000)},
    recipes={
        ("mnist5k", "mlp"): Recipe(lr=0.05, batch=100, epochs=50),
        ("mnist5k", "cnn"): Recipe(lr=0.05, batch=100, epochs=40),
    },
)


@hookimpl
def register() -> list[Suite]:
    return [QUICK]

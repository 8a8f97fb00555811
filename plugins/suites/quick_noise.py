"""Does the order of `quick` hold under other label noise: 20 and 60 % random, 40 % pair flips?

Networks, images, budgets and seeds are those of `quick`, so that its runs on real and on all random
labels count here too. Pair flips: Han et al., 2018, "Co-teaching: Robust Training of Deep Neural
Networks with Extremely Noisy Labels", arXiv:1804.06872.
"""

from membench import Recipe
from membench import Split
from membench import Suite
from membench import hookimpl

QUICK_NOISE = Suite(
    name="quick-noise",
    version=1,
    datasets=("mnist5k",),
    architectures=("mlp", "cnn"),
    signals=("real", "mixed@0.2", "mixed@0.6", "randY", "pair-flip@0.4"),
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
    return [QUICK_NOISE]

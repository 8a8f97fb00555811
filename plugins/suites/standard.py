"""Full sets for a GPU: three levels of label noise, pair flips, Gaussian inputs; uncalibrated.

After Arpit et al., 2017, "A Closer Look at Memorization in Deep Networks", arXiv:1706.05394.
"""

from membench import Split
from membench import Suite
from membench import hookimpl

STANDARD = Suite(
    name="standard",
    version=2,
    datasets=("fashion-mnist", "cifar10"),
    architectures=("mlp", "cnn"),
    signals=("real", "mixed@0.2", "mixed@0.4", "mixed@0.6", "randY", "pair-flip@0.4", "randX"),
    choosing=(0, 1, 2),
    confirming=(3, 4, 5, 6, 7),
    splits={
        "fashion-mnist": Split(test=10000, train=50000, validation=10000),
        "cifar10": Split(test=10000, train=45000, validation=5000),
    },
    width=35,
    # Measured with a plain loop on one development seed, Fashion-MNIST, SGD with momentum .9: the
    # mlp has learned .75 of 50 000 random labels after 260 epochs (rate .1, batches of 500), so
    # that it is to be calibrated too, or made wider.
    uncalibrated={
        "cifar10": "no recipe has been calibrated for it: its networks may fail the validity gate",
        "cnn": "its 80 000 weights learn .35 of 50 000 random labels in 75 epochs and then no "
        "more: it fails the validity gate, which asks for .99",
    },
)


@hookimpl
def register() -> list[Suite]:
    return [STANDARD]

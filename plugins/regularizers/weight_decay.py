"""Weight decay: adds (s / 2) times the squared norm of all weight matrices to the loss; biases are left alone.

A. Krogh and J. A. Hertz, "A Simple Weight Decay Can Improve Generalization", NeurIPS 1991; swept by Arpit et al., ICML
2017, arXiv:1706.05394, section 5. Strength: the coefficient, per unit of squared weight, as `weight_decay` in torch.optim.
"""

from membench import Regularizer
from membench import hookimpl


def penalty(params, lane):
    return 0.5 * lane.strength * sum(w.square().sum() for w in params.values() if w.dim() > 1)


@hookimpl
def register():
    return [Regularizer("weight-decay", strengths=(0.003, 0.01, 0.03, 0.06, 0.2), group="weights", penalty=penalty)]

"""Fisher penalty: adds s times the squared norm of the gradient at labels drawn from the model.

Jastrzebski et al., "Catastrophic Fisher Explosion: Early Phase Fisher Matrix Impacts
Generalization", ICML 2021, arXiv:2012.14193: L + alpha |mean_i d CE(x_i, y_i) / dw|^2 with y_i
drawn from p(y | x_i), which stands for the trace of the Fisher information. They draw every tenth
step, here every step does. No gradient flows through the draw. Strength: alpha, 0 to infinity, in
units of the squared weights per nat.
"""

from torch import Tensor
from torch.func import grad

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params
from membench.nn import cross_entropy
from membench.nn import one_hot


def penalty(params: Params, lane: Lane) -> Tensor:
    # the class with the largest sum of logit and Gumbel noise is a draw from p
    gumbel = -(-lane.uniform((lane.x.shape[0], lane.num_classes)).log()).log()

    def loss(weights: Params) -> Tensor:
        logits = lane.forward(lane.x, weights, train=True)
        drawn = one_hot((logits.detach() + gumbel).argmax(1), lane.num_classes)
        return cross_entropy(logits, drawn).mean()

    return lane.strength * sum(g.square().sum() for g in grad(loss)(params).values())


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.03, 0.1, 0.25, 0.5, 1.0)
    return [Regularizer("fisher-penalty", strengths, group="gradient", penalty=penalty)]

"""Orthogonality penalty: adds s times |W W^T - I|^2, over all weight matrices, to the loss.

Bansal, Chen and Wang, "Can We Gain More from Orthogonality Regularizations in Training Deep CNNs?",
NeurIPS 2018, arXiv:1810.09102 ("soft orthogonality"), in the Frobenius norm. Kernels count as
matrices of their output channels' rows; of a matrix with more rows than columns it is the columns,
which differs by a constant. Strength: the coefficient s, 0 to infinity, in nats; with steps of 0.05
training diverges near 1 before accuracy breaks.
"""

import torch
from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def excess(w: Tensor) -> Tensor:
    """Compute |W W^T - I|^2 for w [o, i], or |W^T W - I|^2 if that is the smaller matrix."""
    w = w.T if w.shape[0] > w.shape[1] else w
    still = w.detach()
    gap = still @ still.T - torch.eye(w.shape[0], device=w.device, dtype=w.dtype)
    # the gradient, 4 gap W, is written out: autograd would take a matmul more for it
    return gap.square().sum() + 4 * ((gap @ still) * (w - still)).sum()


def penalty(params: Params, lane: Lane) -> Tensor:
    return lane.strength * sum(excess(w.flatten(1)) for w in params.values() if w.dim() > 1)


@hookimpl
def register() -> list[Regularizer]:
    strengths = (0.02, 0.1, 0.3, 0.8, 1.6)
    return [Regularizer("orthogonality-penalty", strengths, group="weights", penalty=penalty)]

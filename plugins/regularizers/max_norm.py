"""Max-norm: after each step every unit's incoming weights are scaled to a norm of at most s.

Srebro and Shraibman, "Rank, Trace-Norm and Max-Norm", COLT 2005; used with dropout by Srivastava et
al., JMLR 15, 2014. Strength: the bound on a row's norm, in units of the weights; torch's default
initialisation starts rows at 0.58.
"""

from torch import Tensor

from membench import Regularizer
from membench import hookimpl
from membench.api import Lane
from membench.api import Params


def project(w: Tensor, bound: Tensor) -> Tensor:
    """Scale the rows of a weight matrix, or the kernels of a convolution, down to the bound."""
    norm = w.flatten(1).norm(dim=1).clamp_min(1e-12)
    return w * (bound / norm).clamp_max(1.0).view(-1, *[1] * (w.dim() - 1))


def weights(params: Params, lane: Lane) -> Params:
    return {name: project(w, lane.strength) if w.dim() > 1 else w for name, w in params.items()}


@hookimpl
def register() -> list[Regularizer]:
    return [
        Regularizer(
            "max-norm",
            strengths=(1.0, 0.7, 0.5, 0.3, 0.1),
            off=float("inf"),
            group="weights",
            weights=weights,
        )
    ]

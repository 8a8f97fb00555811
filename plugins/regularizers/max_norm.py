"""Max-norm: after each step the incoming weights of every unit are scaled back to a Euclidean norm of at most s.

Srebro and Shraibman, "Rank, Trace-Norm and Max-Norm", COLT 2005; used with dropout by Srivastava et al., JMLR 15, 2014.
Strength: the bound on a row's norm, in units of the weights; torch's default initialisation starts rows at 0.58.
"""

from membench import Regularizer
from membench import hookimpl


def project(w, bound):
    norm = w.flatten(1).norm(dim=1).clamp_min(1e-12)
    return w * (bound / norm).clamp_max(1.0).view(-1, *[1] * (w.dim() - 1))


def weights(params, lane):
    return {name: project(w, lane.strength) if w.dim() > 1 else w for name, w in params.items()}


@hookimpl
def register():
    return [
        Regularizer("max-norm", strengths=(1.0, 0.7, 0.5, 0.3, 0.1), off=float("inf"), group="weights", weights=weights)
    ]

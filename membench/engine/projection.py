"""The least time that planned cells take on an H100: counted FLOPs and bytes over the card's rates; nothing measured.

A step of L lanes takes at least max(L F / R, L B / BW, k t). F: matrix FLOPs of a lane's, counted on the meta device.
B: 32 bytes a parameter (fp32 weights read twice, a gradient written, momentum SGD; perfectly fused), times F over the
plain step's. k: kernels inside a CUDA graph, one an operation, t each. All lanes of a program are taken to fit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from membench.arms import ArmPlan
from membench.engine.costs import counted
from membench.engine.network import skeleton
from membench.engine.train import Source
from membench.engine.train import shared_program

#: FLOP/s in full fp32 without tensor cores (the maker's figure), bytes/s read and written (copies of large arrays).
RATE, BANDWIDTH = 67e12, 3.0e12
LAUNCH = 2.5e-6  #: seconds that a kernel inside a CUDA graph takes at least
BYTES = 32  #: a parameter and step: reads forward and backward, gradient, parameter and momentum


@dataclass(frozen=True)
class Projection:
    """Of some cells together."""

    cells: int = 0
    steps: int = 0  #: lane-steps
    flops: float = 0.0
    seconds: float = 0.0  #: at least, on one card

    def __add__(self, other: Projection) -> Projection:
        return Projection(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def project(plan: ArmPlan, source: Source, shape: tuple[int, int, int], num_classes: int) -> Projection:
    """One arm, evaluation and probes left out.

    Args:
        plan: the arm and its cells.
        source: gives the architectures and regularizers, as its study sees them.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
    """
    arm, whole = plan.arm, Projection()
    steps = arm.recipe.steps(arm.split.trained)
    for (network, regularizer), lanes in Counter((c.architecture, c.regularizer) for c in plan.cells).items():
        architecture, sizes = source.architecture(network), (steps, num_classes, arm.split.train, 1.0)
        program, plain = (
            shared_program(architecture, shape, parts, arm.recipe, *sizes)
            for parts in (source.regularizer(regularizer), ())
        )
        step, least = counted(program, shape), counted(plain, shape).flops
        parameters = sum(p.numel() for p in skeleton(architecture, shape, num_classes).parameters())
        lane = max(step.flops / RATE, BYTES * parameters * step.flops / least / BANDWIDTH)
        seconds = steps * max(lanes * lane, step.kernels * LAUNCH)
        whole += Projection(lanes, lanes * steps, float(lanes * steps * step.flops), seconds)
    return whole

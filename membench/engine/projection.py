"""The least time that planned cells take on an H100: counted FLOPs and bytes over the card's rates; nothing measured.

A step of L lanes takes at least max(L F / R, L B / BW, k t). F: matrix FLOPs of a lane's, counted on the meta device.
B: 32 bytes a parameter (fp32 weights read twice, a gradient written, momentum SGD; perfectly fused), times F over the
plain step's. k: kernels inside a CUDA graph, one an operation, t each. All lanes of a program are taken to fit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from membench.engine.costs import count_step
from membench.engine.network import meta_module
from membench.engine.train import PluginLookup
from membench.engine.train import shared_program
from membench.planning.study_plan import ArmPlan

#: FLOP/s in full fp32 without tensor cores (the maker's figure), bytes/s read and written (copies of large arrays).
FLOPS_PER_SECOND, BYTES_PER_SECOND = 67e12, 3.0e12
LAUNCH_SECONDS = 2.5e-6  #: seconds that a kernel inside a CUDA graph takes at least
BYTES_PER_PARAMETER = (
    32  #: a parameter and step: reads forward and backward, gradient, parameter and momentum
)


@dataclass(frozen=True)
class Projection:
    """Of some cells together."""

    cells: int = 0
    steps: int = 0  #: lane-steps
    flops: float = 0.0
    seconds: float = 0.0  #: at least, on one card

    def __add__(self, other: Projection) -> Projection:
        return Projection(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def project(
    plan: ArmPlan, source: PluginLookup, shape: tuple[int, int, int], num_classes: int
) -> Projection:
    """One arm, evaluation and probes left out.

    Args:
        plan: the arm and its cells.
        source: gives the architectures and regularizers, as its study sees them.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
    """
    arm, whole = plan.arm, Projection()
    steps = arm.recipe.steps(arm.split.trained)
    for (network, regularizer), lanes in Counter(
        (c.architecture, c.regularizer) for c in plan.cells
    ).items():
        architecture, sizes = (
            source.architecture(network),
            (steps, num_classes, arm.split.train, 1.0),
        )
        program, plain = (
            shared_program(architecture, shape, parts, arm.recipe, *sizes)
            for parts in (source.regularizer(regularizer), ())
        )
        step, least = count_step(program, shape), count_step(plain, shape).flops
        parameters = sum(
            p.numel() for p in meta_module(architecture, shape, num_classes).parameters()
        )
        lane = max(
            step.flops / FLOPS_PER_SECOND,
            BYTES_PER_PARAMETER * parameters * step.flops / least / BYTES_PER_SECOND,
        )
        seconds = steps * max(lanes * lane, step.kernels * LAUNCH_SECONDS)
        whole += Projection(lanes, lanes * steps, float(lanes * steps * step.flops), seconds)
    return whole

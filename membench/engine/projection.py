"""The least time that planned cells take on an H100: counted FLOPs and bytes over the card's rates.

Nothing is measured. A step of L lanes takes at least max(L F / R, L B / BW, k t). F: matrix FLOPs
of a lane's step, counted on the meta device. B: 32 bytes a parameter (fp32 weights read twice, a
gradient written, momentum SGD; perfectly fused), times F over the plain step's. k: kernels inside a
CUDA graph, one an operation, t each. All lanes of a program are taken to fit into memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from membench.api import Architecture
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine.costs import count_step
from membench.engine.network import Shape
from membench.engine.network import meta_module
from membench.engine.step import RunSizes
from membench.engine.train import PluginLookup
from membench.engine.train import shared_program
from membench.planning.study_plan import ArmPlan

FLOPS_PER_SECOND = 67e12  #: in full fp32 without tensor cores, the maker's figure
BYTES_PER_SECOND = 3.0e12  #: read and written, copies of large arrays
LAUNCH_SECONDS = 2.5e-6  #: that a kernel inside a CUDA graph takes at least
#: of a step: the parameter is read forward and backward; gradient, parameter and momentum
BYTES_PER_PARAMETER = 32


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The work of some cells together."""

    cells: int = 0
    steps: int = 0  #: lane-steps
    flops: float = 0.0
    seconds: float = 0.0  #: at least, on one card

    def __add__(self, other: Projection) -> Projection:
        return Projection(
            cells=self.cells + other.cells,
            steps=self.steps + other.steps,
            flops=self.flops + other.flops,
            seconds=self.seconds + other.seconds,
        )


def project(plan: ArmPlan, plugins: PluginLookup, shape: Shape, num_classes: int) -> Projection:
    """Project one arm of a study, without evaluation and probes.

    Args:
        plan: the arm and its cells.
        plugins: gives the architectures and regularizers, as its study sees them.
        shape: of an image, [c, h, w].
        num_classes: of the data set.
    """
    recipe, split = plan.arm.recipe, plan.arm.split
    sizes = RunSizes(
        steps=recipe.steps(split.trained),
        num_classes=num_classes,
        num_examples=split.train,
        pixel_scale=1.0,
    )
    total = Projection()
    programs = Counter((cell.architecture, cell.regularizer) for cell in plan.cells)
    for (architecture, regularizer), lanes in programs.items():
        total += _project_program(
            plugins.architecture(architecture),
            plugins.regularizer(regularizer),
            recipe,
            shape,
            sizes,
            lanes,
        )
    return total


def _project_program(
    architecture: Architecture,
    parts: tuple[Regularizer, ...],
    recipe: Recipe,
    shape: Shape,
    sizes: RunSizes,
    lanes: int,
) -> Projection:
    """Project all lanes of one program."""
    step = count_step(shared_program(architecture, shape, parts, recipe, sizes), shape)
    plain_step = count_step(shared_program(architecture, shape, (), recipe, sizes), shape)
    module = meta_module(architecture, shape, sizes.num_classes)
    parameters = sum(p.numel() for p in module.parameters())
    compute_seconds = step.flops / FLOPS_PER_SECOND
    step_bytes = BYTES_PER_PARAMETER * parameters * step.flops / plain_step.flops
    lane_seconds = max(compute_seconds, step_bytes / BYTES_PER_SECOND)
    step_seconds = max(lanes * lane_seconds, step.kernels * LAUNCH_SECONDS)
    return Projection(
        cells=lanes,
        steps=lanes * sizes.steps,
        flops=float(lanes * sizes.steps * step.flops),
        seconds=sizes.steps * step_seconds,
    )

"""The least time that planned cells take on an H100: counted FLOPs and bytes over the card's rates.

Nothing is measured. A step of L lanes takes at least max(L F / R, L B / BW, k t).

F: matrix FLOPs of a lane-step, counted on the meta device. R: in TF32 where the arm is compiled, as
`membench.engine.environment` sets it, and in full fp32 where it is not. B: what the matrix products
read and wrote, counted, which are weights, gradients and activations; and 20 bytes a parameter for
the update (gradient read, parameter and momentum read and written; fp32, perfectly fused). k:
kernels inside a CUDA graph, t each; where the arm is compiled, as many of an operation as the
compiler was seen to leave. All lanes of a program are taken to fit into memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from membench.api import Architecture
from membench.api import Optimizer
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine import card
from membench.engine.costs import count_step
from membench.engine.network import Shape
from membench.engine.network import meta_module
from membench.engine.step import RunSizes
from membench.engine.train import PluginLookup
from membench.engine.train import shared_program
from membench.planning.study_plan import ArmPlan

#: of an update: the gradient is read, parameter and momentum are read and written
UPDATE_BYTES = 20


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The work of some cells together."""

    cells: int = 0
    steps: int = 0  #: lane-steps
    flops: float = 0.0
    seconds: float = 0.0  #: at least, on one card
    precisions: frozenset[str] = frozenset()  #: of the matrix products: "TF32", "full fp32"

    def __add__(self, other: Projection) -> Projection:
        return Projection(
            cells=self.cells + other.cells,
            steps=self.steps + other.steps,
            flops=self.flops + other.flops,
            seconds=self.seconds + other.seconds,
            precisions=self.precisions | other.precisions,
        )


def project(plan: ArmPlan, plugins: PluginLookup, shape: Shape, num_classes: int) -> Projection:
    """Project one arm of a study, without evaluation and probes.

    Args:
        plan: the arm and its cells.
        plugins: gives architectures, regularizers and the optimizer, as its study sees them.
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
    optimizer = plugins.optimizer(recipe.optimizer)
    total = Projection()
    programs = Counter((cell.architecture, cell.regularizer) for cell in plan.cells)
    for (architecture, regularizer), lanes in programs.items():
        total += _project_program(
            plugins.architecture(architecture),
            plugins.regularizer(regularizer),
            recipe,
            optimizer,
            shape,
            sizes,
            lanes,
            plan.arm.compiled,
        )
    return total


def _project_program(
    architecture: Architecture,
    parts: tuple[Regularizer, ...],
    recipe: Recipe,
    optimizer: Optimizer,
    shape: Shape,
    sizes: RunSizes,
    lanes: int,
    compiled: bool,
) -> Projection:
    """Project all lanes of one program."""
    program = shared_program(architecture, shape, parts, recipe, optimizer, sizes)
    step = count_step(program, shape)
    module = meta_module(architecture, shape, sizes.num_classes)
    parameters = sum(p.numel() for p in module.parameters())
    compute_seconds = step.flops / (card.TF32_FLOPS if compiled else card.FP32_FLOPS)
    step_bytes = step.product_bytes + UPDATE_BYTES * parameters
    lane_seconds = max(compute_seconds, step_bytes / card.BYTES_PER_SECOND)
    kernels = step.kernels * (card.FUSED_KERNELS if compiled else 1.0)
    step_seconds = max(lanes * lane_seconds, kernels * card.LAUNCH_SECONDS)
    return Projection(
        cells=lanes,
        steps=lanes * sizes.steps,
        flops=float(lanes * sizes.steps * step.flops),
        seconds=sizes.steps * step_seconds,
        precisions=frozenset({"TF32" if compiled else "full fp32"}),
    )

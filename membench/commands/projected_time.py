"""How long the training of a study would take on a GPU, in words."""

from __future__ import annotations

from collections.abc import Iterable

from membench.planning.inputs import DatasetLoader
from membench.planning.study_plan import ArmPlan


def projected_time(plans: Iterable[ArmPlan], datasets: DatasetLoader) -> str:
    """Project how long training takes on a GPU: `; training takes at least 3.1 h on an H100 (...)`.

    Args:
        plans: of one study.
        datasets: with the plugins as the study's cells see them; a data set that is absent may
            still state the size of its images.

    Returns:
        The sentence; "" where the size of an image is not known.
    """
    from membench.engine.projection import Projection
    from membench.engine.projection import project

    total = Projection()
    for plan in plans:
        size = datasets.image_size(plan.arm.dataset)
        if size is None:
            return ""
        shape, num_classes = size
        total += project(plan, datasets.registry, shape, num_classes)
    time = format_seconds(total.seconds)
    flops = f"{total.flops:.2g} FLOP"
    if total.precisions:
        flops += f" in {' and '.join(sorted(total.precisions))}"
    return f"; training takes at least {time} on an H100 (projection: {flops})"


def format_seconds(seconds: float) -> str:
    """Format a duration to two digits in hours, minutes or seconds, whichever is 1.5 at least."""
    if seconds >= 5400:
        return f"{seconds / 3600:.2g} h"
    if seconds >= 90:
        return f"{seconds / 60:.2g} min"
    return f"{seconds:.2g} s"

"""What `membench reproduce --scale paper --collect-only` says of a study's time: a projection for one H100."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from membench.arms import ArmPlan
from membench.commands.setting import Data
from membench.registry import Registry


def least(plans: Sequence[ArmPlan], within: Registry, folder: Path | None) -> str:
    """`; training takes at least 3.1 h on an H100 (...)`; "" where the size of an image is not known.

    Args:
        plans: of one study.
        within: the registry as its cells see it.
        folder: where data sets lie; one that is not at hand may say the size of its images.
    """
    from membench.engine.projection import Projection
    from membench.engine.projection import project

    data, whole = Data(within, folder, needed=False), Projection()
    for plan in plans:
        size = _size(plan.arm.dataset, within, data)
        if size is None:
            return ""
        whole += project(plan, within, *size)
    time = _time(whole.seconds)
    return f"; training takes at least {time} on an H100 (projection: {whole.flops:.2g} FLOP in full fp32)"


def _size(name: str, within: Registry, data: Data) -> tuple[tuple[int, int, int], int] | None:
    """Of an image, and the number of classes: what the data set says, else what its arrays are."""
    known = within.dataset(name)
    if known.shape and known.num_classes:
        return known.shape, known.num_classes
    if not data.at_hand(name):
        return None
    arrays = data.arrays(name)
    return tuple(arrays.x.shape[1:]), arrays.num_classes


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"

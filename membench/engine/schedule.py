"""The epochs after which the lanes are read."""

from __future__ import annotations


def control_epochs(budget: int) -> tuple[int, ...]:
    """Return the epochs at which `none` is read as a control.

    They are every epoch to 10, then ever fewer, and the budget itself.
    """
    grid = (*range(1, 11), 12, 15, 20, 25, 30, 40, 60, 80)
    return (*(epoch for epoch in grid if epoch < budget), budget)


def checkpoints(budget: int) -> tuple[int, ...]:
    """Return the epochs at which every other cell is read.

    There are six, among them the half, 0.8 of and the whole budget.
    """
    grid = {1, 4, budget // 5, (budget + 1) // 2, round(0.8 * budget), budget}
    return tuple(sorted(epoch for epoch in grid if 1 <= epoch <= budget))

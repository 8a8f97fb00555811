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


def epochs_to_read(
    budget: int, *, plain: bool, cost: float, read: tuple[int, ...] = ()
) -> tuple[set[int], set[int]]:
    """Return the epochs after which a cell is read, and those after which test is read too.

    Both contain the budget.

    Args:
        budget: the last epoch.
        plain: whether it is a run of `none`, which is a control at each epoch at which it is read.
        cost: arithmetic of a step over that of the plain step.
        read: the epochs that the plan asks for in place of the usual ones; () = the usual ones.
    """
    if read:
        return {*read, budget}, {budget}
    if plain:
        return set(control_epochs(budget)), set(control_epochs(budget))
    equal_compute = max(1, round(budget / cost))
    return {*checkpoints(budget), equal_compute}, {equal_compute, budget}

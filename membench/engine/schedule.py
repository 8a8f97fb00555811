"""The named, versioned sets of tasks, signals, seeds and budgets. Results compare within one version only."""

from __future__ import annotations


def control_epochs(budget: int) -> tuple[int, ...]:
    """Where `none` is read as a control: every epoch to 10, then ever fewer, and the budget itself."""
    grid = (*range(1, 11), 12, 15, 20, 25, 30, 40, 60, 80)
    return (*(e for e in grid if e < budget), budget)


def checkpoints(budget: int) -> tuple[int, ...]:
    """Where every other cell is read: six times, the half, 0.8 of and the whole budget included."""
    grid = {1, 4, budget // 5, (budget + 1) // 2, round(0.8 * budget), budget}
    return tuple(sorted(e for e in grid if 1 <= e <= budget))

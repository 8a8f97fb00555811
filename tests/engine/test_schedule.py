"""The epochs at which a run is read."""

from __future__ import annotations

from membench.engine.schedule import checkpoints
from membench.engine.schedule import control_epochs


def test_checkpoints_hold_the_half_eight_tenths_and_the_whole_of_any_budget() -> None:
    for budget in range(1, 200):
        epochs = checkpoints(budget)
        assert {(budget + 1) // 2, round(0.8 * budget) or budget, budget} <= set(epochs)
        assert len(epochs) <= 10
        assert list(epochs) == sorted(set(epochs))


def test_the_control_is_read_at_every_epoch_up_to_ten_and_then_less_often() -> None:
    assert control_epochs(50) == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50)
    assert control_epochs(5) == (1, 2, 3, 4, 5)

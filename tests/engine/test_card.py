"""Whether a compilation pays on a GPU: arithmetic by hand."""

from __future__ import annotations

import pytest

from membench.engine.card import compiling_pays
from membench.engine.card import step_seconds

MLP = 137, 13_000_000  #: operations of a plain step, and bytes that it writes a lane


def test_a_step_takes_its_launches_and_its_traffic() -> None:
    assert step_seconds(*MLP) == pytest.approx(137 * 2.5e-6 + 75 * 13e6 * 2.5 / 3e12)


@pytest.mark.parametrize(
    ("steps", "pays"), [(0, False), (500, False), (10_000, False), (20_000, True), (400_000, True)]
)
def test_compiling_pays_in_a_long_run(steps: int, pays: bool) -> None:
    assert compiling_pays(*MLP, steps) == pays

"""membench's promises at 100 000 planned cells; tests/benchmarks/README.md has the measurements."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import growth_world

LARGEST = max(growth_world.SIZES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a store with a record for each of some 100 000 planned cells."""
    folder = tmp_path_factory.mktemp("growth")
    growth_world.timed("build", LARGEST, folder)
    assert growth_world.planned_cells(folder) > 90_000
    return folder


@pytest.mark.slow
def test_a_hundred_thousand_stored_cells_are_planned_and_found_in_half_a_minute_and_a_gigabyte(
    store: Path,
) -> None:
    seconds, megabytes = growth_world.timed("plan", LARGEST, store)
    assert seconds < 30
    assert megabytes < 1000


@pytest.mark.slow
def test_the_report_of_a_hundred_thousand_cells_takes_less_than_a_minute(store: Path) -> None:
    seconds, _ = growth_world.timed("report", LARGEST, store)
    assert seconds < 60


def test_the_smallest_store_is_planned_and_reported(tmp_path: Path) -> None:
    for action in ("build", "plan", "merge", "report"):
        seconds, megabytes = growth_world.timed(action, min(growth_world.SIZES), tmp_path)
        assert seconds > 0 and megabytes > 0
    assert (tmp_path / "board" / "README.md").exists()

"""membench's promises at 100 000 planned cells; tests/benchmarks/README.md has the measurements."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import growth
import growth_page
import growth_world

LARGEST = max(growth_world.SIZES)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a store with a record for each of some 100 000 planned cells."""
    folder = tmp_path_factory.mktemp("growth")
    growth_world.timed("build", LARGEST, folder)
    assert growth_world.planned_cells(folder) >= 100_000
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "seconds", "megabytes"),
    [("merge", 15, 600), ("plan", 20, 600), ("report", 45, 750), ("status", 5, 600)],
)
def test_a_hundred_thousand_cells_take_less_than(
    store: Path, action: str, seconds: float, megabytes: float
) -> None:
    """The seconds are of a core. `merge` comes first: it leaves the files as a run does."""
    spent = growth_world.timed(action, LARGEST, store)
    assert spent[0] < seconds
    assert spent[1] < megabytes


@pytest.mark.slow
def test_the_smallest_store_is_planned_and_reported(tmp_path: Path) -> None:
    for action in ("build", "plan", "merge", "report", "status"):
        seconds, megabytes = growth_world.timed(action, min(growth_world.SIZES), tmp_path)
        assert seconds > 0 and megabytes > 0
    assert (tmp_path / "board" / "README.md").exists()


def test_the_page_shows_what_was_measured() -> None:
    results = json.loads((growth.HERE / "growth.json").read_text())
    assert growth_page.page(results) in (growth.HERE / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_stub_packs_are_trained_whole_and_in_shards_and_joined() -> None:
    measured = growth.packs(Namespace(entries=2, shards=2))["packs"]
    local, shards, merge = measured["local"], measured["shards"], measured["merge"]
    assert merge["cells"] == local["cells"] > 500
    assert sum(shard["cells"] for shard in shards) > local["cells"]  # the baseline twice
    assert 0 < local["driver_seconds"] < local["seconds"]

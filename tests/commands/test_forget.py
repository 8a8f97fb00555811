"""Records of failed or unwanted cells are dropped, what others count stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli import Cli
from support.phase_records import record_of
from support.plans import SUITE
from support.plans import plan_of

from membench.planning.plan import Plan
from membench.records import Record
from membench.records import digest
from membench.store.store import Store

VERSIONS = {"torch": "2", "device": "cpu"}


def made(plan: Plan, failing: Iterable[str] = ()) -> list[Record]:
    records = []
    for cell in plan.cells:
        status = "failed" if cell.id in failing else "ok"
        record = record_of(plan, cell, status)
        records.append(replace(record, env=digest(VERSIONS), versions=VERSIONS))
    return records


FAILED = "dots/mlp/mixup[0.2]/real/seed0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of the choosing cells of a small suite; one has failed."""
    plan = plan_of(SUITE)
    store = Store(tmp_path / "leaderboard" / "records")
    with store.writer() as writer:
        writer.append(made(plan, {FAILED}))
    store.join_manifest(plan.manifest, lambda there, mine: mine)
    store.merge()
    return store


def ids(store: Store) -> set[str]:
    return {record.id for record in store.read().records.values()}


def test_the_selected_cells_are_gone_with_their_entry_and_the_page_is_written(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    before = ids(store)
    code, out, err = cli("forget", "-k", "mixup")
    assert (code, err) == (0, "")
    gone = before - ids(store)
    assert {cell.split("/")[2].partition("[")[0] for cell in gone} == {"mixup"}
    assert out.startswith(f"forgot {len(gone)} cells and {len(gone)} records of them\n")
    manifest = store.manifests()["small"]
    assert not gone & manifest.cells.keys()
    assert [entry.name for entry in manifest.entries if "mixup" in entry.name] == ["dropout+mixup"]
    assert (tmp_path / "leaderboard" / "README.md").is_file()
    assert cli("report", "--check")[0] == 0


def test_only_what_failed_is_forgotten_where_that_is_asked(cli: Cli, store: Store) -> None:
    before = ids(store)
    assert cli("forget", "--failed", "--dry-run")[1].splitlines() == [
        FAILED,
        "1 cells would be forgotten",
    ]
    assert ids(store) == before
    assert cli("forget", "--failed", "-k", "cnn")[0] == 5
    assert cli("forget", "--failed")[0] == 0
    assert before - ids(store) == {FAILED}


def test_a_record_that_another_suite_counts_stays(cli: Cli, store: Store) -> None:
    manifest = replace(store.manifests()["small"], suite="other")
    store.join_manifest(manifest, lambda there, mine: mine)
    store.merge()
    before = ids(store)
    code, out, _ = cli("forget", "-k", "mixup", "--suite", "small")
    assert code == 0
    assert "and 0 records of them" in out
    assert ids(store) == before
    assert cli("forget", "-k", "mixup", "--suite", "other")[0] == 0
    assert not any("/mixup[" in cell for cell in ids(store))


def test_nothing_is_forgotten_while_a_run_writes_or_nothing_is_named(
    cli: Cli, store: Store
) -> None:
    before = ids(store)
    with store.writer() as writer:
        writer.append([])
        code, _, err = cli("forget", "-k", "mixup")
        assert (code, "a run is writing records" in err) == (4, True)
    assert cli("forget")[0] == 4
    assert cli("forget", "-k", "qqqq")[0] == 5
    assert ids(store) == before

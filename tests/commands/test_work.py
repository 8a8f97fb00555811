"""What a run finds to do: after a failure, after a kill, beside another machine's records."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from support.phase_records import record_of
from support.phase_records import records_of
from support.plans import SUITE
from support.plans import plan_of

from membench.commands import commit
from membench.commands import run_planner
from membench.commands.phases import SecondPhase
from membench.commands.run_planner import NotedFollowUp
from membench.commands.work import Work
from membench.commands.work import find_work
from membench.planning.plan import Plan
from membench.records import Record
from membench.records import digest
from membench.store.store import Contents
from membench.store.store import Store

SMALL = replace(SUITE, architectures=("mlp",))
HERE = {"dots/mlp": [{"torch": "here"}]}
CHOSEN = "dots/mlp/mixup[0.2]"  #: of the records that are made here


def made_here(records: Iterable[Record], *environments: dict[str, str]) -> Contents:
    """Return a store of records of this machine, or of others."""
    kept = {}
    for versions in environments or ({"torch": "here"},):
        for record in records:
            env = digest(versions)
            kept[record.key, env] = replace(record, env=env, versions=versions)
    return Contents(records=kept)


def finished(plan: Plan) -> tuple[Plan, list[Record]]:
    """Return a plan of mixup with its confirming cells, and the records of all of its cells."""
    records = records_of(plan, "none", "low-lr", "mixup")
    second = SecondPhase(plan, plan.pairs, records).plan()
    records += [record_of(second, cell) for cell in second.cells]
    return replace(plan, manifest=second.manifest), records


def failing(records: Iterable[Record], cell_ids: Collection[str]) -> list[Record]:
    """Return the records, those of some cells failed."""
    changed = []
    for record in records:
        changed.append(replace(record, status="failed") if record.id in cell_ids else record)
    return changed


def mixup_alone() -> Plan:
    return plan_of(SMALL, select=lambda cell: "/mixup[" in cell)


def to_train(work: Work) -> set[str]:
    """Return the cells that are trained before others follow from them."""
    done = set(work.records)
    if work.retry is not None:
        done = set(work.keys.values()) - work.retry
    packs = [*work.first.packs(done), *work.confirming.packs(done)]
    return {cell.id for pack in packs for cell in pack.cells}


def test_of_what_is_finished_nothing_is_trained() -> None:
    plan, records = finished(mixup_alone())
    work = find_work(plan, made_here(records), HERE)
    assert (to_train(work), work.tasks, work.expected.cells) == (set(), (), 0)


def test_a_run_that_was_killed_while_it_confirmed_goes_on_there() -> None:
    """Its manifest does not have the cells that were chosen after it was written."""
    plan = mixup_alone()
    _, records = finished(plan)
    *done, last = records
    work = find_work(plan, made_here(done), HERE)
    assert to_train(work) == {last.id}
    assert last.id.startswith(CHOSEN)
    assert last.id in work.second.manifest.cells


def test_lf_tries_a_failed_confirming_cell_of_a_finished_row_again() -> None:
    plan, records = finished(mixup_alone())
    cell = f"{CHOSEN}/randY/seed2"
    work = find_work(plan, made_here(failing(records, {cell})), HERE, failed={cell})
    assert to_train(work) == {cell}
    assert work.tasks == ("dots/mlp",)


def test_lf_chooses_again_after_a_failed_choosing_cell() -> None:
    plan, records = finished(mixup_alone())
    cell = f"{CHOSEN}/real/seed0"
    without_confirmed = [record for record in records if not record.id.startswith(CHOSEN)]
    choosing = [record for record in records if record.seed != 2]
    failed = failing([*without_confirmed, *choosing], {cell})
    work = find_work(plan, made_here(failed), HERE, failed={cell})
    assert to_train(work) == {cell}
    mended = next(record for record in records if record.id == cell)
    confirmed = {c.id.rpartition("/")[0] for pack in work.packs([mended]) for c in pack.cells}
    assert confirmed == {f"{CHOSEN}/{signal}" for signal in SMALL.signals}


def test_what_has_been_planned_is_in_the_store_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = mixup_alone(), Store(tmp_path)
    work = find_work(plan, Contents(records={}), HERE)
    follow_up = NotedFollowUp(work, store.write_manifest, plan.manifest)
    records = records_of(plan, "none", "low-lr", "mixup")
    assert follow_up.packs(records)  # too soon to write
    assert store.manifests() == {}
    monkeypatch.setattr(run_planner, "NOTE_PERIOD", 0)
    assert follow_up.packs(()) == []
    assert f"{CHOSEN}/randY/seed2" in store.manifests()["small"].cells


def test_what_another_machine_has_finished_is_trained_only_with_fresh() -> None:
    plan, records = finished(mixup_alone())
    there = made_here(records, {"torch": "there"})
    assert to_train(find_work(plan, there, HERE)) == set()
    again = find_work(plan, there, HERE, alone=True)
    assert to_train(again) == {cell.id for cell in plan.cells}


def test_the_commit_is_dirty_where_code_has_changed_and_not_where_records_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "membench" / "commands" / "run.py"
    records = tmp_path / "leaderboard" / "0.jsonl"
    for file in (module, records):
        file.parent.mkdir(parents=True)
        file.write_text("")
    monkeypatch.setattr(commit, "__file__", str(module))
    assert commit.commit_of_checkout() == ""  # no checkout
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    records.write_text("changed")
    clean = commit.commit_of_checkout()
    assert len(clean) == 12
    module.write_text("changed")
    assert commit.commit_of_checkout() == f"{clean}-dirty"

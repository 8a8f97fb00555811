"""The rows that a run tells while it goes on: each once, when its last run has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rich.console import Console
from support.phase_records import record_of
from support.phase_records import records_of
from support.plans import SUITE
from support.plans import plan_of

from membench.commands.complete_rows import CompleteRows
from membench.commands.work import Work
from membench.commands.work import find_work
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.records import Record
from membench.records import digest
from membench.store.store import Contents

SMALL = replace(SUITE, architectures=("mlp",))
VERSIONS = {"torch": "here"}


def made_here(records: Iterable[Record]) -> list[Record]:
    return [replace(record, env=digest(VERSIONS), versions=VERSIONS) for record in records]


def work_with(plan: Plan, *names: str) -> Work:
    """What is to do where these regularizers' choosing cells have records."""
    records = made_here(records_of(plan, *names))
    kept = {(record.key, record.env): record for record in records}
    return find_work(plan, Contents(records=kept), {"dots/mlp": [VERSIONS]})


class Run:
    """Trains packs, and tells the rows as `NotedFollowUp` does."""

    def __init__(self, plan: Plan, work: Work) -> None:
        self._plan, self._work = plan, work
        self._rows = CompleteRows(work)

    def end(self, pack: Pack, status: str = "ok") -> tuple[list[Pack], str]:
        """Return the packs that follow, and what is told."""
        plan = replace(self._plan, manifest=self._work.second.manifest)
        records = made_here(record_of(plan, cell, status) for cell in pack.cells)
        further = self._work.packs(records)
        self._rows.plan(further)
        console = Console(width=100)
        with console.capture() as captured:
            lines = [finished.line for finished in self._rows.end(pack)]
            console.print(*lines, sep="\n", end="")
        return further, captured.get()


def packs_of(work: Work, name: str) -> list[Pack]:
    packs = [*work.first.packs(work.records.keys()), *work.confirming.packs(work.records.keys())]
    return [pack for pack in packs if pack.cells[0].regularizer == name]


def test_a_row_is_told_when_the_last_of_its_confirming_runs_has_ended() -> None:
    plan = plan_of(SMALL)
    work = work_with(plan, "none", "low-lr")
    run = Run(plan, work)
    packs, told = packs_of(work, "mixup"), []
    for pack in packs:  # grows: the last of the choosing packs brings those that confirm
        further, text = run.end(pack)
        packs += further
        told.append(text)
    assert {pack.cells[-1].seed for pack in packs[-len(further) - 1 :]} == {2}
    assert set(told[:-1]) == {""}
    words = "mixup H 0.62 dA +1.00 R +0.37 0 s"  # 1 - (.4 - .3 / 9) / (1 - .4 / 9); .11 / .3
    assert told[-1].split() == words.split() and told[-1].count("\n") == 1


def test_rows_wait_for_the_plain_network() -> None:
    plan = plan_of(SMALL)
    work = work_with(plan, "low-lr")
    run = Run(plan, work)
    confirming = []
    for pack in packs_of(work, "mixup"):
        assert run.end(pack) == ([], "")
    for pack in packs_of(work, "none"):
        further, told = run.end(pack)
        confirming += further
        assert told == ""
    told = [run.end(pack)[1] for pack in confirming]
    assert told[-1].startswith("mixup     ")


def test_an_entry_that_failed_everywhere_has_no_numbers() -> None:
    plan = plan_of(SMALL)
    for status in ("failed", "diverged"):
        work = work_with(plan, "none", "low-lr")
        run = Run(plan, work)
        told = ""
        for pack in packs_of(work, "mixup"):
            further, text = run.end(pack, status)
            assert further == []
            told += text
        cells = sum(len(pack.cells) for pack in packs_of(work, "mixup"))
        assert told.split() == f"mixup all {cells} runs {status} 0 s".split()

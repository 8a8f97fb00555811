"""The store against a model of what it has acknowledged, in any order of events (R1, R4, R5).

The model is a few dictionaries of records. Hypothesis lets two writers append, be killed and meet a
failing disk, merges be killed and fail at any call, the machine lose its power, and looks after
each of these whether the store has what the model has.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import invariant
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from support.faulty_disk import REFUSED
from support.faulty_disk import Fault
from support.faulty_disk import FaultyDisk
from support.faulty_disk import Killed
from support.stored_records import make_record

from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.records import Manifest
from membench.records import Record
from membench.store.shards import Writer
from membench.store.store import Store

WRITERS = st.sampled_from(["a", "b"])
STATUSES = st.lists(st.sampled_from(["ok", "diverged", "failed"]), min_size=1, max_size=3)
SHARES = st.sampled_from([0.0, 0.01, 0.4, 0.7, 0.99, 1.0])
ERRORS = st.sampled_from(sorted(REFUSED))
#: Of a merge's calls. Most merges here have fewer than 30.
CALLS = st.integers(1, 40)
PLAN = Manifest("tiny", 1, (), (), (), (), {}, {}, (), {})


class StoreMachine(RuleBasedStateMachine):
    """A store of two writers, on a disk that may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="membench-model-"))
        self.patch = pytest.MonkeyPatch()
        self.disk = FaultyDisk(self.root, self.patch)
        self.store = Store(self.root / "records")
        self.writers: dict[str, Writer] = {}
        self.seeds = 0
        #: what was acknowledged, by key, and the packs of which nobody was told that they are there
        self.measured: dict[str, Record] = {}
        self.failed: dict[str, Record] = {}
        self.doubtful: list[list[Record]] = []
        self.plan: Manifest | None = None
        self.doubtful_plans: list[Manifest] = []
        self.plans = 0

    def teardown(self) -> None:
        try:
            self.kill_all()
            self.merge_in_the_end()
        finally:
            self.disk.close()
            self.patch.undo()
            shutil.rmtree(self.root)

    # Events

    @rule(name=WRITERS, statuses=STATUSES, again=st.booleans())
    def append(self, name: str, statuses: list[str], again: bool) -> None:
        pack = self.new_pack(statuses, again)
        self.writer(name).append(pack)
        self.acknowledge(pack)

    @rule(name=WRITERS, statuses=STATUSES, share=SHARES, at=st.integers(1, 6))
    def append_and_be_killed(self, name: str, statuses: list[str], share: float, at: int) -> None:
        pack = self.new_pack(statuses)
        self.doubtful.append(pack)
        with self.disk.failing(Fault(at=at, part=share)):
            try:
                self.writer(name).append(pack)
            except Killed:
                pass
            else:
                self.acknowledge(pack)
        self.kill(name)

    @rule(name=WRITERS, statuses=STATUSES, share=SHARES, at=st.integers(1, 6), number=ERRORS)
    def append_to_a_failing_disk(
        self, name: str, statuses: list[str], share: float, at: int, number: int
    ) -> None:
        pack, more = self.new_pack(statuses), self.new_pack(statuses)
        self.doubtful.append(pack)
        with self.disk.failing(Fault(at=at, number=number, part=share)):
            try:
                self.writer(name).append(pack)
            except MembenchError as error:
                assert error.code is ExitCode.DISK
            else:
                self.acknowledge(pack)
                return
        if name in self.writers:
            with pytest.raises(MembenchError, match="a write failed before"):
                self.writers[name].append(more)
            self.close(name)

    @rule(name=WRITERS)
    def kill(self, name: str) -> None:
        writer = self.writers.pop(name, None)
        if writer is not None:
            os.close(writer._fd)  # and with it goes the lock

    @rule(name=WRITERS)
    def close(self, name: str) -> None:
        writer = self.writers.pop(name, None)
        if writer is not None:
            writer.close()

    @rule(commit=st.sampled_from(["x", "y"]))
    def keep_a_plan(self, commit: str) -> None:
        plan = self.new_plan(commit)
        self.store.write_manifest(plan)
        self.plan, self.doubtful_plans = plan, []

    @rule(at=st.integers(1, 8), number=ERRORS | st.just(0))
    def keep_a_plan_on_a_failing_disk(self, at: int, number: int) -> None:
        plan = self.new_plan("z")
        self.doubtful_plans.append(plan)
        with self.disk.failing(Fault(at=at, number=number, part=0.5)):
            try:
                self.store.write_manifest(plan)
            except Killed:
                pass
            except MembenchError as error:
                assert error.code is ExitCode.DISK
            else:
                self.plan, self.doubtful_plans = plan, []

    @rule()
    def merge(self) -> None:
        self.store.merge()
        live = {writer.path for writer in self.writers.values()}
        assert set(self.store.shards.glob("*.jsonl")) == live

    @rule(at=CALLS, part=SHARES)
    def merge_and_be_killed(self, at: int, part: float) -> None:
        with self.disk.failing(Fault(at=at, part=part)), suppress(Killed):
            self.store.merge()

    @rule(at=CALLS, part=SHARES, number=ERRORS, lasting=st.booleans())
    def merge_on_a_failing_disk(self, at: int, part: float, number: int, lasting: bool) -> None:
        with self.disk.failing(Fault(at=at, number=number, lasting=lasting, part=part)):
            try:
                self.store.merge()
            except MembenchError as error:
                assert error.code is ExitCode.DISK

    @precondition(lambda self: not self.writers)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        keys = sorted({*self.measured, *self.failed})
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        self.store.drop({key})
        self.measured.pop(key, None)
        self.failed.pop(key, None)
        self.doubtful = [[r for r in pack if r.key != key] for pack in self.doubtful]

    @rule()
    def delete_the_lock(self) -> None:
        (self.store.shards / ".lock").unlink(missing_ok=True)

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        self.kill_all()
        self.disk.lose_power(lambda most: data.draw(st.integers(0, most)))

    # What holds after each

    @invariant()
    def the_store_has_what_the_model_has(self) -> None:
        contents = self.store.read()
        assert contents.conflicts == ()
        found = {key: record for (key, _), record in contents.records.items()}
        for key, record in self.measured.items():
            assert same(found[key], record)
        possible = [record for pack in self.doubtful for record in pack]
        for key, record in found.items():
            known = [self.measured[key]] if key in self.measured else []
            known += [self.failed[key]] if key in self.failed and not known else []
            known += [other for other in possible if other.key == key]
            assert any(same(record, other) for other in known)
        assert self.failed.keys() <= found.keys()
        for pack in self.doubtful:  # whole or not at all
            only_here = {r.key for r in pack} - self.measured.keys() - self.failed.keys()
            assert len(only_here & found.keys()) in (0, len(only_here))

    @invariant()
    def the_plan_is_the_last_that_was_kept(self) -> None:
        found = self.store.manifests().get("tiny")
        assert found == self.plan or found in self.doubtful_plans

    # What they are made of

    def writer(self, name: str) -> Writer:
        if name not in self.writers:
            self.writers[name] = self.store.writer()
        return self.writers[name]

    def kill_all(self) -> None:
        for name in list(self.writers):
            self.kill(name)

    def new_plan(self, commit: str) -> Manifest:
        self.plans += 1
        return replace(PLAN, commit=f"{commit}{self.plans}")

    def new_pack(self, statuses: list[str], again: bool = False) -> list[Record]:
        """Return records of new cells, and one of a cell that failed or was measured before."""
        pack = []
        for status in statuses:
            self.seeds += 1
            pack.append(make_record(self.seeds, status=status, accuracy=self.seeds / 1000))
        old = [*self.failed.values(), *self.measured.values()]
        if again and old:
            seed = old[0].seed
            status = "ok" if old[0].status == "failed" else old[0].status
            pack.append(make_record(seed, status=status, accuracy=seed / 1000, seconds=2.0))
        return pack

    def acknowledge(self, pack: list[Record]) -> None:
        for record in pack:
            if record.status == "failed":
                self.failed[record.key] = record
            else:
                self.measured[record.key] = record

    def merge_in_the_end(self) -> None:
        """The merged files are those of the same records merged at once."""
        records = list(self.store.read().records.values())
        self.store.merge()
        assert self.store.merge() == 0
        assert not list(self.store.shards.glob("*.jsonl"))
        assert not list(self.store.shards.glob("*.tmp"))
        assert self.store.read().torn == 0
        assert self.store.read().missing == ()
        at_once = Store(self.root / "at-once")
        with at_once.writer() as writer:
            writer.append(records)
        at_once.merge()
        for path in at_once.folder.glob("?.jsonl"):
            assert path.read_bytes() == (self.store.folder / path.name).read_bytes()
        self.the_store_has_what_the_model_has()
        self.the_plan_is_the_last_that_was_kept()


def same(one: Record, other: Record) -> bool:
    """Tell whether two records say the same of a cell."""
    return replace(one, seconds=0.0) == replace(other, seconds=0.0)


def run_machine(examples: int, steps: int, **options: object) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    StoreMachine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=checks,
        **options,
    )
    StoreMachine.TestCase().runTest()


def test_the_store_has_what_it_acknowledged_after_any_events() -> None:
    """Ten histories, always the same; not shrunk, which takes minutes: see the slow test."""
    run_machine(10, 20, derandomize=True, phases=[Phase.generate])


@pytest.mark.slow
def test_the_store_has_what_it_acknowledged_after_hundreds_of_histories() -> None:
    run_machine(300, 30, print_blob=True)

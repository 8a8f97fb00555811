"""The driver that `run` and `reproduce` share: how wide packs are, and what the pool is told."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import registry
from support.trainers import make_pack
from support.trainers import make_records

from membench.api import Recipe
from membench.api import Split
from membench.commands import reproduce
from membench.commands import study_jobs
from membench.commands import training
from membench.commands.engines import LocalEngine
from membench.commands.precision import Choice
from membench.commands.studies_apart import StudiesApart
from membench.commands.study_jobs import StudyJob
from membench.commands.training import TrainingJob
from membench.engine.machine import Machine
from membench.execution.forecast import Expected
from membench.execution.forkserver import ForkServer
from membench.execution.protocol import Event
from membench.execution.summary import Summary
from membench.planning.packs import Pack
from membench.planning.study_plan import ArmPlan
from membench.records import Cell
from membench.records import Record
from membench.records import digest
from membench.registry.entry import PluginEntry
from membench.report import RowLine
from membench.store.store import Store
from membench.studies import Arm

OPTIONS = Namespace(
    device="auto",
    workers=None,
    plugins=(),
    data_dir=None,
    time_limit=60,
    maxfail=None,
    verbosity=0,
    durations=None,
    junit_xml=None,
)


def study_job(num_seeds: int) -> StudyJob:
    """Return a study of one arm, whose packs have 15 lanes at most."""
    arm = Arm(
        name="main",
        dataset="dots",
        architectures=("mlp",),
        signals=("randY",),
        seeds=tuple(range(num_seeds)),
        split=Split(10, 10, 10),
        recipe=Recipe(),
    )
    cells = tuple(Cell("dots", "mlp", "none", (), "randY", seed) for seed in arm.seeds)
    keys = tuple(digest(cell.id) for cell in cells)
    plan = ArmPlan(
        study="toy",
        arm=arm,
        cells=cells,
        keys=keys,
        code=lambda cells, probes, optimizer: (),
        arrays="",
    )
    entry = PluginEntry(kind="studies", name="toy", code_hash="")
    return StudyJob(entry=entry, scale="quick", plans=(plan,))


def training_job(job: StudyJob, environment: dict[str, Any], **more: Any) -> TrainingJob:
    return TrainingJob(
        title="toy",
        plugins=(),
        keys=job.keys,
        packs=lambda done: study_jobs.packs_of([job], done),
        records={},
        environment=environment,
        retry=None,
        **more,
    )


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pool was given by the last `train_missing`."""
    arguments: dict[str, Any] = {}

    def run_packs(packs: Sequence[Pack], **others: Any) -> Summary:
        arguments.update(others, packs=packs)
        return Summary()

    monkeypatch.setattr(training, "run_packs", run_packs)
    return arguments


class OfMachine(LocalEngine):
    """The local engine of a machine that is not this one; nothing is started."""

    def __init__(self, device: str, gpus: tuple[str, ...] = (), workers: int | None = None) -> None:
        super().__init__(Namespace(**{**vars(OPTIONS), "workers": workers}), ForkServer())
        eager = {"device": f"{device} by name", "torch": "2"}
        self.machine = Machine(
            device=device, processor="", needs_trial=False, eager=[eager], compiled={}
        )
        self._gpus = gpus

    def prepare(self, compiled: bool) -> None: ...


@pytest.mark.parametrize(
    ("engine", "widths"),
    [
        (OfMachine("cpu", workers=2), [15, 15, 15, 5]),
        (OfMachine("cuda", ("0",)), [50]),
        (OfMachine("cuda", ("0", "1")), [50]),
        (OfMachine("cuda", ("0", "1"), workers=2), [50]),
        (OfMachine("cuda", ("0", "1"), workers=3), [15, 15, 15, 5]),
    ],
)
def test_a_study_s_packs_are_wide_where_each_worker_has_a_gpu(
    tmp_path: Path, given: dict[str, Any], engine: OfMachine, widths: list[int]
) -> None:
    store = Store(tmp_path / "records")
    job = training_job(study_job(num_seeds=50), {"device": "named", "torch": "2"})
    training.train_missing(job, store, OPTIONS, engine)
    assert [len(pack.cells) for pack in given["packs"]] == widths
    assert given["environment"] == {"device": f"{engine.machine.device} by name", "torch": "2"}


def test_there_is_a_worker_a_gpu_unless_another_number_is_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "records")
    four = ("0", "1", "2", "3")
    assert OfMachine("cuda", four).workers == 4
    assert OfMachine("cuda").workers == 1  # torch sees a GPU, and no list of them
    assert OfMachine("cuda", four, workers=3).workers == 3
    alone = OfMachine("cuda", four).factory(store)
    assert "--sharers" not in alone.command and alone.gpus == four
    crowded = OfMachine("cuda", four, workers=5).factory(store)
    assert crowded.command[-2:] == ["--sharers", "2"]
    on_cpu = OfMachine("cpu", four, workers=5).factory(store)
    assert "--sharers" not in on_cpu.command and on_cpu.gpus == ()


class Confirming:
    """Stands for the second phase: two packs follow from the first, and nothing from them."""

    def __init__(self, packs: list[Pack]) -> None:
        self.expected = Expected(cells=30)
        self.told: list[str] = []  #: environments of the records that it was given
        self.left: list[str] = []  #: entries that are trained elsewhere
        self._packs = packs

    def leave(self, regularizer: str) -> None:
        self.left.append(regularizer)

    def packs(self, records: Sequence[Record]) -> list[Pack]:
        self.told += [record.env for record in records]
        packs, self._packs, self.expected = self._packs, [], Expected()
        return packs

    def rows(self, pack: Pack) -> list[RowLine]:
        return [RowLine(line=f"a row: {pack.id}")]


def test_packs_that_follow_are_given_to_the_pool_as_wide_and_as_precise_as_the_others(
    tmp_path: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "records")
    further = study_jobs.packs_of([study_job(num_seeds=30)], ())
    job = training_job(
        study_job(num_seeds=3),
        {"device": "H100", "torch": "2"},
        precisions={"dots/mlp": Choice(precision="highest")},
        follow_up=Confirming(further),
    )
    training.train_missing(job, store, OPTIONS, OfMachine("cuda", ("0",)))
    followed = given["follow_up"](given["packs"][0])
    assert [len(pack.cells) for pack in followed] == [30]  # joined for the GPU
    assert {pack.precision for pack in followed} == {"highest"}
    assert given["follow_up"](followed[0]) == []
    assert f"a row: {followed[0].id}" in capsys.readouterr().out


def test_another_kind_of_workers_has_a_job_of_its_own_that_sees_its_own_records(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    store = Store(tmp_path / "records")
    entries = [make_pack("mine"), make_pack("theirs")]
    here, there = Confirming([]), Confirming([make_pack("theirs", 5)])
    job = replace(
        training_job(study_job(num_seeds=3), {"device": "H100", "torch": "2"}),
        packs=lambda done: [pack for pack in entries if not done.issuperset(pack.keys)],
        follow_up=here,
        envs=["h"],
    )
    stored = {record.key: replace(record, env="a") for record in make_records(entries[1])}
    machines: list[object] = []

    def elsewhere(machine: object) -> TrainingJob:
        machines.append(machine)
        return replace(job, follow_up=there, envs=["a"], records=stored)

    job = replace(job, elsewhere=elsewhere)
    training.train_missing(job, store, OPTIONS, OfMachine("cuda", ("0",)))
    new = given["elsewhere"]({"device": "A100"}, {"a": "machine"})
    assert (machines, new.begun) == ([{"a": "machine"}], {"theirs"})
    label = digest({"device": "A100"})
    assert [(pack.program[2], pack.environment) for pack in new.packs] == [("mine", label)]
    assert (here.left, there.left) == (["theirs"], [])
    given["on_event"](Event(kind="started", worker=0, pack=entries[0]))
    assert there.left == ["mine"]

    ended = make_pack("theirs", 4)
    dead = replace(make_records(make_pack("mine", 7))[0], env="", versions={})
    records = [replace(record, versions={"torch": "2"}) for record in make_records(ended)]
    with store.writer() as writer:
        writer.append([replace(record, env="a") for record in records])
        writer.append([replace(records[0], env="h"), dead])
    (further,) = given["follow_up"](replace(ended, environment=label))
    assert (further.program[2], further.environment) == ("theirs", label)
    assert (here.told, there.told) == (["h"], ["a", "a", ""])


@pytest.mark.parametrize(("is_compiled", "precision"), [(True, "highest"), (False, "")])
def test_compiled_packs_are_given_the_precision_of_their_task(
    tmp_path: Path,
    given: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    is_compiled: bool,
    precision: str,
) -> None:
    store = Store(tmp_path / "records")
    choices = {
        "dots/mlp": Choice(precision="highest", speed=0.5),
        "dots/cnn": Choice(precision="medium"),
    }
    study = study_job(num_seeds=3)
    (plan,) = study.plans
    study = replace(study, plans=(replace(plan, arm=replace(plan.arm, compiled=is_compiled)),))
    job = training_job(study, {"device": "cpu", "torch": "2"}, precisions=choices)
    training.train_missing(job, store, OPTIONS, OfMachine("cpu"))
    assert {pack.precision for pack in given["packs"]} == {precision}
    assert "fp32 products: bfloat16 is 0.5x fp32 here (dots/mlp)" in capsys.readouterr().out


def test_the_precision_is_chosen_for_the_compiled_arms_of_studies_only() -> None:
    study = study_job(num_seeds=2)
    (plan,) = study.plans
    eager = replace(plan, arm=replace(plan.arm, compiled=False, architectures=("cnn",)))
    both = replace(study, plans=(plan, eager))
    (task,) = reproduce._compiled_tasks([both], registry(), StudiesApart())
    assert (task.name, task.keys) == ("dots/mlp", set(plan.keys))

"""`membench reproduce`: plan the studies, train what is missing, analyse, write the page. A fault costs one study."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from membench.commands import session
from membench.commands.list import print_problems
from membench.commands.report import write_pages
from membench.errors import ExitCode
from membench.errors import MembenchError
from membench.execution.summary import Summary
from membench.planning import inputs
from membench.planning.inputs import DatasetLoader
from membench.planning.packs import Pack
from membench.planning.study_plan import ArmPlan
from membench.planning.study_plan import plan_arms
from membench.records import Record
from membench.records import digest
from membench.registry.entry import PluginEntry
from membench.registry.registry import Registry
from membench.store.accepted import accepted_by_key
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store
from membench.studies import SCALES
from membench.studies import Study
from membench.text import explain

if TYPE_CHECKING:
    from membench.report import paper


@dataclass(frozen=True)
class StudyJob:
    """One study at one scale: its plan, or why it has none."""

    entry: PluginEntry
    scale: str
    study: Study | None = None
    plans: tuple[ArmPlan, ...] = ()
    problem: str = ""

    @property
    def keys(self) -> list[str]:
        """Of all cells."""
        return [key for plan in self.plans for key in plan.keys]


def reproduce(options: argparse.Namespace) -> int:
    """Returns 0, or 1 where cells, analyses or plugins failed, 2 when interrupted."""
    found = session.registry(options)
    names = _requested_names(options, found)
    plan = Planner(found, options)
    jobs = [plan(name, options.scale) for name in names]
    if options.collect_only:
        return print_cells(jobs, found, options)
    store = Store(options.out / "records")
    worlds = [session.expected_environment(options.device, compiled) for compiled in (True, False)]
    contents = store.read()
    packs, reused = _missing(jobs, latest_records(jobs, worlds, contents, options), options.lf)
    summary = session.train(
        options,
        packs,
        title=f"{', '.join(names)} at scale {options.scale}",
        cells=len({key for job in jobs for key in job.keys}),
        reused=reused,
        plugins=[(name, session.origin(found.studies[name])) for name in names],
        store=store,
        environment=worlds[0],
    )
    store.merge()
    contents = store.read()
    others = other_jobs(jobs, plan, {record.id for record in contents.records.values()})
    return print_outcome(
        jobs,
        others,
        found,
        summary,
        latest_records([*jobs, *others], worlds, contents, options),
        options,
    )


def _requested_names(options: argparse.Namespace, found: Registry) -> list[str]:
    """The studies that are asked for. Raises `MembenchError` for an unknown name, and for none."""
    for name in options.names:
        found.entry("studies", name)
    if not (options.names or options.all):
        known = ", ".join(found.studies) or "none is registered"
        raise MembenchError(f"say what to reproduce: --all, or names of studies ({known})")
    names = list(dict.fromkeys(options.names)) or list(found.studies)
    if not names:
        raise MembenchError("no study is registered: see `membench list`", ExitCode.NOTHING)
    return names


class Planner:
    """Studies to jobs; a data set is read once, however many studies use it."""

    def __init__(self, found: Registry, options: argparse.Namespace) -> None:
        self.found, self.folder, self.needed = found, options.data_dir, not options.collect_only
        self._hashes: dict[
            tuple[str, str, int], str
        ] = {}  #: of arrays, by name, code and version of their plugin

    def __call__(self, name: str, scale: str) -> StudyJob:
        """The study's plan; what a stranger's study does wrong becomes its row."""
        entry, within = self.found.entry("studies", name), self.found.for_study(name)
        data = inputs.DatasetLoader(within, self.folder, self.needed)
        skips = inputs.SkipAnswers(within, data, session.inspect_network)
        try:
            study = self.found.study(name)
            plans = plan_arms(study, scale, within, partial(self._hash, skips.data, within), skips)
        except Exception as error:
            return StudyJob(entry, scale, problem=explain(error))
        broken = [problem.message for problem in skips.problems]
        return (
            StudyJob(entry, scale, problem=broken[0])
            if broken
            else StudyJob(entry, scale, study, plans)
        )

    def ids(self, name: str, scale: str) -> set[str]:
        """The ids of its cells, without a look at any data; empty where it cannot be planned."""
        try:
            plans = plan_arms(
                self.found.study(name), scale, self.found.for_study(name), str, lambda *where: None
            )
        except Exception:
            return set()
        return {cell.id for plan in plans for cell in plan.cells}

    def _hash(self, data: inputs.DatasetLoader, within: Registry, name: str) -> str:
        entry = within.entry("datasets", name)
        key = (entry.name, entry.code_hash, entry.version)
        if key not in self._hashes:
            self._hashes[key] = data.hash(name)
        return self._hashes[key]


def print_cells(jobs: Iterable[StudyJob], found: Registry, options: argparse.Namespace) -> int:
    """Print what would be trained, and at the paper's scale, which is for a GPU, how long that takes there."""

    cells = 0
    for job in jobs:
        for plan in job.plans:
            arm, cells = plan.arm, cells + len(plan.cells)
            print(*(f"{job.entry.name}/{arm.name}: {cell.id}" for cell in plan.cells), sep="\n")
        steps = sum(len(p.cells) * p.arm.recipe.steps(p.arm.split.trained) for p in job.plans)
        if not job.problem:
            print(
                f"{job.entry.name}: {len(job.keys)} cells in {len(job.plans)} arms, {steps:,} steps",
                end="",
            )
            print(
                projected_time(job.plans, found.for_study(job.entry.name), options.data_dir)
                if job.scale == "paper"
                else ""
            )
    print(f"{cells} cells")
    return report_unplannable(jobs, found)


def report_unplannable(jobs: Iterable[StudyJob], found: Registry) -> int:
    """Name the studies that cannot be planned."""
    problems = [f"{job.entry.name}: {job.problem}" for job in jobs if job.problem]
    for line in problems:
        print(line, file=sys.stderr)
    print_problems(found.problems)
    return ExitCode.FAILED if problems or found.problems else ExitCode.OK


def latest_records(
    jobs: Iterable[StudyJob],
    worlds: Iterable[Mapping[str, object]],
    contents: Contents,
    options: argparse.Namespace,
) -> dict[str, Record]:
    """Key -> the record that counts."""
    own = [digest(world) for world in worlds]
    others = sorted({env for _, env in contents.records} - set(own)) if options.accept_env else []
    return accepted_by_key([key for job in jobs for key in job.keys], [*own, *others], contents)


def _missing(
    jobs: Iterable[StudyJob], ended: Mapping[str, Record], again: bool
) -> tuple[list[Pack], int]:
    """The packs to train, a cell that several arms have once; and how many cells need no training.

    What failed is not tried again, unless that is asked for.
    """
    done = {key for key, record in ended.items() if not again or record.status in MEASURED}
    reused, packs = len(done), []
    for plan in (plan for job in jobs for plan in job.plans):
        packs += plan.packs(done)
        done.update(plan.keys)
    return packs, reused


def other_jobs(jobs: Iterable[StudyJob], plan: Planner, measured: set[str]) -> list[StudyJob]:
    """The studies and scales that are not asked for now; what was measured of them stays on the page.

    Args:
        measured: ids of the cells that have records of some kind; where none is a study's, its data is not read.
    """
    asked = {(job.entry.name, job.scale) for job in jobs}
    pairs = [
        (name, scale)
        for name in plan.found.studies
        for scale in SCALES
        if (name, scale) not in asked
    ]
    kept = [plan(name, scale) for name, scale in pairs if plan.ids(name, scale) & measured]
    return [job for job in kept if not job.problem]


def print_outcome(
    jobs: list[StudyJob],
    others: list[StudyJob],
    found: Registry,
    summary: Summary,
    ended: Mapping[str, Record],
    options: argparse.Namespace,
) -> int:
    """Analyse, write the page, say how each study came out."""
    from membench.report import paper

    kept = [job for job in others if any(key in ended for key in job.keys)]
    shown = [study_row(job, ended) for job in [*jobs, *kept]]
    write_pages(options.out, paper.pages(shown))
    for one in shown[: len(jobs)]:
        print(f"{one.name}: {one.verdict}" + (f" ({one.problem})" if one.problem else ""))
    print(f"the whole page: {options.out / 'README.md'}")
    print_problems(found.problems)
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    mine = {key for job in jobs for key in job.keys}
    failed = any(key in mine and record.status not in MEASURED for key, record in ended.items())
    broken = failed or found.problems or any(one.finding is None for one in shown[: len(jobs)])
    return ExitCode.FAILED if broken else ExitCode.OK


def study_row(job: StudyJob, ended: Mapping[str, Record]) -> paper.StudyRow:
    """The study's row and section."""
    from membench.report import paper

    entry, study = job.entry, job.study
    one = paper.StudyRow(
        entry.name, job.scale, entry.group, "", entry.summary, entry.source, problem=job.problem
    )
    if study is None:
        return one
    one = replace(one, claim=study.claim, scaled=study.scaled, facts=_facts(job, ended))
    if not ended.keys() >= set(job.keys):
        return one
    try:
        finding = study.analyse(
            {p.arm.name: tuple(ended[key] for key in p.keys) for p in job.plans}
        )
        return replace(one, finding=finding, svg=paper.figure(entry.name, finding))
    except Exception as error:  # a stranger's analysis may raise anything
        return replace(one, problem=explain(error))


def _facts(job: StudyJob, ended: Mapping[str, Record]) -> paper.Facts:
    from membench.report import paper

    records = [ended[key] for key in dict.fromkeys(job.keys) if key in ended]
    status = [record.status for record in records]
    versions = [r.versions for r in records if r.versions]
    return paper.Facts(
        planned=len(set(job.keys)),
        measured=sum(s in MEASURED for s in status),
        diverged=status.count("diverged"),
        failed=sum(s not in MEASURED for s in status),
        seconds=sum(record.seconds for record in records),
        where=tuple(
            sorted({f"{v.get('device', '')}, torch {v.get('torch', '')}" for v in versions})
        ),
        skipped=tuple(why for plan in job.plans for why in plan.skipped),
    )


def projected_time(plans: Sequence[ArmPlan], within: Registry, folder: Path | None) -> str:
    """`; training takes at least 3.1 h on an H100 (...)`; "" where the size of an image is not known.

    Args:
        plans: of one study.
        within: the registry as its cells see it.
        folder: where data sets lie; one that is not at hand may say the size of its images.
    """
    from membench.engine.projection import Projection
    from membench.engine.projection import project

    data, whole = DatasetLoader(within, folder, needed=False), Projection()
    for plan in plans:
        size = _size(plan.arm.dataset, within, data)
        if size is None:
            return ""
        whole += project(plan, within, *size)
    time = _time(whole.seconds)
    return f"; training takes at least {time} on an H100 (projection: {whole.flops:.2g} FLOP in full fp32)"


def _size(
    name: str, within: Registry, data: DatasetLoader
) -> tuple[tuple[int, int, int], int] | None:
    """Of an image, and the number of classes: what the data set says, else what its arrays are."""
    known = within.dataset(name)
    if known.shape and known.num_classes:
        return known.shape, known.num_classes
    if not data.is_available(name):
        return None
    arrays = data.arrays(name)
    return tuple(arrays.x.shape[1:]), arrays.num_classes


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"

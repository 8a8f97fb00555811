"""The pages of studies: from jobs and the records that count to a row a study, and to files.

`membench reproduce` writes them after training, `membench report` again from the records.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from membench.commands import session
from membench.commands.list import print_problems
from membench.commands.studies_apart import StudiesApart
from membench.commands.study_jobs import StudyJob
from membench.commands.study_jobs import StudyPlanner
from membench.errors import MembenchError
from membench.records import Record
from membench.store.accepted import accepted_by_key
from membench.store.counted import read_counted
from membench.store.data_hashes import read_hashes
from membench.store.store import MEASURED
from membench.store.store import Contents
from membench.store.store import Store
from membench.text import explain

if TYPE_CHECKING:
    from membench.report import paper


def pages_of_records(options: argparse.Namespace, contents: Contents) -> dict[str, bytes]:
    """Make the pages of a folder of studies from its records; nothing is trained.

    Args:
        options: out, the folder; plugins and data_dir.
        contents: of its store.

    Returns:
        The files by their paths below the folder.

    Raises:
        MembenchError: a study of the page is not among the plugins.
    """
    with closing(StudiesApart(data_folder=options.data_dir)) as strangers:
        return _pages_of_records(options, contents, strangers)


def _pages_of_records(
    options: argparse.Namespace, contents: Contents, strangers: StudiesApart
) -> dict[str, bytes]:
    registry = session.load_registry(options)
    store = Store(options.out / "records")
    counted = read_counted(store)
    planner = StudyPlanner(registry, read_hashes(store), strangers)
    for name, _ in counted.requested:
        if name not in registry.studies:
            raise MembenchError(
                f"the page in {options.out} has the study {name!r}, which is not registered: give "
                "its file with -p, or make the page anew with `membench reproduce`"
            )
    jobs = [planner.plan(name, scale) for name, scale in counted.requested]
    others = planner.plan_others(jobs, {record.id for record in contents.records.values()})
    records = accepted_records([*jobs, *others], counted.environments, contents)
    jobs, others = ([job.trainable(records) for job in some] for some in (jobs, others))
    print_problems(registry.problems)
    return study_pages(options.out, [study_row(job, records) for job in jobs], others, records)


def accepted_records(
    jobs: Iterable[StudyJob], accepted: Sequence[str], contents: Contents
) -> dict[str, Record]:
    """Return the record that counts for each key of the jobs, where there is one."""
    keys = [key for job in jobs for key in job.keys]
    return accepted_by_key(keys, accepted, contents)


def study_pages(
    out: Path,
    rows: Sequence[paper.StudyRow],
    others: Iterable[StudyJob],
    records: Mapping[str, Record],
) -> dict[str, bytes]:
    """Make the files of the studies' pages, by their paths below the folder.

    Args:
        out: the results folder; pages beside it are linked to.
        rows: of the requested studies.
        others: all other studies and scales; one that has a record stays on the page.
        records: key -> the record that counts.
    """
    from membench.report import pages_beside
    from membench.report import paper

    other_rows = []
    for job in others:
        if not records.keys().isdisjoint(job.keys):
            other_rows.append(study_row(job, records))
    return paper.pages([*rows, *other_rows], pages_beside(out))


def study_row(job: StudyJob, records: Mapping[str, Record]) -> paper.StudyRow:
    """Analyse a study whose cells all have records; say of any other how far it is."""
    from membench.report import paper

    row = paper.StudyRow(
        name=job.entry.name,
        scale=job.scale,
        figure=job.entry.group,
        claim="",
        summary=job.entry.summary,
        source=job.entry.source,
        problem=job.problem,
    )
    study = job.study
    if study is None or job.analyse is None:
        return row
    row = replace(row, claim=study.claim, scaled=study.scaled, facts=_facts(job, records))
    if not records.keys() >= set(job.keys):
        return row
    results = {plan.arm.name: tuple(records[key] for key in plan.keys) for plan in job.plans}
    try:
        finding, svg = job.analyse(results)
        return replace(row, finding=finding, svg=svg)
    except MembenchError as error:
        return replace(row, problem=str(error))
    except Exception as error:  # an analysis is foreign code and may raise anything
        return replace(row, problem=explain(error))


def _facts(job: StudyJob, records: Mapping[str, Record]) -> paper.Facts:
    """Count how the cells of a study ended."""
    from membench.report import paper

    keys = list(dict.fromkeys(job.keys))
    ended = [records[key] for key in keys if key in records]
    machines = set()
    for record in ended:
        if record.versions:
            device, torch = record.versions.get("device", ""), record.versions.get("torch", "")
            machines.add(f"{device}, torch {torch}")
    skipped: list[str] = []
    for plan in job.plans:
        skipped += plan.skipped
    return paper.Facts(
        planned=len(keys),
        measured=sum(record.status in MEASURED for record in ended),
        diverged=sum(record.status == "diverged" for record in ended),
        failed=sum(record.status not in MEASURED for record in ended),
        seconds=sum(record.seconds for record in ended),
        where=tuple(sorted(machines)),
        skipped=tuple(skipped),
        left_out=job.left_out,
    )

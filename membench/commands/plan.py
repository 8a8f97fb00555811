"""`membench plan`: a table of what a run would train, and how long that takes.

It needs no data and no torch, and writes nothing. What is measured already, and at which speed, it
reads from the records of the results folder. With `--slurm` it prints a script in place of these.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.commands import slurm
from membench.commands.list import report_problems
from membench.commands.phases import SecondPhase
from membench.errors import MembenchError
from membench.execution.display import clock
from membench.execution.forecast import Experience
from membench.execution.forecast import Forecast
from membench.execution.process import available_cores
from membench.execution.strangers import StrangersApart
from membench.planning.inputs import DatasetLoader
from membench.planning.packs import Pack
from membench.planning.plan import Plan
from membench.store.accepted import accepted_by_key
from membench.store.store import Contents
from membench.store.store import Store
from membench.text import one_line

RESULTS = Path("leaderboard")  #: where records are by default


def plan(options: argparse.Namespace) -> int:
    """Print how many cells, packs and steps each task and regularizer has, and the time of all.

    Raises:
        MembenchError: an option is wrong, or selects nothing.
    """
    if options.slurm and options.shard:
        raise MembenchError("--slurm cuts the plan itself: leave --shard away")
    registry = session.load_registry(options)
    with closing(StrangersApart(data_folder=options.data_dir)) as strangers:
        datasets = DatasetLoader(registry, options.data_dir, needed=False, strangers=strangers)
        planned = session.plan_suite(options, registry, datasets)
    if options.slurm:
        print(slurm.script(options, planned), end="")
        return report_problems(registry, planned)
    packs = planned.packs()
    Console().print(_table(packs))
    suite = planned.suite
    count = f"{len(planned.cells)} cells in {len(packs)} packs"
    if planned.most_confirming_cells:
        bound, fresh = planned.most_confirming_cells, seeds(suite.confirming)
        count += f", then at most {bound} on seeds {fresh} to confirm what they choose"
    print(f"suite {suite.name} {suite.version}: {count}")
    workers = options.workers or available_cores()
    for line in time_left(planned, options.out, workers):
        print(line)
    session.print_left_out(suite, registry)
    session.print_fetch_hints(datasets)
    return report_problems(registry, planned)


def time_left(planned: Plan, out: Path, workers: int) -> list[str]:
    """Say what of the plan is measured in the results folder, and how long the rest takes.

    Records of any machine count. The speed is that of the machine with most records there; where
    there are none, in the default folder.

    Args:
        planned: the first phase.
        out: the results folder.
        workers: how many train at a time.
    """
    contents = Store(out / "records").read(damaged_ok=True)
    records = accepted_by_key(planned.manifest.cells.values(), (), contents)
    second = SecondPhase(planned, planned.pairs, records.values())
    confirming = second.plan()
    records |= accepted_by_key(confirming.manifest.cells.values(), (), contents)
    lines = []
    if records:
        lines.append(f"{len(records)} of these cells have records in {out}")
    known, folder = contents, out
    if not _machines(known):
        known, folder = Store(RESULTS / "records").read(damaged_ok=True), RESULTS
    if not _machines(known):
        return [*lines, f"how long it takes is told once something has been trained in {out}"]
    ((env, _),) = _machines(known).most_common(1)
    forecast = Forecast(workers, Experience.of_records(known.records.values(), [env]))
    forecast.plan([*planned.packs(records), *confirming.packs(records)])
    forecast.expect(second.expected)
    seconds = forecast.seconds_left(0.0)
    if not seconds:
        return [*lines, "nothing is left to train"] if seconds == 0 else lines
    versions = next(r.versions for r in known.records.values() if r.env == env)
    device = one_line(versions.get("device", "the same machine"))
    time = f"the rest takes about {clock(seconds)}" if records else f"about {clock(seconds)}"
    number = f"{workers} worker{'' if workers == 1 else 's'}"
    return [*lines, f"{time} on {number}, at the speed of the records of {device} in {folder}"]


def _machines(contents: Contents) -> Counter[str]:
    """Count the records of each environment."""
    return Counter(record.env for record in contents.records.values() if record.versions)


def seeds(numbers: Sequence[int]) -> str:
    """Spell seeds, as `--seeds` reads them: `3-12`, `0,2`."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(str(seed) for seed in numbers)


def _table(packs: list[Pack]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("task", "regularizer"):
        table.add_column(column)
    for column in ("strengths", "cells", "packs", "steps"):
        table.add_column(column, justify="right")
    programs: dict[tuple[str, str, str], list[Pack]] = {}
    for pack in packs:
        programs.setdefault(pack.program, []).append(pack)
    for (dataset, architecture, regularizer), packs_of_program in programs.items():
        strengths: set[tuple[float, ...]] = set()
        cells = steps = 0
        for pack in packs_of_program:
            strengths.update(cell.strength for cell in pack.cells)
            cells += len(pack.cells)
            steps += len(pack.cells) * pack.recipe.steps(pack.split.trained)
        table.add_row(
            Text(f"{dataset}/{architecture}"),
            Text(regularizer),
            f"{len(strengths):,}",
            f"{cells:,}",
            f"{len(packs_of_program):,}",
            f"{steps:,}",
        )
    return table

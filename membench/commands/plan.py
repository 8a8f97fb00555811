"""`membench plan`: a table of what a run would train; needs no data and writes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from membench.commands import session
from membench.commands.list import report_problems
from membench.planning.inputs import DatasetLoader
from membench.planning.packs import Pack


def plan(options: argparse.Namespace) -> int:
    """Print how many cells, packs and steps each task and regularizer has."""
    registry = session.load_registry(options)
    datasets = DatasetLoader(registry, options.data_dir, needed=False)
    planned = session.plan_suite(options, registry, datasets)
    packs = planned.packs()
    Console().print(_table(packs))
    suite = planned.suite
    count = f"{len(planned.cells)} cells in {len(packs)} packs"
    if planned.most_confirming_cells:
        bound, fresh = planned.most_confirming_cells, seeds(suite.confirming)
        count += f", then at most {bound} on seeds {fresh} to confirm what they choose"
    print(f"suite {suite.name} {suite.version}: {count}")
    session.print_left_out(suite)
    session.print_fetch_hints(datasets)
    return report_problems(registry, planned)


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

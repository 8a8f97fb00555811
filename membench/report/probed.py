"""What probes measured, as columns of a task's table: their single numbers at the budget, in means over seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping

from membench.records import Record
from membench.report.text import MISSING
from membench.report.text import md
from membench.report.text import number
from membench.scoring.types import FULL

Setting = tuple[str, tuple[float, ...]]
Column = tuple[str, str, str]  #: probe, metric, signal
Probed = Mapping[Setting, Mapping[Column, float]]


def probed(records: Iterable[Record], task: str) -> dict[Setting, dict[Column, float]]:
    """(regularizer, strength) -> column -> mean over seeds. A metric of many numbers has no column."""
    found: dict[Setting, dict[Column, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in (r for r in records if r.cell.task == task):
        for probe, metrics in record.probes.items():
            for metric, values in metrics.items():
                if values and isinstance(values[-1], (int, float)):
                    at = found[record.regularizer, record.strength]
                    at[probe, metric, record.signal].append(values[-1])
    return {s: {c: sum(v) / len(v) for c, v in columns.items()} for s, columns in found.items()}


def columns(table: Probed) -> list[Column]:
    """All of them, sorted."""
    return sorted({column for row in table.values() for column in row})


def heads(table: Probed) -> list[str]:
    """`csr share, randY`."""
    return [f"{md(probe)} {md(metric)}, {md(signal)}" for probe, metric, signal in columns(table)]


def cells(table: Probed, entry: str, strength: tuple[float, ...]) -> list[str]:
    """One row's; a dash where nothing was measured."""
    row = table.get((entry.removesuffix(FULL) if strength else "none", strength), {})
    return [number(row[c]) if c in row else MISSING for c in columns(table)]

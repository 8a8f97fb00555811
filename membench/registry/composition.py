"""What can be run: every record of every plugin by name, as plain data; the live functions come when asked for.

`discover` makes one registry a process; the plan, the list and the report read its entries, the engine loads from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from membench.api import STAGES
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.records import digest
from membench.registry.entry import PluginEntry

Table = dict[str, PluginEntry]
#: The plain network: what `off` is, and what every regularizer is compared with.
NONE = PluginEntry(
    kind="regularizers",
    name="none",
    group="baseline",
    summary="The plain network",
    origin="membench",
    code_hash=digest("none"),
)


def compose(entry: PluginEntry, table: Table, full: bool = False) -> PluginEntry:
    """A composition with all that follows from its parts; its own grid, summary and source stay if it has them."""
    members = tuple(_members(entry, table))
    uneven = len({len(member.strengths) for member in members}) > 1
    strengths = entry.strengths or (() if full and uneven else _paired(entry, members))
    off = tuple(member.off[0] for member in members)
    if off in strengths:
        raise MembenchError(
            f"regularizer {entry.name!r}: {off} is off for every part; give it another setting"
        )
    return replace(
        entry,
        group="control" if any(member.group == "control" for member in members) else "composition",
        summary=entry.summary or ", then ".join(entry.parts),
        source=entry.source or "; ".join(member.source for member in members if member.source),
        acts_on=tuple(
            stage for stage in STAGES if any(stage in member.acts_on for member in members)
        ),
        strengths=strengths,
        off=off,
        code_hash=digest([[member.name, member.code_hash, member.version] for member in members]),
        has_skip=any(member.has_skip for member in members),
        plugin_source=None,
        members=members,
    )


def _paired(entry: PluginEntry, members: tuple[PluginEntry, ...]) -> tuple[tuple[float, ...], ...]:
    """The i-th strength of each part with the i-th of the others."""
    if len({len(member.strengths) for member in members}) > 1:
        raise MembenchError(
            f"regularizer {entry.name!r}: the parts' grids differ in length; register a Composite"
        )
    return tuple(
        tuple(s for (s,) in row)
        for row in zip(*(member.strengths for member in members), strict=True)
    )


def full_grid(members: tuple[PluginEntry, ...]) -> tuple[tuple[float, ...], ...]:
    """Every strength of each part with every one of the others; from weak to strong, by the sum of their places."""
    grids = [[s for (s,) in member.strengths] for member in members]
    places = sorted(product(*(range(len(grid)) for grid in grids)), key=lambda at: (sum(at), at))
    return tuple(tuple(grid[i] for grid, i in zip(grids, at, strict=True)) for at in places)


def _members(entry: PluginEntry, table: Table) -> Iterator[PluginEntry]:
    if len(set(entry.parts)) < len(entry.parts):
        raise MembenchError(
            f"regularizer {entry.name!r}: a part stands there twice; name each once"
        )
    for part in entry.parts:
        if part not in table:
            raise unknown_name(f"regularizer in {entry.name!r},", part, table)
        if part == NONE.name or table[part].redraw:
            raise MembenchError(
                f"regularizer {entry.name!r}: {part} trains the plain network; leave it out"
            )
        yield table[part]

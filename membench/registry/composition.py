"""Compositions of regularizers, `a+b`: what follows from the entries of their parts. Pure.

The registry calls `compose` for registered composites and for those that a user requests, and
`full_grid` where a user requests every combination of the parts' strengths.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from membench.api import STAGES
from membench.errors import MembenchError
from membench.errors import unknown_name
from membench.records import digest
from membench.registry.entry import PluginEntry
from membench.registry.entry import Strengths
from membench.registry.validation import is_beyond

Table = dict[str, PluginEntry]  #: entries by name
#: The plain network: what `off` is, and what every regularizer is compared with.
NONE_ENTRY = PluginEntry(
    kind="regularizers",
    name="none",
    group="baseline",
    summary="The plain network",
    origin="membench",
    code_hash=digest("none"),
)


def compose(entry: PluginEntry, table: Table, full: bool = False) -> PluginEntry:
    """Return the entry of a composition with all that follows from its parts.

    Args:
        entry: names the composition; its own strengths, summary and source are kept if it has them.
        table: the regularizers, where the parts are looked up.
        full: whether `full_grid` is to follow; then parts whose grids differ in length are no
            error, and the composition has no strengths of its own.

    Raises:
        MembenchError: a part is unknown, appears twice or cannot be combined; the grids differ in
            length; a setting is off for every part, or beyond the limit of one.
    """
    members = _members(entry, table)
    off = tuple(member.off[0] for member in members)
    limits = tuple(member.limits[0] for member in members)
    strengths = entry.strengths or _paired_grid(entry.name, members, full)
    if off in strengths:
        raise MembenchError(
            f"regularizer {entry.name!r}: {off} is off for every part; give it another setting"
        )
    _check_limits(entry.name, members, strengths)
    is_control = any(member.group == "control" for member in members)
    stages = {stage for member in members for stage in member.acts_on}
    return replace(
        entry,
        group="control" if is_control else "composition",
        summary=entry.summary or ", then ".join(entry.parts),
        source=entry.source or "; ".join(member.source for member in members if member.source),
        acts_on=tuple(stage for stage in STAGES if stage in stages),
        strengths=strengths,
        off=off,
        limits=limits,
        code_hash=digest([[member.name, member.code_hash, member.version] for member in members]),
        has_skip=any(member.has_skip for member in members),
        plugin_source=None,
        members=members,
    )


def full_grid(members: tuple[PluginEntry, ...]) -> Strengths:
    """Return every combination of the parts' strengths, from weak to strong.

    The order is by the sum of the positions that the strengths have in their own grids.
    """
    positions = list(product(*(range(len(member.strengths)) for member in members)))
    positions.sort(key=lambda position: (sum(position), position))
    settings = []
    for position in positions:
        parts = zip(members, position, strict=True)
        settings.append(tuple(member.strengths[index][0] for member, index in parts))
    return tuple(settings)


def _members(entry: PluginEntry, table: Table) -> tuple[PluginEntry, ...]:
    """Return the entries of the parts, in the order in which they act."""
    if len(set(entry.parts)) < len(entry.parts):
        raise MembenchError(f"regularizer {entry.name!r}: a part appears twice; name each once")
    members = []
    for part in entry.parts:
        if part not in table:
            what = f"regularizer in {entry.name!r},"
            raise unknown_name(what, part, table, "membench list regularizers")
        if part == NONE_ENTRY.name or table[part].redraw:
            raise MembenchError(
                f"regularizer {entry.name!r}: {part} trains the plain network; leave it out"
            )
        members.append(table[part])
    return tuple(members)


def _check_limits(name: str, members: tuple[PluginEntry, ...], strengths: Strengths) -> None:
    """Refuse a setting in which a part is stronger than its limit."""
    for setting in strengths:
        for member, strength in zip(members, setting, strict=True):
            off, limit = member.off[0], member.limits[0]
            if is_beyond(strength, off, limit):
                raise MembenchError(
                    f"regularizer {name!r}: strength {strength:g} of {member.name} does not lie "
                    f"between its off ({off:g}) and its limit ({limit:g}); give it another setting"
                )


def _paired_grid(name: str, members: tuple[PluginEntry, ...], full: bool) -> Strengths:
    """Pair the i-th strength of each part with the i-th strengths of the others."""
    sizes = {len(member.strengths) for member in members}
    if len(sizes) > 1:
        if full:
            return ()
        raise MembenchError(
            f"regularizer {name!r}: the parts' grids differ in length; register a Composite"
        )
    settings = []
    for index in range(sizes.pop()):
        settings.append(tuple(member.strengths[index][0] for member in members))
    return tuple(settings)

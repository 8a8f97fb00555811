"""The colour, marker and line of each entry, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from membench.records import Entry
from membench.report.text import ascii_only

INK = "#1a1a1a"
GREY = "#8c8c8c"
#: Okabe and Ito (2008): told apart with the common kinds of colour blindness. Their yellow is
#: darkened for white paper.
_GROUP_COLORS = {
    "data": "#0072B2",
    "model": "#D55E00",
    "loss": "#009E73",
    "gradient": "#CC79A7",
    "weights": "#B8860B",
    "trajectory": "#56B4E9",
}
_OTHER_GROUPS = "#4d4d4d"
#: Where a panel holds one group only, colours tell its entries apart: the same, and four more.
_COLORS_WITHIN_GROUP = (*_GROUP_COLORS.values(), INK, "#7B3294", "#8C6D31", "#6b6b6b")
_MARKERS = "os^DvPX<>phd*"
Dashes = str | tuple[float, tuple[float, ...]]
_DASHES: tuple[Dashes, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """The colours, marker and line of one entry."""

    label: str
    group: str
    color: str
    marker: str
    dashes: Dashes
    color_within_group: str = INK  #: where its group is alone


def styles(entries: Sequence[Entry]) -> dict[str, Style]:
    """Give every entry a style by its place in the manifest, so that results do not change it."""
    members: dict[str, int] = {}  # group -> how many of its entries have a style
    result = {}
    for place, entry in enumerate(entries):
        place_in_group = members.get(entry.group, 0)
        members[entry.group] = place_in_group + 1
        result[entry.name] = Style(
            label=ascii_only(entry.name, 40),
            group=ascii_only(entry.group, 20),
            color=_GROUP_COLORS.get(entry.group, _OTHER_GROUPS),
            # Markers run on through all groups: in grey print the marker alone has to do.
            marker=_MARKERS[place % len(_MARKERS)],
            dashes=_DASHES[place_in_group % len(_DASHES)],
            color_within_group=_COLORS_WITHIN_GROUP[place_in_group % len(_COLORS_WITHIN_GROUP)],
        )
    return result


def group_order(group: str) -> tuple[int, str]:
    """Sort groups as the contract names them, others behind."""
    known = list(_GROUP_COLORS)
    return known.index(group) if group in known else len(known), group

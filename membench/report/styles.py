"""Which colour, marker and line an entry has in every figure: colour by group, marker and dashes within the group."""

from __future__ import annotations

from dataclasses import dataclass

from membench.records import Entry
from membench.report.text import ascii_only

INK = "#1a1a1a"
GREY = "#8c8c8c"
PALE = "#d9d9d9"
#: Okabe and Ito (2008), told apart with the common kinds of colour blindness; yellow is darkened for white paper.
_COLORS = {
    "data": "#0072B2",
    "model": "#D55E00",
    "loss": "#009E73",
    "gradient": "#CC79A7",
    "weights": "#B8860B",
    "trajectory": "#56B4E9",
}
_OTHER = "#4d4d4d"
#: Within a panel that holds one group only, colours tell its entries apart: the same, black, and three more.
_WITHIN = (*_COLORS.values(), INK, "#7B3294", "#8C6D31", "#6b6b6b")
_MARKERS = "os^DvPX<>phd*"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
Dashes = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Style:
    """How one entry is drawn."""

    label: str
    group: str
    color: str
    marker: str
    dashes: Dashes
    within: str = INK  #: its colour where its group is alone


def styles(entries: tuple[Entry, ...]) -> dict[str, Style]:
    """A look for every entry, by its place in the manifest, so that it does not change with the results."""
    seen: dict[str, int] = {}
    result = {}
    for place, entry in enumerate(entries):
        nth = seen[entry.group] = seen.get(entry.group, -1) + 1
        result[entry.name] = Style(
            label=ascii_only(entry.name, 40),
            group=ascii_only(entry.group, 20),
            color=_COLORS.get(entry.group, _OTHER),
            # Markers run on through all groups: in grey print the marker alone has to do.
            marker=_MARKERS[place % len(_MARKERS)],
            dashes=_DASHES[nth % len(_DASHES)],
            within=_WITHIN[nth % len(_WITHIN)],
        )
    return result


def group_order(group: str) -> tuple[int, str]:
    """Sorts groups as the contract names them, others behind."""
    known = list(_COLORS)
    return known.index(group) if group in known else len(known), group

"""The front: H against dA of every row, with the names of those that hold the claim.

The stairs join the entries on the front; what lies below and left of them is no better in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D

from membench.report import effect_scales
from membench.report import labels
from membench.report import legend
from membench.report.contents import Effect
from membench.report.contents import Effects
from membench.report.effect_scales import Scale
from membench.report.legend import Key
from membench.report.styles import GREY
from membench.report.styles import INK
from membench.report.svg import panel

#: Inches: the figure's width, and the height of its axes.
_WIDTH, _PLOT_HEIGHT = 9.35, 5.0
_LEFT, _RIGHT, _BOTTOM = 0.62, 0.2, 0.55
_FONT_SIZE = 7.6  #: of names, points
_REACH, _MUTED_REACH = 150.0, 30.0  #: how far a name may stand from its dot, points
_EDGE_ARROW = 8.0  #: from a dot to the triangle that says that H may be larger, points
_EDGE: dict[str, Any] = {"marker": ">", "ms": 4.5, "mew": 0.8, "mfc": "white", "ls": "none"}
Spot = tuple[float, float]  #: H in percent, dA in points
_ALL_NAMED = 16  #: entries up to which also those without the claim are named
_STAIRS: dict[str, Any] = {"color": "#666666", "lw": 1.1}
_ON_FRONT: dict[str, Any] = {"mec": INK, "mew": 1.1}
_NONE: dict[str, Any] = {"color": INK, "marker": "*", "ms": 11, "ls": "none"}


def figure_size(effects: Effects) -> tuple[float, float]:
    """Return width and height in inches."""
    return _WIDTH, _keys_height(effects) + _PLOT_HEIGHT + _BOTTOM


def draw(effects: Effects, figure: Figure) -> None:
    """Draw the keys and the plot."""
    _, height = figure_size(effects)
    keys_height = _keys_height(effects)
    keys_box = (_LEFT, height - keys_height, _WIDTH - _LEFT - _RIGHT, keys_height - 0.1)
    legend.draw_keys(figure, keys_box, _keys(effects))

    axes = panel(figure, (_LEFT, _BOTTOM, _WIDTH - _LEFT - _RIGHT, _PLOT_HEIGHT))
    view = _View(
        axes=axes,
        across=effect_scales.held_back_scale(effects),
        up=effect_scales.real_scale(effects),
    )
    axes.set_xlim(view.across.low, view.across.high)
    axes.set_ylim(view.up.low, view.up.high)
    axes.set_xlabel("noise held back, H (% of the wrong labels)")
    axes.set_ylabel("real accuracy, \N{GREEK CAPITAL LETTER DELTA}A (points)")
    _draw_thresholds(axes)
    corners = stairs(effects, view.across.low, view.up.low)
    axes.plot([x for x, _ in corners], [y for _, y in corners], zorder=1.5, **_STAIRS)
    axes.plot([0], [0], zorder=5, **_NONE)
    for one in effects.controls:
        _draw_effect(view, one, {**legend.HOLLOW, "ms": 7})
    for one in reversed(effects.entries):
        _draw_effect(view, one, _dot(one))
    _draw_names(view, effects, corners)


@dataclass(frozen=True)
class _View:
    """The axes, and what they show."""

    axes: Axes
    across: Scale  #: H, percent
    up: Scale  #: dA, points

    def spot(self, one: Effect) -> Spot:
        """Return where a row's dot is; what lies beyond an axis is at its end."""
        return self.clip((100 * one.held_back.mean, one.real.mean))

    def clip(self, spot: Spot) -> Spot:
        """Move a spot beyond an axis to its end."""
        x, y = spot
        return self.across.clip(x), self.up.clip(y)

    def bars(self, one: Effect) -> list[tuple[Spot, Spot]]:
        """Return the ends of a row's intervals, which may lie beyond the axes."""
        x, y = self.spot(one)
        bars = []
        wide, high = effect_scales.held_back(one), one.real
        if wide.low is not None and wide.high is not None:
            bars.append(((wide.low, y), (wide.high, y)))
        if high.low is not None and high.high is not None:
            bars.append(((x, high.low), (x, high.high)))
        return bars

    def beyond(self, one: Effect) -> str:
        """Return the triangle that points to where the dot is beyond the axes; "" if it is not."""
        x, y = 100 * one.held_back.mean, one.real.mean
        if y < self.up.low:
            return "v"
        if y > self.up.high:
            return "^"
        if x < self.across.low:
            return "<"
        return ">" if x > self.across.high else ""

    def positions(self, spots: Sequence[Spot]) -> list[labels.Position]:
        """Transform spots to positions in points."""
        return [(x, y) for x, y in self.axes.transData.transform(spots).tolist()]


def stairs(effects: Effects, left: float, bottom: float) -> list[Spot]:
    """Return the corners of the stairs over the entries on the front; none if there is no front.

    An entry on the front that another's means are above in both has no step of its own: the test
    does not tell the two apart.

    Args:
        effects: H and dA of the entries.
        left: where the stairs begin, percent.
        bottom: where they end, points.
    """
    steps: list[Spot] = []
    front = [one for one in effects.entries if one.on_front]
    for one in sorted(front, key=lambda one: (-one.held_back.mean, -one.real.mean)):
        if not steps or one.real.mean > steps[-1][1]:
            steps.append((100 * one.held_back.mean, one.real.mean))
    corners = []
    for x, y in reversed(steps):
        corners += [(left, y), (x, y)]
        left = x
    return [*corners, (left, bottom)] if corners else []


def named(effects: Effects) -> list[Effect]:
    """Select who is named: the controls, the front, the others; of many, not who holds back little.

    An entry without the claim is named near its dot or not at all.
    """
    entries = list(effects.entries)
    if len(entries) > _ALL_NAMED:
        least = effect_scales.CLAIM_HELD_BACK / 100
        entries = [one for one in entries if not one.muted or one.held_back.mean > least]
    entries.sort(key=lambda one: (one.muted, not one.on_front))
    return [*effects.controls, *entries]


def _draw_thresholds(axes: Axes) -> None:
    dashed = {**legend.BOUNDS, "zorder": 1}
    axes.axhline(0, color=INK, lw=0.7, zorder=1)
    axes.axvline(0, color=INK, lw=0.7, zorder=1)
    axes.axhline(effect_scales.CLAIM_REAL, **dashed)
    axes.axvline(effect_scales.CLAIM_HELD_BACK, **dashed)


def _dot(one: Effect) -> dict[str, Any]:
    """Return size and edge of an entry's dot."""
    if one.muted:
        return {"ms": 3.5}
    return {"ms": 7, **_ON_FRONT} if one.on_front else {"ms": 6}


def _draw_effect(view: _View, one: Effect, dot: dict[str, Any]) -> None:
    color = legend.NO_CLAIM if one.muted else one.style.color
    for bar in view.bars(one):
        (x, y), (to_x, to_y) = [view.clip(end) for end in bar]
        view.axes.plot([x, to_x], [y, to_y], color=color, lw=0.7, alpha=0.7, zorder=2)
        for end in bar:
            _draw_bar_end(view, end, color)
    marker = view.beyond(one) or ("o" if one.muted else one.style.marker)
    x, y = view.spot(one)
    style = {"color": color, "marker": marker, "ls": "none", "clip_on": False, **dot}
    view.axes.plot([x], [y], zorder=3 if one.muted else 4, **style)
    if one.edge:
        where = view.axes.transData + Affine2D().translate(_EDGE_ARROW, 0)
        view.axes.plot([x], [y], transform=where, zorder=4, color=color, **_EDGE)


def _draw_bar_end(view: _View, spot: Spot, color: str) -> None:
    """Draw a triangle where a bar goes on beyond the axes."""
    x, y = spot
    if not view.up.shows(y):
        marker = "v" if y < view.up.low else "^"
    elif not view.across.shows(x):
        marker = "<" if x < view.across.low else ">"
    else:
        return
    place = view.across.clip(x), view.up.clip(y)
    view.axes.plot(*place, color=color, marker=marker, ms=3.5, ls="none", clip_on=False)


def _draw_names(view: _View, effects: Effects, corners: Sequence[Spot]) -> None:
    window = view.axes.get_window_extent()  # in points: the figure has 72 dots an inch, as SVG has
    room = labels.Box(window.x0 + 2, window.y0 + 2, window.x1, window.y1)
    everybody = [*effects.controls, *effects.entries]
    spots = view.positions([view.spot(one) for one in everybody])
    dots = view.positions([(0, 0)])
    lines = [view.positions(corners)] if corners else []
    for one, (x, y) in zip(everybody, spots, strict=True):
        dots += [(x, y), (x + _EDGE_ARROW, y)] if one.edge else [(x, y)]
        lines += [view.positions([view.clip(end) for end in bar]) for bar in view.bars(one)]

    spot_of = {one.style.label: spot for one, spot in zip(everybody, spots, strict=True)}
    controls = {one.style.label for one in effects.controls}
    color_of = {one.style.label: _name_color(one) for one in everybody}
    names = []
    for one in named(effects):
        reach = _MUTED_REACH if one.muted else _REACH
        names.append(labels.Name(one.style.label, spot_of[one.style.label], reach))
    for label in labels.place(names, dots, lines, room, _FONT_SIZE):
        if label.leader:
            line = {"arrowstyle": "-", "lw": 0.5, "color": "#888888", "shrinkA": 3, "shrinkB": 0}
            _draw_line(view.axes, *label.leader, line)
        view.axes.annotate(
            label.text,
            (label.x, label.y),
            xycoords="figure points",
            va="center_baseline",
            fontsize=_FONT_SIZE,
            color=color_of[label.text],
            style="italic" if label.text in controls else "normal",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.4},
            zorder=8,
        )


def _draw_line(
    axes: Axes, start: labels.Position, end: labels.Position, style: dict[str, Any]
) -> None:
    """Draw a leader or an arrow.

    Args:
        axes: what it belongs to.
        start: where it begins.
        end: where it ends.
        style: of matplotlib's arrows.
    """
    points = "figure points"
    axes.annotate(
        "", end, xytext=start, xycoords=points, textcoords=points, arrowprops=style, zorder=3
    )


def _name_color(one: Effect) -> str:
    return legend.PALE_INK if one.muted else one.style.color


def _keys_height(effects: Effects) -> float:
    return legend.keys_height(_keys(effects), _WIDTH - _LEFT - _RIGHT) + 0.15


def _keys(effects: Effects) -> list[Key]:
    """Explain the marks that the figure has."""
    keys = [Key(label="none (no regularizer)", line={**_NONE, "ms": 9})]
    for one in effects.controls:
        mark = {"color": one.style.color, "marker": one.style.marker, "ms": 6, "ls": "none"}
        keys.append(Key(label=f"control: {one.style.label}", line={**mark, **legend.HOLLOW}))
    if any(one.muted for one in effects.entries):
        dot = {"color": legend.NO_CLAIM, "marker": "o", "ms": 4, "ls": "none"}
        keys.append(Key(label="does not hold the claim", line=dot))
    keys.append(Key(label="bounds of the claim", line=legend.BOUNDS))
    if any(one.on_front for one in effects.entries):
        dot = {"marker": "o", "ms": 6, "mfc": "white", **_ON_FRONT}
        keys.append(Key(label="on the front", line={**_STAIRS, **dot}))
    if any(one.edge for one in (*effects.controls, *effects.entries)):
        keys.append(Key(label=legend.EDGE, line={"color": GREY, **_EDGE}))
    if not effect_scales.show_everything(effects):
        triangle = {"color": GREY, "marker": ">", "ms": 3.5, "ls": "none"}
        keys.append(Key(label=legend.BEYOND, line=triangle))
    coloured = [one.style for one in effects.entries if not one.muted]
    return keys + legend.group_keys(coloured)

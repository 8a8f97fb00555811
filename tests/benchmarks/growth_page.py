"""How membench grows, as Markdown and a figure: from the measurements that `growth.py` keeps to text and SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from growth_roofline import roofline
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from membench.report.svg import panel
from membench.report.svg import render_svg
from membench.report.tables import table

Results = dict[str, Any]
Line = tuple[str, Sequence[float], Sequence[float]]  #: name, x, y

ACTIONS = {"plan": "plan and scan", "merge": "merge", "report": "report"}
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B")
_SIZE = (9.35, 5.6)  #: inches


def page(results: Results) -> str:
    """The part of the README between the markers."""
    sections = {"cells": _cells, "lanes": _lanes, "steps": _steps, "startup": _startup}
    parts = [
        _HEAD,
        *(write(results[name]) for name, write in sections.items() if name in results),
        roofline(),
    ]
    return "\n\n".join(parts)


def figure(results: Results) -> bytes:
    """Four panels: seconds and memory by cells, a lane-step by lanes, a pack by steps."""
    return render_svg(_SIZE, "How membench grows", _SEEN, lambda figure: _paint(figure, results))


def _cells(rows: list[Results]) -> str:
    header = [
        "planned cells",
        *(f"{name}, {unit}" for name in ACTIONS.values() for unit in ("s", "MB")),
    ]
    lines = [
        [f"{row['cells']:,}", *(text for action in ACTIONS for text in _figures(row[action]))]
        for row in rows
    ]
    return "\n\n".join([_CELLS + _made(rows[-1]), table(header, lines, left=())])


def _figures(pair: Sequence[float]) -> list[str]:
    return [f"{pair[0]:.2f}" if pair[0] < 10 else f"{pair[0]:.1f}", f"{pair[1]:.0f}"]


def _lanes(measured: Results) -> str:
    widths = {width: steps for width, steps in measured.items() if width != "machine"}
    lanes = list(next(iter(widths.values())))
    rows = [
        [f"784-{width}-{width}-10", *(f"{steps[n]:.3g}" for n in lanes)]
        for width, steps in widths.items()
    ]
    header = ["network", *(f"{n} lane{'s' * (n != '1')}" for n in lanes)]
    return "\n\n".join([_LANES + _made(measured), table(header, rows)])


def _steps(measured: Results) -> str:
    seconds = {int(steps): spent for steps, spent in measured.items() if steps != "machine"}
    (first, low), *_, (last, high) = seconds.items()
    slope = 1000 * (high - low) / (last - first)
    rows = [["seconds", *(f"{spent:.1f}" for spent in seconds.values())]]
    told = f"From the first to the last column a step of the pack costs {slope:.2f} ms."
    return "\n\n".join(
        [_STEPS + _made(measured), table(["steps", *(f"{n:,}" for n in seconds)], rows), told]
    )


def _startup(measured: Results) -> str:
    rows = [
        [f"`membench {words}`", *(f"{measured[words][kind]:.2f}" for kind in ("cold", "warm"))]
        for words in measured
        if words != "machine"
    ]
    return "\n\n".join([_STARTUP + _made(measured), table(["command", "cold, s", "warm, s"], rows)])


def _made(measured: Results) -> str:
    return f" Measured on {measured['machine']}."


def _paint(figure: Figure, results: Results) -> None:
    rows = results.get("cells", [])
    x = [row["cells"] for row in rows]
    by_action = [(name, x, [row[action] for row in rows]) for action, name in ACTIONS.items()]
    seconds, memory = (
        [(name, x, [pair[i] for pair in pairs]) for name, x, pairs in by_action] for i in (0, 1)
    )
    widths = {k: v for k, v in results.get("lanes", {}).items() if k != "machine"}
    lanes = [
        (f"width {width}", [int(n) for n in steps], list(steps.values()))
        for width, steps in widths.items()
    ]
    steps = {int(k): v for k, v in results.get("steps", {}).items() if k != "machine"}
    _panel(figure, (0, 1), ("planned cells", "seconds"), seconds)
    _panel(figure, (1, 1), ("planned cells", "peak memory, MB"), memory)
    _panel(figure, (0, 0), ("lanes", "ms a lane-step"), lanes)
    if steps:
        _panel(
            figure,
            (1, 0),
            ("steps", "seconds a pack of 15 lanes"),
            [("width 256", [*steps], [*steps.values()])],
        )


def _panel(
    figure: Figure, place: tuple[int, int], axes_names: tuple[str, str], lines: list[Line]
) -> None:
    column, row = place
    axes: Axes = panel(figure, (0.65 + 4.7 * column, 0.55 + 2.8 * row, 3.85, 2.05))
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (
        axes.xaxis,
        axes.yaxis,
    ):  # the report's figures have no mathematics, in which powers of ten would come
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    for (name, x, y), color in zip(lines, _COLORS, strict=False):
        axes.plot(x, y, color=color, marker="o", ms=4, lw=1.3, label=name)
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": len(_COLORS)}
    axes.legend(frameon=False, fontsize=6.5, borderpad=0, columnspacing=1, handlelength=1, **above)


_SEEN = (
    "Four panels on logarithmic axes. Above: seconds and peak memory of planning, merging and reporting by the number "
    "of planned cells. Below: milliseconds of a lane-step by the number of lanes, a line a width of the network; "
    "seconds of a pack by its number of steps."
)

_HEAD = """\
Made by `python tests/benchmarks/growth.py`, which keeps what it measured in `growth.json`; edits here are lost.

![how membench grows, the tables below as curves](growth.svg)"""

_CELLS = """\
### Planned cells

Each in a fresh process, from its start: `growth.py --part cells`. Every planned cell has a record, one of the \
committed board's under another name, so curves and bits have their real sizes. *Plan and scan* is `membench run` \
up to where the first pack would go to a worker: plugins, torch, plan, store, joined plans, packs. *Merge* moves one \
writer's shard of all records into the sorted files. *Report* is `membench report`. Goals at 100 000 cells, held by \
`tests/test_growth.py`: plan and scan below 30 s and 1 GB, report below 60 s."""

_LANES = """\
### Lanes and width

Milliseconds of a lane-step: the compiled step of `dropout`, batch 100, one thread, \
`growth.py --part engine`."""

_STEPS = """\
### Steps

Seconds of one pack, 15 lanes of the quick suite's `mlp` with `dropout`, one thread, in a process that has trained \
another before: data, compilation, steps and readings, `growth.py --part engine`."""

_STARTUP = """\
### Start-up

Seconds of the whole command, median of five, on the quick suite; *cold* is with an empty cache folder of membench, \
so that all plugins are imported: `growth.py --part startup`."""

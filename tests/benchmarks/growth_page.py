"""Show how membench grows: from the measurements of `growth.py` to Markdown and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from growth_roofline import roofline
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from membench.report.columns import table
from membench.report.svg import panel
from membench.report.svg import render_svg

Results = dict[str, Any]
Line = tuple[str, Sequence[float], Sequence[float]]  #: name, x, y

ACTIONS = {"plan": "plan and scan", "merge": "merge", "report": "report"}
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B")
_SIZE = (9.35, 5.6)  #: inches


def page(results: Results) -> str:
    """Return the part of the README between the markers."""
    sections = {"cells": _cells, "lanes": _lanes, "steps": _steps, "startup": _startup}
    parts = [_HEAD]
    for name, section in sections.items():
        if name in results:
            parts.append(section(results[name]))
    parts.append(roofline())
    return "\n\n".join(parts)


def figure(results: Results) -> bytes:
    """Draw four panels: seconds and memory by cells, a lane-step by lanes, a pack by steps."""
    return render_svg(_SIZE, "How membench grows", _SEEN, lambda figure: _draw(figure, results))


def _cells(rows: list[Results]) -> str:
    header = ["planned cells"]
    for name in ACTIONS.values():
        header += [f"{name}, s", f"{name}, MB"]
    lines = []
    for row in rows:
        line = [f"{row['cells']:,}"]
        for action in ACTIONS:
            seconds, megabytes = row[action]
            line.append(f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}")
            line.append(f"{megabytes:.0f}")
        lines.append(line)
    return "\n\n".join([_CELLS + _machine(rows[-1]), table(header, lines, left=())])


def _lanes(measured: Results) -> str:
    by_width = _values(measured)
    lanes = list(next(iter(by_width.values())))
    header = ["network", *(f"{n} lane" if n == "1" else f"{n} lanes" for n in lanes)]
    rows = []
    for width, milliseconds in by_width.items():
        figures = [f"{milliseconds[n]:.3g}" for n in lanes]
        rows.append([f"784-{width}-{width}-10", *figures])
    return "\n\n".join([_LANES + _machine(measured), table(header, rows)])


def _steps(measured: Results) -> str:
    seconds = {int(steps): spent for steps, spent in _values(measured).items()}
    first, last = min(seconds), max(seconds)
    slope = 1000 * (seconds[last] - seconds[first]) / (last - first)
    header = ["steps", *(f"{steps:,}" for steps in seconds)]
    row = ["seconds", *(f"{spent:.1f}" for spent in seconds.values())]
    remark = f"From the first to the last column a step of the pack costs {slope:.2f} ms."
    return "\n\n".join([_STEPS + _machine(measured), table(header, [row]), remark])


def _startup(measured: Results) -> str:
    rows = []
    for words, seconds in _values(measured).items():
        rows.append([f"`membench {words}`", f"{seconds['cold']:.2f}", f"{seconds['warm']:.2f}"])
    header = ["command", "cold, s", "warm, s"]
    return "\n\n".join([_STARTUP + _machine(measured), table(header, rows)])


def _values(measured: Results) -> Results:
    """Return the measurements without the name of the machine."""
    return {key: value for key, value in measured.items() if key != "machine"}


def _machine(measured: Results) -> str:
    return f" Measured on {measured['machine']}."


def _draw(figure: Figure, results: Results) -> None:
    rows = results.get("cells", [])
    x = [row["cells"] for row in rows]
    seconds: list[Line] = []
    memory: list[Line] = []
    for action, name in ACTIONS.items():
        seconds.append((name, x, [row[action][0] for row in rows]))
        memory.append((name, x, [row[action][1] for row in rows]))
    lanes: list[Line] = []
    for width, steps in _values(results.get("lanes", {})).items():
        lanes.append((f"width {width}", [int(n) for n in steps], list(steps.values())))
    packs = _values(results.get("steps", {}))
    _panel(figure, (0, 1), ("planned cells", "seconds"), seconds)
    _panel(figure, (1, 1), ("planned cells", "peak memory, MB"), memory)
    _panel(figure, (0, 0), ("lanes", "ms a lane-step"), lanes)
    if packs:
        line = ("width 256", [int(steps) for steps in packs], list(packs.values()))
        _panel(figure, (1, 0), ("steps", "seconds a pack of 15 lanes"), [line])


def _panel(
    figure: Figure, place: tuple[int, int], axes_names: tuple[str, str], lines: list[Line]
) -> None:
    column, row = place
    axes: Axes = panel(figure, (0.65 + 4.7 * column, 0.55 + 2.8 * row, 3.85, 2.05))
    axes.set_xscale("log")
    axes.set_yscale("log")
    # The report's figures have no mathematics, which powers of ten would bring.
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    for (name, x, y), color in zip(lines, _COLORS, strict=False):
        axes.plot(x, y, color=color, marker="o", ms=4, lw=1.3, label=name)
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(_COLORS),
        frameon=False,
        fontsize=6.5,
        borderpad=0,
        columnspacing=1,
        handlelength=1,
    )


_SEEN = (
    "Four panels on logarithmic axes. Above: seconds and peak memory of planning, merging and "
    "reporting by the number of planned cells. Below: milliseconds of a lane-step by the number of "
    "lanes, a line a width of the network; seconds of a pack by its number of steps."
)

_HEAD = """\
Made by `python tests/benchmarks/growth.py`, which keeps what it measured in `growth.json`; edits \
here are lost.

![how membench grows, the tables below as curves](growth.svg)"""

_CELLS = """\
### Planned cells

Each in a fresh process, from its start: `growth.py --part cells`. Every planned cell has a \
record, one of the committed board's under another name, so curves and bits have their real sizes. \
*Plan and scan* is `membench run` up to where the first pack would go to a worker: plugins, torch, \
plan, store, joined plans, packs. *Merge* moves one writer's shard of all records into the sorted \
files. *Report* is `membench report`. Goals at 100 000 cells, held by `tests/test_growth.py`: plan \
and scan below 30 s and 1 GB, report below 60 s."""

_LANES = """\
### Lanes and width

Milliseconds of a lane-step: the compiled step of `dropout`, batch 100, one thread, \
`growth.py --part engine`."""

_STEPS = """\
### Steps

Seconds of one pack, 15 lanes of the quick suite's `mlp` with `dropout`, one thread, in a process \
that has trained another before: data, compilation, steps and readings, \
`growth.py --part engine`."""

_STARTUP = """\
### Start-up

Seconds of the whole command, median of five, on the quick suite; *cold* is with an empty cache \
folder of membench, so that all plugins are imported: `growth.py --part startup`."""

"""Show how membench grows: from the measurements of `growth.py` to Markdown and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
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

ACTIONS = {"plan": "plan and scan", "merge": "merge", "report": "report", "status": "status"}
_MANY = 10_000_000  #: cells
_PACK_SECONDS = (1, 10, 60)
_TYPICAL = 10  #: seconds of a pack
_LANES_A_PACK = 15  #: of the suites
_SUMMED = ("cells", "seconds", "driver_seconds")
_CHANGES = {
    "plan": "records are read whole to choose strengths by: last readings and bits apart",
    "merge": "the records of all sixteen files are held at once: one after the other needs a "
    "sixteenth",
    "report": "ranks compare all pairs: 60 000 entries at 10 seeds are 288 GB of differences, in "
    "blocks or not at all; a page of 60 000 rows needs a top and pages",
}
_DRIVER = (
    "after each pack it looks at every row that waits and every program in the queue, 120 000 "
    "there: an index by cell, a heap; the plan, 1.2 GB then, is rewritten whole each minute"
)
_RAY_DRIVER = (
    "one driver calls each worker once a second, has a thread and a pipe for each, and writes all "
    "records: `--shard` with `--engine ray`, a driver a shard, or rarer calls"
)
_DISK = "more than git takes: records beside the repository, the plan and the page in it"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B")
_SIZE = (9.35, 5.6)  #: inches


def page(results: Results) -> str:
    """Return the part of the README between the markers."""
    parts = [_HEAD]
    if "cells" in results:
        parts.append(_cells(results["cells"]))
    if {"packs", "ray"} <= results.keys():
        parts.append(_packs(results["packs"], results["ray"]))
        if "cells" in results:
            parts.append(_reckoned(results["cells"], results["packs"], results["ray"]))
    for name, section in {"lanes": _lanes, "steps": _steps, "startup": _startup}.items():
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
            if action not in row:
                line += ["", ""]
                continue
            seconds, megabytes = row[action]
            line.append(f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}")
            line.append(f"{megabytes:.0f}")
        lines.append(line)
    return "\n\n".join([_CELLS + _machines(rows), table(header, lines, left=())])


def _packs(measured: Results, cluster: Results) -> str:
    local, shards, merge = measured["local"], measured["shards"], measured["merge"]
    together = {name: sum(shard[name] for shard in shards) for name in _SUMMED}
    together["megabytes"] = max(shard["megabytes"] for shard in shards)
    header = ["", "packs", "seconds", "records a second", "driver, CPU ms a pack", "memory, MB"]
    rows = []
    runs = {
        "one run": local,
        f"{len(shards)} shards, one after the other": together,
        "merge of the shards": merge,
        "one run in a Ray cluster": cluster,
    }
    for name, run in runs.items():
        row = [name, f"{run['cells']:,}", f"{run['seconds']:.0f}"]
        row.append(f"{run['cells'] / run['seconds']:.0f}")
        row.append(f"{_driver_ms(run):.2f}" if "driver_seconds" in run else "")
        row.append(f"{run['megabytes']:.0f}")
        rows.append(row)
    remark = _PACKS_REMARK.format(
        start=median(shard["whole_seconds"] - shard["seconds"] for shard in shards),
        share=100 * (together["cells"] / local["cells"] - 1),
    )
    full = []
    for seconds in _PACK_SECONDS:
        here = seconds / (_driver_ms(local) / 1000)
        there = seconds / _cluster_seconds(cluster, seconds)
        full.append([f"{seconds}", *(f"{float(f'{n:.2g}'):,.0f}" for n in (here, there))])
    header_full = ["seconds of a pack", "local workers that fill a driver", "in a Ray cluster"]
    low, high = measured["load"]
    head = _PACKS.format(low=low, high=high) + _machine(measured)
    low, high = cluster["load"]
    ray = _RAY.format(low=low, high=high, call=1000 * cluster["call_seconds"]) + _machine(cluster)
    parts = [head, table(header, rows), remark, ray, _SATURATION]
    return "\n\n".join([*parts, table(header_full, full, left=())])


def _cluster_seconds(cluster: Results, seconds: float) -> float:
    """Return the seconds of a core that a driver spends on a pack in a cluster.

    Args:
        cluster: what was measured there.
        seconds: that the pack takes; its worker is called once a second.
    """
    return _driver_ms(cluster) / 1000 + seconds * cluster["call_seconds"]


def _driver_ms(run: Results) -> float:
    """Return the milliseconds of a core that the driver spends on a pack."""
    return 1000 * run["driver_seconds"] / run["cells"]


def _reckoned(rows: list[Results], packs: Results, cluster: Results) -> str:
    """Return the table of what 10 million cells would take, by the slope of the last two sizes."""
    before, last = rows[-2], rows[-1]
    cells = last["cells"]
    lines = []
    for action, change in _CHANGES.items():
        reckoned = []
        for was, now in zip(before[action], last[action], strict=True):
            slope = (now - was) / (cells - before["cells"])
            reckoned.append(now + slope * (_MANY - cells))
        seconds, megabytes = last[action]
        measured = f"{seconds:.0f} s, {megabytes / 1000:.1f} GB"
        most = f"{reckoned[0] / 60:.0f} min, {reckoned[1] / 1000:.0f} GB"
        lines.append([ACTIONS[action], measured, most, change])
    core = _driver_ms(packs["local"]) / 1000 / _LANES_A_PACK  # seconds a cell
    driver = [f"{core * cells:.0f} s of a core", f"{core * _MANY / 60:.0f} min of a core"]
    lines.append([f"driver, packs of {_LANES_A_PACK}", *driver, _DRIVER])
    core = _cluster_seconds(cluster, _TYPICAL) / _LANES_A_PACK
    driver = [f"{core * cells:.0f} s of a core", f"{core * _MANY / 60:.0f} min of a core"]
    lines.append([f"the same in a Ray cluster, {_TYPICAL} s each", *driver, _RAY_DRIVER])
    size = packs["merge"]["bytes"] / packs["merge"]["cells"]
    disk = [f"{size * number / 1e9:.1f} GB" for number in (cells, _MANY)]
    lines.append(["records on disk", *disk, _DISK])
    header = ["", f"{cells:,} cells", f"{_MANY:,} cells, reckoned", "what has to change first"]
    return "\n\n".join([_RECKONED, table(header, lines, left=(0, 3))])


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


def _machines(rows: list[Results]) -> str:
    """Say where rows were measured, if not all in one place which of them."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        load = f", load {row['load']:.0f}" if row.get("load", 0) > 3 else ""
        cells.setdefault(row["machine"] + load, []).append(f"{row['cells']:,}")
    if len(cells) == 1:
        return _machine(rows[-1])
    places = [f"{machine} (rows {'; '.join(of_it)})" for machine, of_it in cells.items()]
    return f" Measured on {'; on '.join(places)}."


def _machine(measured: Results) -> str:
    return f" Measured on {measured['machine']}."


def _draw(figure: Figure, results: Results) -> None:
    rows = results.get("cells", [])
    seconds: list[Line] = []
    memory: list[Line] = []
    for action, name in ACTIONS.items():
        with_it = [row for row in rows if action in row]
        x = [row["cells"] for row in with_it]
        seconds.append((name, x, [row[action][0] for row in with_it]))
        memory.append((name, x, [row[action][1] for row in with_it]))
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

Each in a fresh process, from its start: `growth.py --part cells`. Seconds are of a core, of the \
process and its children, so that other work on the machine counts less. Memory is the process's \
own. Every planned cell has a record, one of the committed board's under another name, with its \
bits. *Plan \
and scan* is `membench run` up to where the first pack would go to a worker: plugins, torch, plan, \
store, joined plans, packs. *Merge* moves one writer's shard of all records into the sorted files. \
*Report* and *status* are these commands. Goals at 100 000 cells, held by `tests/test_growth.py`: \
plan and scan below 20 s and 600 MB, merge below 15 s, report below 45 s, status below 5 s."""

_PACKS = """\
### Packs and shards

`membench run` on a suite whose packs are one cell each and whose trainer returns a committed \
record at once, two workers: `growth.py --part packs`. So all is measured but the step: queue, \
messages, a durable write a pack, the second phase, the rows that get complete. The machine's load \
was {low:.0f} to {high:.0f}: above three, it had other work, and the seconds say little; the \
driver's CPU time is its own."""

_PACKS_REMARK = """\
A shard starts in {start:.0f} s (median; the same plan, cut) and trains the baseline too: here the \
shards have {share:.0f}% more packs than the one run. Most of a driver's memory is torch's."""

_RAY = """\
The cluster (`growth.py --part ray`) has a head and two nodes of one core each, all on one \
machine. The load was {low:.0f} to {high:.0f}. A call to a worker that has nothing to tell costs \
the driver {call:.2f} ms of a core; one that trains is called once a second, whatever it has to \
tell."""

_SATURATION = """\
One driver is one core: Python runs one of its threads at a time. It is full where as many workers \
end packs as it can take: seconds of a pack over its seconds a pack, and in a cluster over those \
of the calls too; reckoned, with all of a core to itself. Left out is a look at all workers when \
one has news, 7 us for each, which all news share that came meanwhile. A pack of `quick` takes \
some 10 s on a CPU. Beyond that, shards have drivers of their own, in one cluster too."""

_RECKONED = """\
### Ten million cells

Reckoned from the slope between the last two rows of the first table, not measured: it holds if \
all grows as it does there; what grows faster is named. The driver and the disk are those of the \
stub packs."""

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

"""Filters of a convolutional network's first layer, after real and after random labels.

Arpit et al., "A Closer Look at Memorization in Deep Networks", ICML 2017, arXiv:1706.05394, section
3.1 and figure 2, which shows pictures only. The number beside them is the share of a filter's power
at low spatial frequencies (below a quarter of a cycle per pixel), over the share that white noise
has there. Random inputs are the control: any sum of natural images is smooth, so that a filter may
be without having found anything that images share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from membench import Architecture
from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.errors import MembenchError
from membench.studies import mean_interval
from membench.studies import paired
from membench.studies import select

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor
    from torch import nn

    from membench.records import Record
    from membench.studies import Results

SIGNALS = ("real", "randY", "randX")
ROWS, COLUMNS = 5, 4  #: filters of each signal in the figure
PROBE = "filters"


@dataclass(frozen=True)
class Filters:
    """What the runs of one signal ended with; [seeds] each."""

    signal: str
    numbers: dict[str, tuple[float, ...]]  #: the probe's: concentration, initial, change, moved
    fit: tuple[float, ...]  #: accuracy on the labels as given
    picture: NDArray[np.float64]  #: [k, c, h, w], of the first seed

    def mean(self, name: str) -> tuple[float, float, float]:
        return mean_interval(self.numbers[name])


def read(signal: str, records: Sequence[Record]) -> Filters:
    probes = [r.probes[PROBE] for r in records]
    names = ("concentration", "initial", "change", "moved")
    numbers = {name: tuple(p[name][-1] for p in probes) for name in names}
    shape = [int(side) for side in probes[0]["shape"][-1]]
    picture = np.reshape(probes[0]["picture"][-1], (-1, *shape))
    return Filters(signal, numbers, tuple(r.train[-1] for r in records), picture)


def analyse(results: Results) -> Finding:
    """Compare the first arm's three signals."""
    records = next(iter(results.values()))
    runs = {s: select(records, signal=s) for s in SIGNALS}
    seeds = sorted(set.intersection(*({r.seed for r in own} for own in runs.values())))
    if not seeds:
        raise MembenchError(
            "filters: no seed has all three signals; see the reasons of the failed cells"
        )
    real, labels, inputs = (read(s, [r for r in runs[s] if r.seed in seeds]) for s in SIGNALS)
    method = f"paired t over {len(seeds)} seeds"

    def differ(name: str, a: Filters, x: str, b: Filters, y: str) -> Test:
        ends = paired(a.numbers[x], b.numbers[y])
        return Test(f"concentration, {name}", *ends, method=method, freedom=len(seeds) - 1)

    end, start = "concentration", "initial"
    tests = (
        differ("real - initial weights", real, end, real, start),
        differ("randY - initial weights", labels, end, labels, start),
        differ("randY - randX", labels, end, inputs, end),
    )
    found = [real, labels, inputs]
    lost = sum(r.status != "ok" for own in results.values() for r in own)
    notes = (
        "Low frequencies say that a filter is smooth, not that it is an edge or a stroke: the "
        "picture is for that.",
        *([f"{lost} cells did not finish and are left out, with their partners."] if lost else []),
    )
    return Finding(tests, table(found), partial(draw, found), caption(found, len(seeds)), notes)


def table(found: list[Filters]) -> tuple[tuple[str, ...], ...]:
    head: tuple[str, ...] = (
        "training set",
        "labels fitted",
        "concentration",
        "at step 0",
        "of the change",
        "change / initial size",
    )
    rows = [head]
    for f in found:
        middle = [
            _with_interval(f.mean(name)) for name in ("concentration", "initial", "change", "moved")
        ]
        rows.append((f.signal, f"{100 * np.mean(f.fit):.1f} %", *middle))
    return tuple(rows)


def _with_interval(numbers: tuple[float, float, float]) -> str:
    value, low, high = numbers
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def caption(found: list[Filters], seeds: int) -> str:
    return (
        f"The {ROWS * COLUMNS} filters of the first layer that training changed most, for each "
        "training set (first seed; black to white: each filter's own range, symmetric about zero, "
        "first channel). Right: power at low spatial frequencies in units of white noise's (mean "
        f"over filters, 95 % interval over {seeds} seeds); hollow: before training. Look at: "
        "strokes and blobs after real and random labels, none after random inputs."
    )


def mosaic(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join ROWS x COLUMNS images of [k, h, w], each over its largest value, NaN between them."""
    images = images[: ROWS * COLUMNS]
    framed = np.pad(
        images / np.abs(images).max((1, 2), keepdims=True),
        ((0, 0), (0, 1), (0, 1)),
        constant_values=np.nan,
    )
    n, h, w = framed.shape
    every = np.concatenate([framed, np.full((ROWS * COLUMNS - n, h, w), np.nan)])
    return (
        every.reshape(ROWS, COLUMNS, h, w).swapaxes(1, 2).reshape(ROWS * h, COLUMNS * w)[:-1, :-1]
    )


def draw(found: list[Filters], figure: Figure) -> None:
    *panels, axes = figure.subplots(1, len(found) + 1, width_ratios=(*(1 for _ in found), 1.1))
    for panel, f in zip(panels, found, strict=True):
        panel.imshow(mosaic(f.picture[:, 0]), cmap="gray", vmin=-1, vmax=1, interpolation="none")
        panel.set_title(f"after {f.signal}")
        panel.set_axis_off()
    for i, f in enumerate(found):
        for name, face, shift in (("concentration", "#1a1a1a", -0.1), ("initial", "white", 0.15)):
            value, low, high = f.mean(name)
            style = {
                "fmt": "o",
                "color": "#1a1a1a",
                "markerfacecolor": face,
                "capsize": 3,
                "markersize": 5,
            }
            axes.errorbar([i + shift], [value], [[value - low], [high - value]], **style)
    axes.axhline(1, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set(
        ylabel="low-frequency power / white noise's", xlim=(-0.5, len(found) - 0.5), ylim=(0, None)
    )
    axes.set_xticks(range(len(found)), [f.signal for f in found])


def small(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build filters of 8x8 at a stride of 4, as in `cnn` but large enough to be looked at."""
    import torch.nn.functional as F
    from torch import nn

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels, height, width = shape
            self.places = ((height - 8) // 4 + 1) * ((width - 8) // 4 + 1)
            self.stem = nn.Linear(64 * channels, 32)
            self.neck = nn.Linear(32 * self.places, 128)
            self.head = nn.Linear(128, num_classes)

        def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
            # [n, rows, columns, c, 8, 8]
            patches = x.permute(0, 2, 3, 1).unfold(1, 8, 4).unfold(2, 8, 4)
            patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(1, 2).flatten(2)
            h = tap(F.relu(self.stem(patches)))
            h = tap(F.relu(self.neck(h.flatten(1))))
            return self.head(h)

    return Small()


def papers(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build the paper's network for CIFAR-10, without its batch normalisation."""
    import torch.nn.functional as F
    from torch import nn

    class Papers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(shape[0], 200, 5), nn.Conv2d(200, 200, 5)
            self.third, self.fourth = nn.Linear(200, 384), nn.Linear(384, 192)
            self.head = nn.Linear(192, num_classes)

        def forward(self, x: Tensor, tap: Callable[..., Tensor]) -> Tensor:
            h = x[:, :, 2:-2, 2:-2]
            for conv in (self.first, self.second):
                h = F.max_pool2d(tap(F.relu(conv(h))), 3)
            h = h.flatten(1)
            for layer in (self.third, self.fourth):
                h = tap(F.relu(layer(h)))
            return self.head(h)

    return Papers()


@hookimpl
def register() -> list[Study]:
    names = ("filters-8x8", "cnn-200")
    networks = (
        Architecture(
            names[0], small, summary="32 filters of 8x8 at a stride of 4, a linear layer of 128."
        ),
        Architecture(
            names[1], papers, summary="Two convolutions of 200 5x5 filters, layers of 384 and 192."
        ),
    )
    quick = Arm(
        "mnist5k",
        "mnist5k",
        names[:1],
        SIGNALS,
        tuple(range(5)),
        Split(1000, 1000, 100),
        Recipe(lr=0.05, batch=100, epochs=60),
        probes=(PROBE,),
        read=(60,),
    )
    paper = Arm(
        "cifar10",
        "cifar10",
        names[1:],
        SIGNALS,
        tuple(range(5)),
        Split(10000, 45000, 5000),
        Recipe(lr=0.01, batch=128, epochs=100),
        probes=(PROBE,),
        read=(100,),
        width=1,
    )
    claim = "The first layer learns structured filters from real data, and from random labels too"
    scaled = (
        "mnist5k with 1000 training images instead of CIFAR-10; 32 filters of 8x8, no second "
        "convolution, no batch normalisation. Both scales lack the paper's batch normalisation, "
        "and `paper` the halving of the rate"
    )
    study = Study(
        "filters",
        {"quick": (quick,), "paper": (paper,)},
        analyse,
        claim,
        "Fig. 2",
        records=networks,
        scaled=scaled,
    )
    return [study]

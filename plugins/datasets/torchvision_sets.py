"""Six standard image sets, read by torchvision from files on disk, fetched only when asked to.

`membench data fetch NAME` brings the files; those that torchvision, or Debian's package
dataset-fashion-mnist, has put on this machine are found too. Names, addresses and MD5 sums are
torchvision's own; every load checks the sums.
"""

import gzip
import shutil
import tarfile
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from membench import Arrays
from membench import Dataset
from membench import hookimpl
from membench.data import data_folder
from membench.errors import MembenchError
from membench.fetching import Progress
from membench.fetching import Remote
from membench.fetching import fetch_files
from membench.fetching import md5

#: where Debian keeps data sets, a folder each, by the names that we use
SYSTEM = Path("/usr/share/datasets")

#: Debian's files are the same with other gzip headers: with name and time put back (1504176606 for
#: training, 1504176627 for test) their sums are torchvision's. Sum by torchvision -> sum in
#: dataset-fashion-mnist 0.0~git20200523.
REPACKED = {
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "cf8536b0aa1a6ac5fa3f23001093305c",
    "25c81989df183df01b3e8a0aad5dffbe": "10bea18fdb374794d4bb42e356e600c9",
    "bef4ecab320f06d8554ea6380940ec79": "f78720b4224f21cce2f2ccf2d7a94c9a",
    "bb300cfdad3c16e7a12a480ee83cd310": "0d30e22e447f3c33dab9ed536400ac01",
}

Part = tuple[Any, Any]  #: images as [n, c, h, w], labels as [n]; arrays or lists


@dataclass(frozen=True)
class Format:
    """How the files of one family of torchvision's classes are had and read."""

    remote: Callable[[Any], list[Remote]]  #: what is downloaded
    local: Callable[[Any], dict[str, str]]  #: what is read: path -> MD5
    inside: Callable[[Any], str]  #: where torchvision keeps these paths under its own root
    #: training and test part, from the folder that the paths begin in
    read: Callable[[Any, Path], Iterator[Part]]
    shape: tuple[int, int, int]  #: of an image, [c, h, w]


@dataclass(frozen=True)
class Known:
    """One of torchvision's sets."""

    format: Format
    torchvision: str  #: the class
    num_classes: int
    summary: str
    source: str

    @property
    def cls(self) -> Any:
        """The class; importing it takes seconds."""
        from torchvision import datasets

        return getattr(datasets, self.torchvision)


def load(name: str, folder: Path) -> Arrays:
    """Load the whole set, x uint8.

    Raises:
        FileNotFoundError: it is not at hand; says how to get it.
        MembenchError: a file is damaged; says the same.
    """
    known = KNOWN[name]
    cls, hint = known.cls, f"membench data fetch {name}"
    if folder.parent != data_folder():
        hint += f" --data-dir {folder.parent}"
    root = _at_hand(name, known, folder, hint)
    for path, expected in known.format.local(cls).items():
        if md5(root / path) not in (expected, REPACKED.get(expected)):
            raise MembenchError(
                f"{root / path} is damaged, its MD5 is not {expected}; a whole one: {hint}"
            )
    train, test = [
        (np.ascontiguousarray(x, dtype=np.uint8), np.asarray(y, dtype=np.int64))
        for x, y in known.format.read(cls, root)
    ]
    return Arrays(*train, known.num_classes, test=test)


def fetch(name: str, folder: Path, progress: Progress) -> None:
    """Download what is missing or damaged, and unpack what torchvision reads unpacked."""
    known = KNOWN[name]
    remote = known.format.remote(known.cls)
    fetch_files(folder, remote, progress)
    for file in remote:
        if tarfile.is_tarfile(folder / file.name):
            with tarfile.open(folder / file.name) as archive:
                archive.extractall(folder, filter="data")
            (folder / file.name).unlink()


def _at_hand(name: str, known: Known, folder: Path, hint: str) -> Path:
    """Find the first place that holds all files: ours, a root of torchvision's, the system's."""
    wanted, inside = known.format.local(known.cls), known.format.inside(known.cls)
    for root in (folder, folder / inside, folder.parent / inside, SYSTEM / name):
        if all((root / path).is_file() for path in wanted):
            return root
    missing = next(path for path in wanted if not (folder / path).is_file())
    raise FileNotFoundError(f"there is no {folder / missing}; to get it: {hint}")


def _idx_sums(cls: Any) -> dict[str, str]:
    return dict(cls.resources)


def _idx_remote(cls: Any) -> list[Remote]:
    return [
        Remote(file, tuple(f"{mirror}{file}" for mirror in cls.mirrors), sum_)
        for file, sum_ in cls.resources
    ]


def _idx(cls: Any, root: Path) -> Iterator[Part]:
    """Read the training and the test part.

    torchvision reads unpacked files; the packed ones have known sums, so they are what is kept.
    """
    with TemporaryDirectory(prefix="membench-") as unpacked:
        raw = Path(unpacked, cls.__name__, "raw")
        raw.mkdir(parents=True)
        for file in _idx_sums(cls):
            with (
                gzip.open(root / file) as packed,
                (raw / file.removesuffix(".gz")).open("wb") as plain,
            ):
                shutil.copyfileobj(packed, plain)
        for train in (True, False):
            part = cls(unpacked, train=train, download=False)
            yield part.data.numpy()[:, None], part.targets.numpy()


def _cifar_sums(cls: Any) -> dict[str, str]:
    meta = (cls.meta["filename"], cls.meta["md5"])
    return {
        f"{cls.base_folder}/{file}": sum_ for file, sum_ in (*cls.train_list, *cls.test_list, meta)
    }


def _cifar(cls: Any, root: Path) -> Iterator[Part]:
    for train in (True, False):
        part = cls(root, train=train, download=False)
        yield part.data.transpose(0, 3, 1, 2), part.targets


def _svhn_remote(cls: Any) -> list[Remote]:
    return [
        Remote(file, (url,), sum_)
        for url, file, sum_ in (cls.split_list[split] for split in ("train", "test"))
    ]


def _svhn(cls: Any, root: Path) -> Iterator[Part]:
    for split in ("train", "test"):
        part = cls(root, split=split, download=False)
        yield part.data, part.labels


RGB = (3, 32, 32)
IDX = Format(_idx_remote, _idx_sums, lambda cls: f"{cls.__name__}/raw", _idx, (1, 28, 28))
CIFAR = Format(
    lambda cls: [Remote(cls.filename, (cls.url,), cls.tgz_md5)],
    _cifar_sums,
    lambda cls: "",
    _cifar,
    RGB,
)
SVHN = Format(
    _svhn_remote, lambda cls: {f.name: f.md5 for f in _svhn_remote(cls)}, lambda cls: "", _svhn, RGB
)

TINY_IMAGES = (
    'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, '
    "Toronto, 2009"
)
KNOWN = {
    "mnist": Known(
        IDX,
        "MNIST",
        10,
        "60000 handwritten digits, 28x28, and 10000 for test.",
        'LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, '
        "1998",
    ),
    "fashion-mnist": Known(
        IDX,
        "FashionMNIST",
        10,
        "60000 pictures of clothes and shoes, 28x28, and 10000 for test.",
        "Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747",
    ),
    "kmnist": Known(
        IDX,
        "KMNIST",
        10,
        "60000 handwritten Japanese letters, 28x28, and 10000 for test.",
        'Clanuwat et al., "Deep Learning for Classical Japanese Literature", 2018, '
        "arXiv:1812.01718",
    ),
    "cifar10": Known(
        CIFAR,
        "CIFAR10",
        10,
        "50000 colour photographs, 32x32, 10 classes, 10000 for test.",
        TINY_IMAGES,
    ),
    "cifar100": Known(
        CIFAR,
        "CIFAR100",
        100,
        "50000 colour photographs, 32x32, 100 classes, 10000 for test.",
        TINY_IMAGES,
    ),
    "svhn": Known(
        SVHN,
        "SVHN",
        10,
        "73257 house numbers photographed in streets, 32x32, and 26032 for test.",
        'Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", '
        "NIPS workshop, 2011",
    ),
}


@hookimpl
def register() -> list[Dataset]:
    return [
        Dataset(
            name,
            partial(load, name),
            partial(fetch, name),
            known.summary,
            known.source,
            shape=known.format.shape,
            num_classes=known.num_classes,
        )
        for name, known in KNOWN.items()
    ]

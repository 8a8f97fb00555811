"""The standard sets are read in their true formats, found in folders, refused when damaged."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from support.cli import Cli
from support.engine import registry

from membench.api import Arrays
from membench.data import arrays_digest
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.rng import Draws
from membench.rng import word

datasets = pytest.importorskip("torchvision.datasets")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IDX = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
NAMES = (*IDX, *CIFAR, "svhn")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's data nor the system's is seen."""
    monkeypatch.setenv("MEMBENCH_DATA", str(tmp_path))
    monkeypatch.setitem(
        registry().dataset("mnist").load.func.__globals__, "SYSTEM", tmp_path / "system"
    )


def some(
    name: str, n: int, channels: int, size: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """[n, c, size, size] uint8 and [n] labels, as many of each class as there can be."""
    draw = Draws(word(name, n))
    x = (
        (draw.uniform("x", n * channels * size**2) * 256)
        .astype(np.uint8)
        .reshape(n, channels, size, size)
    )
    return x, draw.permutation("y", n) % classes


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_idx(cls: type, folder: Path, patch: Callable, parts: dict) -> None:
    """Big-endian header, then bytes; packed."""
    sums = []
    for part, (x, y) in zip(("train", "t10k"), parts.values(), strict=True):
        for kind, header, array in (
            ("images-idx3", struct.pack(">4i", 0x803, len(x), 28, 28), x),
            ("labels-idx1", struct.pack(">2i", 0x801, len(y)), y.astype(np.uint8)),
        ):
            path = folder / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
            sums.append((path.name, md5(path)))
    patch(cls, "resources", sums)


def write_cifar(cls: type, folder: Path, patch: Callable, parts: dict) -> None:
    """Pickled dicts of flat rows; five training batches, or one with `fine_labels`."""
    base = folder / cls.base_folder
    base.mkdir()
    for (x, y), table in zip(parts.values(), ("train_list", "test_list"), strict=True):
        names = [file for file, _ in getattr(cls, table)]
        rows = np.array_split(np.arange(len(x)), len(names))
        for file, mine in zip(names, rows, strict=True):
            labels = "fine_labels" if cls.__name__ == "CIFAR100" else "labels"
            batch = {"data": x[mine].reshape(len(mine), -1), labels: y[mine].tolist()}
            (base / file).write_bytes(pickle.dumps(batch, protocol=2))
        patch(cls, table, [[file, md5(base / file)] for file in names])
    meta = base / cls.meta["filename"]
    meta.write_bytes(pickle.dumps({cls.meta["key"]: ["a", "b"]}, protocol=2))
    patch(cls, "meta", {**cls.meta, "md5": md5(meta)})


def write_svhn(cls: type, folder: Path, patch: Callable, parts: dict) -> None:
    """MATLAB files, [size, size, channels, n]; the digit 0 has label 10."""
    table = {}
    for split, (x, y) in parts.items():
        path = folder / f"{split}_32x32.mat"
        labels = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
        scipy.io.savemat(path, {"X": x.transpose(2, 3, 1, 0), "y": labels})
        table[split] = [f"http://127.0.0.1/{path.name}", path.name, md5(path)]
    patch(cls, "split_list", {**cls.split_list, **table})


def write(name: str, folder: Path, patch: Callable) -> Arrays:
    """Write a tiny set in its true format, its sums in torchvision's tables; return its content."""
    folder.mkdir(parents=True, exist_ok=True)
    cls = getattr(datasets, {**IDX, **CIFAR, "svhn": "SVHN"}[name])
    shape = (1, 28) if name in IDX else (3, 32)
    classes = 100 if name == "cifar100" else 10
    # a set in which a class has no image is refused
    parts = {
        "train": some(name, classes + 2, *shape, classes),
        "test": some(name, 6, *shape, classes),
    }
    writer = write_idx if name in IDX else write_cifar if name in CIFAR else write_svhn
    writer(cls, folder, patch, parts)
    return Arrays(*parts["train"], classes, test=parts["test"])


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_read_as_it_was_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write(name, tmp_path / name, monkeypatch.setattr)
    arrays = load_arrays(registry().dataset(name))
    assert arrays.x.dtype == np.uint8 and arrays.x.flags.c_contiguous
    assert arrays.num_classes == expected.num_classes
    assert arrays_digest(arrays) == arrays_digest(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_that_is_not_at_hand_says_how_to_get_it_and_fetches_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket", None)
    with pytest.raises(
        FileNotFoundError,
        match=f"there is no {tmp_path}/.*; to get it: membench data fetch {name}$",
    ):
        registry().dataset(name).load(tmp_path / name)
    with pytest.raises(
        FileNotFoundError, match=f"membench data fetch {name} --data-dir {tmp_path / 'b'}$"
    ):
        registry().dataset(name).load(tmp_path / "b" / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["kmnist", "cifar100", "svhn"])
def test_a_damaged_file_is_named_and_never_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(name, tmp_path / name, monkeypatch.setattr)
    victim = max(
        (p for p in (tmp_path / name).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(
        MembenchError, match=f"{victim} is damaged, its MD5 .*: membench data fetch {name}$"
    ):
        load_arrays(registry().dataset(name))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fashion-mnist", "FashionMNIST/raw"),  # a root of torchvision's as --data-dir
        ("fashion-mnist", "fashion-mnist/FashionMNIST/raw"),
        ("fashion-mnist", "system/fashion-mnist"),
        ("cifar10", "."),
        ("svhn", "."),
    ],
)
def test_files_are_found_where_torchvision_and_the_system_keep_them(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write(name, tmp_path / place, monkeypatch.setattr)
    assert arrays_digest(load_arrays(registry().dataset(name))) == arrays_digest(expected)


def test_an_archive_is_unpacked_and_then_no_longer_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write("cifar10", tmp_path / "made", monkeypatch.setattr)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    archive = folder / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    registry().dataset("cifar10").fetch(folder, lambda done, total: None)
    assert [p.name for p in folder.iterdir()] == ["cifar-10-batches-py"]
    assert arrays_digest(load_arrays(registry().dataset("cifar10"))) == arrays_digest(expected)


@pytest.mark.slow
@pytest.mark.skipif(
    not DEBIAN.exists(), reason="needs Debian's package dataset-fashion-mnist: apt-get install it"
)
def test_the_real_fashion_mnist_is_read_from_debians_package(cli: Cli) -> None:
    arrays = load_arrays(registry().dataset("fashion-mnist"), DEBIAN.parent)
    assert (arrays.x.shape, arrays.test[0].shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert np.bincount(arrays.y).tolist() == [6000] * 10
    assert np.bincount(arrays.test[1]).tolist() == [1000] * 10
    assert (
        arrays_digest(arrays) == "b42e0f3189f494f730119201c9e1a41654a875ffd564ea07b7cf8032d5327c02"
    )
    before = os.listdir(DEBIAN)
    code, out, _ = cli("data", "verify", "fashion-mnist", "--data-dir", str(DEBIAN.parent))
    assert code == 0
    assert "60000 + 10000 images of 1x28x28, 10 classes" in " ".join(out.split())
    assert os.listdir(DEBIAN) == before

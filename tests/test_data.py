"""Splits and signals: what each run trains on, what is random in it, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.engine import blobs
from support.engine import own_cache
from support.engine import registry
from support.suites import shipped_suite

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Draw
from membench.api import Signal
from membench.api import Split
from membench.data import RunData
from membench.data import SplitData
from membench.data import all_images
from membench.data import arrays_digest
from membench.data import check_arrays
from membench.data import draw_run
from membench.data import load_arrays
from membench.data import shuffles
from membench.errors import MembenchError
from membench.rng import Draws
from membench.rng import word

SPLIT = Split(test=300, train=200, validation=100)
N = SPLIT.train
ALL = (("real", None), ("randY", None), ("mixed", 0.4), ("randX", None))


@pytest.fixture(scope="module")
def digits() -> Arrays:
    return load_arrays(registry().dataset("digits"))


@pytest.fixture(scope="session")
def mnist() -> Arrays:
    """Return the data set, parsed once a session and then read back."""
    with own_cache() as folder:
        arrays, again = (load_arrays(registry().dataset("mnist5k")) for _ in range(2))
    assert (folder / "data" / "mnist5k" / "mnist5k.npy").exists()
    assert arrays_digest(arrays) == arrays_digest(again)
    return arrays


def draw(
    arrays: Arrays,
    signal: str | Signal = "real",
    level: float | None = None,
    task: str = "digits/mlp",
    seed: int = 0,
) -> RunData:
    signal = registry().signal(signal) if isinstance(signal, str) else signal
    return draw_run(arrays, SPLIT, signal, level, task, seed)


def images(arrays: Arrays, data: SplitData) -> np.ndarray:
    return all_images(arrays)[data.rows] if data.x is None else data.x


def true_ids(arrays: Arrays, run: RunData) -> np.ndarray:
    """Read a run's class permutation, the new id of each real class, off its test set."""
    ids = np.full(arrays.num_classes, -1)
    ids[arrays.y[run.test.rows]] = run.test.y
    assert np.array_equal(ids[arrays.y[run.test.rows]], run.test.y)
    return ids


# --- splits --------------------------------------------------------------------------------------


def test_train_validation_and_test_share_no_image(digits: Arrays) -> None:
    for seed in range(5):
        run = draw(digits, seed=seed)
        rows = [set(data.rows.tolist()) for data in (run.train, run.val, run.test)]
        assert [len(r) for r in rows] == [200, 100, 300]
        assert not any(a & b for a, b in combinations(rows, 2))


def test_the_test_set_is_the_same_for_all_seeds_signals_and_architectures_of_a_data_set(
    digits: Arrays,
) -> None:
    fixed = draw(digits).test.rows
    for run in (
        draw(digits, seed=1),
        draw(digits, "randY"),
        draw(digits, "mixed", 0.4),
        draw(digits, task="digits/cnn"),
    ):
        assert np.array_equal(run.test.rows, fixed)


def test_the_test_set_holds_each_class_equally_often(digits: Arrays) -> None:
    counts = np.bincount(digits.y[draw(digits).test.rows], minlength=10)
    assert counts.tolist() == [30] * 10


#: SHA-256 of the rows of training, validation and test, by seed. Taken before rare classes were
#: looked after: a balanced data set is split as it always was.
BALANCED = {
    ("digits/small-mlp", Split(400, 30, 200)): (
        "092f342a3790dee9e0ae5422c525fb5c72bcd32c944da4f58d0cd91602259a8a"
    ),
    ("digits/cnn", Split(718, 539, 539)): (
        "070198f10b3a19eef65d1788b82ad63ab27adb08620a59b61dc80a22bf01be50"
    ),
    ("mnist5k/mlp", Split(2000, 1000, 1000)): (
        "4c65a1ead97305c58196ca30f190527ea6436b65dddcf03e46a6cb91b27c9511"
    ),
    ("mnist5k/cnn", Split(2000, 1000, 1000)): (
        "266a609329408515084a81e5d082269ecc2fffbecb3845f7fc1951a2fd451963"
    ),
}


@pytest.mark.parametrize(("task", "split"), BALANCED)
def test_a_balanced_data_set_keeps_its_split_bit_for_bit(
    digits: Arrays, task: str, split: Split
) -> None:
    arrays = digits
    if task.startswith("mnist5k"):  # only its labels enter, in whole hundreds of each class
        y = np.repeat(np.arange(10), 500)
        arrays = Arrays(np.zeros((5000, 1, 1, 1), np.uint8), y, 10)
    sha = hashlib.sha256()
    for seed in (0, 1, 2, 3, 7, 12, 1000, 1035):
        rows = _rows(arrays, split, task, seed)
        for name in ("train", "val", "test"):
            sha.update(rows[name].astype("<i8").tobytes())
    assert sha.hexdigest() == BALANCED[task, split]


def with_counts(*counts: int) -> Arrays:
    """A data set of tiny images with so many of each class, in the order of the classes."""
    y = np.repeat(np.arange(len(counts)), counts)
    return Arrays(np.zeros((len(y), 1, 1, 1), np.uint8), y, len(counts))


def _rows(
    arrays: Arrays, split: Split, task: str = "d/mlp", seed: int = 0
) -> dict[str, np.ndarray]:
    run = draw_run(arrays, split, registry().signal("real"), None, task, seed)
    # the order of training examples is shuffled anew for each signal: undo it
    order = shuffles(word("task", task, seed), "real", None).permutation("examples", split.train)
    train = np.empty_like(run.train.rows)
    train[order] = run.train.rows
    return {"train": train, "val": run.val.rows, "test": run.test.rows}


def class_counts(arrays: Arrays, split: Split, seed: int = 0) -> tuple[list[int], ...]:
    """Count the classes of the training, validation and test images."""
    rows = _rows(arrays, split, seed=seed)
    parts = (rows["train"], rows["val"], rows["test"])
    return tuple(np.bincount(arrays.y[r], minlength=arrays.num_classes).tolist() for r in parts)


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_is_in_every_split_in_its_share(seed: int) -> None:
    drawn = class_counts(with_counts(970, 30), Split(test=400, train=300, validation=300), seed)
    assert drawn == ([291, 9], [291, 9], [388, 12])


def test_classes_that_are_frequent_enough_are_equally_often_in_the_test_set() -> None:
    arrays = with_counts(1000, 500, 250, 125, 8)
    train, validation, test = class_counts(arrays, Split(test=300, train=200, validation=200))
    assert test == [75, 75, 74, 74, 2]  # the share of the rare one is 300 of 1883 images, 1.3 of 8
    assert min(train) > 0 and min(validation) > 0


def test_a_class_with_plenty_of_images_is_equally_often_in_the_test_set_though_rare() -> None:
    arrays, split = with_counts(9000, 1000), Split(test=400, train=1000, validation=1000)
    train, _, test = class_counts(arrays, split)
    assert test == [200, 200]
    assert train == np.bincount(arrays.y[_first_rows(arrays, split)]).tolist()


def _first_rows(arrays: Arrays, split: Split) -> np.ndarray:
    """The training images of seed 0 as they are drawn of a balanced data set."""
    test = _rows(arrays, split)["test"]
    rest = np.setdiff1d(np.arange(len(arrays.y)), test)
    draws = Draws(word("task", "d/mlp", 0))
    return rest[draws.permutation("split", len(rest))[: split.train]]


@pytest.mark.parametrize(
    ("images", "train", "validation", "test"),
    [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (4, 1, 1, 2)],
)
def test_the_few_images_of_a_class_go_to_training_then_test_then_validation(
    images: int, train: int, validation: int, test: int
) -> None:
    split = Split(test=120, train=90, validation=90)
    for seed in range(5):
        drawn = class_counts(with_counts(200, 100, images), split, seed)
        assert [counts[2] for counts in drawn] == [train, validation, test]


def test_every_class_of_a_long_tail_is_in_every_split() -> None:
    arrays = with_counts(*(max(3, 1000 >> k) for k in range(10)))
    for seed in range(20):
        for counts in class_counts(arrays, Split(test=300, train=100, validation=100), seed):
            assert min(counts) > 0


def test_a_draw_that_lacks_a_class_of_few_images_takes_all_in_their_shares() -> None:
    arrays = with_counts(*[5] * 10)
    for seed in range(20):
        train, validation, test = class_counts(arrays, Split(20, 15, 15), seed)
        assert test == [2] * 10
        assert min(train) > 0 and min(validation) > 0


def test_a_part_with_fewer_images_than_classes_is_drawn_nevertheless() -> None:
    train, validation, test = class_counts(with_counts(*[3] * 100), Split(120, 90, 90))
    assert (sum(train), sum(validation), sum(test)) == (90, 90, 120)
    assert min(test) > 0


def test_a_test_set_of_its_own_is_cut_with_every_class_it_has() -> None:
    y = np.repeat([0, 1, 2], [200, 95, 5])
    x = np.zeros((300, 1, 1, 1), np.uint8)
    run = draw_run(
        Arrays(x, y, 3, test=(x, y)),
        Split(test=20, train=100, validation=100),
        registry().signal("real"),
        None,
        "d/mlp",
        0,
    )
    assert np.bincount(y[run.test.rows - 300], minlength=3).min() > 0


def test_seeds_and_tasks_draw_different_training_images(digits: Arrays) -> None:
    drawn = []
    for task in ("digits/mlp", "digits/cnn"):
        for seed in range(3):
            drawn.append(frozenset(draw(digits, task=task, seed=seed).train.rows.tolist()))
    assert len(set(drawn)) == 6
    shares = [len(a & b) / N for a, b in combinations(drawn, 2)]
    assert max(shares) < 0.3  # 200 of 1497: an eighth by chance


def test_signals_of_one_seed_draw_the_same_images_in_another_order(digits: Arrays) -> None:
    real, noise, mixed = draw(digits), draw(digits, "randY"), draw(digits, "mixed", 0.4)
    for other in (noise, mixed, draw(digits, "mixed", 0.2)):
        assert set(other.train.rows.tolist()) == set(real.train.rows.tolist())
        assert np.array_equal(other.val.rows, real.val.rows)
        assert (other.train.rows == real.train.rows).mean() < 0.1


def test_a_given_test_set_is_never_trained_on() -> None:
    x = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    y = np.arange(40, dtype=np.int64) % 2
    arrays = Arrays(x[:30], y[:30], 2, test=(x[30:], y[30:]))
    run = draw_run(
        arrays, Split(test=8, train=20, validation=10), registry().signal("real"), None, "d/mlp", 0
    )
    assert images(arrays, run.test).min() >= 30
    assert max(images(arrays, run.train).max(), images(arrays, run.val).max()) < 30
    ids = true_ids(
        replace(arrays, x=all_images(arrays), y=np.concatenate([y[:30], y[30:]]), test=None), run
    )
    assert np.array_equal(ids[y[run.train.rows]], run.train.y)


@pytest.mark.slow
def test_mnist5k_splits_into_2000_1000_1000(mnist: Arrays) -> None:
    assert mnist.x.shape == (5000, 1, 28, 28) and mnist.x.dtype == np.uint8 and mnist.x.max() == 255
    assert np.bincount(mnist.y).tolist() == [500] * 10
    run = draw_run(
        mnist,
        shipped_suite("quick").splits["mnist5k"],
        registry().signal("real"),
        None,
        "mnist5k/mlp",
        0,
    )
    assert (len(run.test.y), len(run.train.y), len(run.val.y)) == (2000, 1000, 1000)
    assert len({*run.test.rows.tolist(), *run.train.rows.tolist(), *run.val.rows.tolist()}) == 4000
    assert np.bincount(mnist.y[run.test.rows]).tolist() == [200] * 10


@pytest.mark.slow
def test_mnist5k_is_the_file_that_the_numbers_were_made_with(mnist: Arrays) -> None:
    assert (
        arrays_digest(mnist) == "f303e7e91aa97ffeaca6a3cdeec45a9fb0e56dc8fdbbdb2fa70da8373650178b"
    )


def test_digits_are_the_file_that_the_numbers_were_made_with(digits: Arrays) -> None:
    assert digits.x.shape == (1797, 1, 8, 8) and digits.x.max() == 255
    assert (
        arrays_digest(digits) == "4762797d5258adf159cb47b90648706ca1fdc489e3ad64710e18636c2f2db4db"
    )


def test_a_run_s_data_are_the_same_bytes_everywhere(digits: Arrays) -> None:
    digests = {f"{name}@{level}": draw(digits, name, level).digest for name, level in ALL}
    assert digests == {
        "real@None": "8a5376e4d0b718b8c4787e81655bdb4ae562e79325bde3e551930749132d9b2c",
        "randY@None": "0d5cc150eb6e51ae9e51e7bd9e15bf45b78462b6b4675be31c47cc4b1aac8dba",
        "mixed@0.4": "554b9aaab9171c89e0e6200aec1e8c3dc28c414d3faf830720f722ca6d792349",
        "randX@None": "017d663f63e22f5b5a347227b10cc23e6b8a5a58b06bfe0adca8ecdc5d41b33f",
    }
    assert draw(digits).digest == draw(digits).digest


def test_the_digest_covers_what_is_trained_on(digits: Arrays) -> None:
    runs = [draw(digits, task="digits/cnn")]
    for name, level in ALL:
        runs += [draw(digits, name, level, seed=seed) for seed in range(2)]
    assert len({run.digest for run in runs}) == len(runs)


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "level"), ALL)
def test_class_ids_and_example_order_are_permuted_differently_for_each_signal(
    digits: Arrays, name: str, level: float | None
) -> None:
    ids = true_ids(digits, draw(digits, name, level))
    assert sorted(ids.tolist()) == list(range(10))
    for other_name, other_level in ALL:
        if (other_name, other_level) != (name, level):
            assert not np.array_equal(ids, true_ids(digits, draw(digits, other_name, other_level)))
    assert not np.array_equal(ids, true_ids(digits, draw(digits, name, level, seed=1)))


@pytest.mark.parametrize(("name", "level"), ALL)
def test_validation_and_test_stay_real(digits: Arrays, name: str, level: float | None) -> None:
    run = draw(digits, name, level)
    ids = true_ids(digits, run)
    for data in (run.val, run.test):
        assert data.x is None
        assert np.array_equal(data.y, ids[digits.y[data.rows]])


@pytest.mark.parametrize(("name", "level"), ALL)
def test_wrong_are_the_labels_that_really_changed(
    digits: Arrays, name: str, level: float | None
) -> None:
    run = draw(digits, name, level)
    true = true_ids(digits, run)[digits.y[run.train.rows]]
    assert np.array_equal(run.wrong, run.train.y != true)
    assert not (run.wrong & run.clean).any()


def test_real_changes_nothing(digits: Arrays) -> None:
    run = draw(digits)
    assert run.train.x is None and not run.wrong.any() and run.clean.all()


@pytest.mark.parametrize("level", [0.0, 0.1, 0.333, 0.4, 1.0])
def test_mixed_randomises_exactly_the_fraction(digits: Arrays, level: float) -> None:
    run = draw(digits, "mixed", level)
    assert (~run.clean).sum() == round(level * N)
    share = run.wrong.sum() / max(1, (~run.clean).sum())
    # One random label in ten stays right.
    assert level == 0 or abs(share - 0.9) < 4 * np.sqrt(0.09 / (level * N))


def test_random_labels_are_uniform_and_independent_of_the_real_ones(digits: Arrays) -> None:
    given, true = [], []
    for seed in range(10):
        run = draw(digits, "randY", seed=seed)
        given.append(run.train.y)
        true.append(digits.y[run.train.rows])
    labels = np.concatenate(given), np.concatenate(true)
    table = np.histogram2d(*labels, bins=(10, 10), range=((0, 10), (0, 10)))[0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 81 + 4 * np.sqrt(2 * 81)
    assert ((table.sum(1) - 200) ** 2 / 200).sum() < 9 + 4 * np.sqrt(2 * 9)


def test_levels_and_seeds_randomise_different_examples(digits: Arrays) -> None:
    def changed(level: float, seed: int) -> frozenset[int]:
        run = draw(digits, "mixed", level, seed=seed)
        return frozenset(run.train.rows[~run.clean].tolist())

    a, b, c = changed(0.4, 0), changed(0.5, 0), changed(0.4, 1)
    assert len({a, b, c}) == 3 and not a < b


def test_rand_x_has_the_moments_of_the_real_inputs_and_keeps_the_labels(digits: Arrays) -> None:
    run = draw(digits, "randX")
    real = all_images(digits)[draw(digits).train.rows].astype(np.float64)
    assert run.train.x.dtype == np.float32 and run.train.x.shape == (N, 1, 8, 8)
    assert abs(run.train.x.mean() - real.mean()) < 4 * real.std() / np.sqrt(real.size)
    assert abs(run.train.x.std() / real.std() - 1) < 4 / np.sqrt(2 * real.size)
    assert not run.wrong.any() and not run.clean.any()
    assert np.array_equal(run.train.y, true_ids(digits, run)[digits.y[run.train.rows]])


def test_rand_x_draws_every_image_independently(digits: Arrays) -> None:
    x = draw(digits, "randX").train.x.reshape(N, -1)
    r = np.corrcoef(x)
    assert np.abs(r[~np.eye(N, dtype=bool)]).max() < 0.65  # 64 values an image
    assert not np.array_equal(x, draw(digits, "randX", seed=1).train.x.reshape(N, -1))


def test_statistics_are_those_of_the_clean_training_inputs(digits: Arrays) -> None:
    real, noise = draw(digits), draw(digits, "randX")
    x = all_images(digits)[real.train.rows].astype(np.float64)
    assert real.mean == pytest.approx(x.mean()) and real.std == pytest.approx(x.std())
    assert np.array_equal(real.mean, noise.mean) and np.array_equal(real.std, noise.std)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    arrays = Arrays(np.full((30, 2, 2, 2), 7, np.uint8), np.arange(30) % 3, 3)
    run = draw_run(arrays, Split(9, 12, 6), registry().signal("real"), None, "d/mlp", 0)
    assert run.std.tolist() == [1, 1] and run.mean.tolist() == [7, 7]


def test_a_signal_joins_a_file_of_labels_by_the_rows_of_its_examples(
    digits: Arrays, tmp_path: Path
) -> None:
    given = (digits.y * 7 + np.arange(len(digits.y))) % 10  # what people called each image
    np.save(tmp_path / "human.npy", given)

    def apply(x: np.ndarray, y: np.ndarray, level: None, draw: Draw, train: bool) -> tuple:
        new = np.load(tmp_path / "human.npy")[draw.rows] if train else y
        assert len(draw.rows) == len(y) and np.array_equal(y, digits.y[draw.rows])
        assert not draw.rows.flags.writeable and len(draw.world.rows) == 0
        return x, new, new != y

    run = draw(digits, Signal("human", apply, noise="labels"))
    ids = true_ids(digits, run)
    assert np.array_equal(run.train.y, ids[given[run.train.rows]])
    assert np.array_equal(run.wrong, given[run.train.rows] != digits.y[run.train.rows])
    assert np.array_equal(run.test.y, ids[digits.y[run.test.rows]])


# --- what is refused -----------------------------------------------------------------------------


def scaled(x: np.ndarray, y: np.ndarray, level: float | None, draw: object, train: bool) -> tuple:
    x //= 2
    return x, y, np.zeros(len(y), bool)


def relabelled(
    x: np.ndarray, y: np.ndarray, level: float | None, draw: object, train: bool
) -> tuple:
    y[0] = 0 if y[0] else 1
    return x, y, np.zeros(len(y), bool)


@pytest.mark.parametrize("apply", [scaled, relabelled])
def test_a_signal_that_writes_in_place_is_refused(digits: Arrays, apply: Callable) -> None:
    with pytest.raises(
        MembenchError, match="signal 'mine' changed its input arrays in place: copy"
    ):
        draw(digits, Signal("mine", apply))


@pytest.mark.parametrize(
    "result",
    [
        lambda x, y: (x[:-1], y, y > 99),
        lambda x, y: (x, y[:-1], y > 99),
        lambda x, y: (x, y, y[1:] > 99),
    ],
)
def test_a_signal_that_changes_a_shape_is_refused(digits: Arrays, result: Callable) -> None:
    with pytest.raises(MembenchError, match="signal 'mine' changed a shape"):
        draw(digits, Signal("mine", lambda x, y, level, draw, train: result(x, y)))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_signal_that_invents_a_class_is_refused(digits: Arrays, label: int) -> None:
    bad = Signal("mine", lambda x, y, level, draw, train: (x, np.full_like(y, label), y > -1))
    with pytest.raises(MembenchError, match=r"signal 'mine' .*0\.\.9"):
        draw(digits, bad)


def test_too_few_images_for_the_split_are_refused_in_one_line(digits: Arrays) -> None:
    with pytest.raises(MembenchError) as error:
        draw_run(digits, Split(797, 900, 400), registry().signal("real"), None, "digits/mlp", 0)
    assert str(error.value) == (
        "digits/mlp: the suite wants 900 training, 400 validation and 797 test images; "
        "this data set has 1000, and 797 for test: take fewer, as with --train-size"
    )


def test_too_few_test_images_are_refused_in_one_line() -> None:
    x, y = np.zeros((30, 1, 2, 2), np.uint8), np.arange(30) % 2
    arrays = Arrays(x, y, 2, test=(x[:5], y[:5]))
    with pytest.raises(MembenchError, match=r"d/mlp: .* and 8 test images; .* 30, and 5 for test"):
        draw_run(
            arrays,
            Split(test=8, train=20, validation=10),
            registry().signal("real"),
            None,
            "d/mlp",
            0,
        )
    with pytest.raises(MembenchError, match=r"d/mlp: .* and 40 test images; .* 0, and 30 for test"):
        draw_run(
            Arrays(x, y, 2),
            Split(test=40, train=0, validation=0),
            registry().signal("real"),
            None,
            "d/mlp",
            0,
        )


IMAGE = np.zeros((4, 1, 2, 2), np.uint8)
LABEL = np.array([0, 1, 0, 1])
ODD = Arrays(IMAGE, np.array([0, 1, 2, 0]), 3)
GAPS = np.zeros((4, 1, 2, 2), np.float32)
GAPS[1, 0, 0], GAPS[3, 0, 1, 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (
            Arrays(IMAGE[:, 0], LABEL, 2),
            r"x must be \[n, c, h, w\] uint8 or float32, .*x\[:, None\]$",
        ),
        (Arrays(IMAGE / 2, LABEL, 2), r"got .* float64: write x\.astype\(np\.float32\)$"),
        (Arrays(IMAGE.astype(int), LABEL, 2), r"got .* int64: write x\.astype\(np\.uint8\)$"),
        (
            Arrays(IMAGE[:, 0, 0] / 2, LABEL, 2),
            r"write x\[:, :, None, None\]\.astype\(np\.float32\)$",
        ),
        (Arrays(IMAGE, np.eye(2)[LABEL], 2), r"y must be \[4\] int64, .*: write y\.argmax\(1\)$"),
        (Arrays(IMAGE.astype(np.float64), LABEL, 2), "uint8 or float32, got .* float64"),
        (Arrays(IMAGE, LABEL[:3], 2), r"y must be \[4\] int64"),
        (Arrays(IMAGE, LABEL.astype(np.int32), 2), r"y must be \[4\] int64, got .* int32"),
        (Arrays(IMAGE, LABEL, 1), r"labels must lie in 0\.\.0"),
        (Arrays(IMAGE, LABEL - 1, 2), r"labels must lie in 0\.\.1: they go from -1 to 0"),
        (Arrays(IMAGE, LABEL, 2, test=(IMAGE, LABEL + 1)), r"labels must lie in 0\.\.1"),
        (
            Arrays(IMAGE, LABEL, 2, test=(IMAGE[:, :, :1], LABEL)),
            "test images are .* training images",
        ),
        (
            Arrays(IMAGE, LABEL, 2, test=(IMAGE.astype(np.float32), LABEL)),
            "test images are .* training images",
        ),
        (replace(ODD, y=np.array([0, 2, 0, 2])), "class 1 of 3 has no image$"),
        (replace(ODD, num_classes=9), "class 3 of 9 has no image, nor have 5 others"),
        (replace(ODD, x=GAPS), "3 of 16 values are not finite, the first in row 1$"),
        (
            replace(ODD, x=np.zeros_like(GAPS), test=(GAPS, ODD.y)),
            "3 of 16 values are not finite, the first in row 1 of its own test set",
        ),
    ],
)
def test_arrays_that_break_their_promise_are_refused(arrays: Arrays, reason: str) -> None:
    with pytest.raises(MembenchError, match=f"^data set 'mine': .*{reason}"):
        check_arrays("mine", arrays)


def test_a_test_set_of_its_own_may_lack_a_class() -> None:
    arrays = Arrays(IMAGE, LABEL, 2, test=(IMAGE, np.zeros(4, np.int64)))
    assert check_arrays("mine", arrays) is arrays


def test_a_missing_data_set_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path))
    folders = []

    def load(folder: Path) -> Arrays:
        folders.append(folder)
        raise FileNotFoundError("put big.zip into the folder")

    with pytest.raises(
        MembenchError, match=r"data set 'big' is missing: put big[.]zip into the folder"
    ):
        load_arrays(Dataset("big", load))
    assert folders == [tmp_path / "data" / "big"]


def test_the_hash_of_a_data_set_covers_types_shapes_and_the_test_set() -> None:
    base = blobs().load(None)
    variants = [
        base,
        replace(base, x=base.x.astype(np.float32)),
        replace(base, x=base.x.reshape(60, 1, 4, 16)),
        replace(base, y=base.y[::-1].copy()),
        replace(base, test=(base.x[:3], base.y[:3])),
    ]
    assert len({arrays_digest(a) for a in variants}) == 5
    assert arrays_digest(base) == arrays_digest(replace(base, x=np.asfortranarray(base.x)))
    assert hashlib.sha256().digest_size * 2 == len(arrays_digest(base))

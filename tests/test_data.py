"""Splits and signals: what each seed sees, what is random in it, and that nothing else changes."""

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

from membench.api import Arrays
from membench.api import Dataset
from membench.api import Signal
from membench.api import Split
from membench.data import RunData
from membench.data import SplitData
from membench.data import all_images
from membench.data import arrays_digest
from membench.data import check_arrays
from membench.data import draw_run
from membench.data import load_arrays
from membench.errors import MembenchError
from membench.planning.suites import SUITES

SPLIT = Split(test=300, train=200, validation=100)
N = SPLIT.train
ALL = (("real", None), ("randY", None), ("mixed", 0.4), ("randX", None))


@pytest.fixture(scope="module")
def digits() -> Arrays:
    return load_arrays(registry().dataset("digits"))


@pytest.fixture(scope="session")
def mnist() -> Arrays:
    """Parsed once a session, then read back."""
    with own_cache() as folder:
        arrays, again = (load_arrays(registry().dataset("mnist5k")) for _ in range(2))
    assert (folder / "data" / "mnist5k" / "mnist5k.npy").exists()
    assert arrays_digest(arrays) == arrays_digest(again)
    return arrays


def cut(
    arrays: Arrays,
    signal: str | Signal = "real",
    level: float | None = None,
    task: str = "digits/mlp",
    seed: int = 0,
) -> RunData:
    signal = registry().signal(signal) if isinstance(signal, str) else signal
    return draw_run(arrays, SPLIT, signal, level, task, seed)


def images(arrays: Arrays, part: SplitData) -> np.ndarray:
    return all_images(arrays)[part.rows] if part.x is None else part.x


def true_ids(arrays: Arrays, s: RunData) -> np.ndarray:
    """The class permutation of a sample: new id of each real class, read off the test set."""
    ids = np.full(arrays.num_classes, -1)
    ids[arrays.y[s.test.rows]] = s.test.y
    assert np.array_equal(ids[arrays.y[s.test.rows]], s.test.y)
    return ids


# --- splits -----------------------------------------------------------------------------------------------------------


def test_train_validation_and_test_share_no_image(digits: Arrays) -> None:
    for seed in range(5):
        s = cut(digits, seed=seed)
        rows = [set(p.rows.tolist()) for p in (s.train, s.val, s.test)]
        assert [len(r) for r in rows] == [200, 100, 300]
        assert not any(a & b for a, b in combinations(rows, 2))


def test_the_test_set_is_the_same_for_all_seeds_signals_and_architectures_of_a_data_set(
    digits: Arrays,
) -> None:
    fixed = cut(digits).test.rows
    for s in (
        cut(digits, seed=1),
        cut(digits, "randY"),
        cut(digits, "mixed", 0.4),
        cut(digits, task="digits/cnn"),
    ):
        assert np.array_equal(s.test.rows, fixed)


def test_the_test_set_holds_each_class_as_often(digits: Arrays) -> None:
    counts = np.bincount(digits.y[cut(digits).test.rows], minlength=10)
    assert counts.tolist() == [30] * 10


def test_a_class_too_rare_for_balance_gives_all_it_has() -> None:
    y = np.repeat([0, 1, 2], [200, 100, 5]).astype(np.int64)
    arrays = Arrays(np.zeros((305, 1, 2, 2), np.uint8), y, 3)
    s = draw_run(
        arrays,
        Split(test=50, train=100, validation=50),
        registry().signal("real"),
        None,
        "d/mlp",
        0,
    )
    counts = np.bincount(y[s.test.rows], minlength=3)
    assert counts[2] == 5 and abs(counts[0] - counts[1]) <= 1 and counts.sum() == 50


def test_seeds_and_tasks_draw_other_training_images(digits: Arrays) -> None:
    samples = [cut(digits, task=t, seed=s) for t in ("digits/mlp", "digits/cnn") for s in range(3)]
    drawn = [set(s.train.rows.tolist()) for s in samples]
    assert len(set(map(frozenset, drawn))) == 6
    shares = [len(a & b) / N for a, b in combinations(drawn, 2)]
    assert max(shares) < 0.3  # 200 of 1497: an eighth by chance


def test_signals_of_one_seed_draw_the_same_images_in_another_order(digits: Arrays) -> None:
    real, noise, mixed = cut(digits), cut(digits, "randY"), cut(digits, "mixed", 0.4)
    for other in (noise, mixed, cut(digits, "mixed", 0.2)):
        assert set(other.train.rows.tolist()) == set(real.train.rows.tolist())
        assert np.array_equal(other.val.rows, real.val.rows)
        assert (other.train.rows == real.train.rows).mean() < 0.1


def test_a_data_set_with_a_test_set_of_its_own_trains_on_none_of_it() -> None:
    x = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    y = np.arange(40, dtype=np.int64) % 2
    arrays = Arrays(x[:30], y[:30], 2, test=(x[30:], y[30:]))
    s = draw_run(
        arrays, Split(test=8, train=20, validation=10), registry().signal("real"), None, "d/mlp", 0
    )
    assert images(arrays, s.test).min() >= 30
    assert max(images(arrays, s.train).max(), images(arrays, s.val).max()) < 30
    ids = true_ids(
        replace(arrays, x=all_images(arrays), y=np.concatenate([y[:30], y[30:]]), test=None), s
    )
    assert np.array_equal(ids[y[s.train.rows]], s.train.y)


@pytest.mark.slow
def test_mnist5k_splits_into_2000_1000_1000(mnist: Arrays) -> None:
    assert mnist.x.shape == (5000, 1, 28, 28) and mnist.x.dtype == np.uint8 and mnist.x.max() == 255
    assert np.bincount(mnist.y).tolist() == [500] * 10
    s = draw_run(
        mnist, SUITES["quick"].splits["mnist5k"], registry().signal("real"), None, "mnist5k/mlp", 0
    )
    assert (len(s.test.y), len(s.train.y), len(s.val.y)) == (2000, 1000, 1000)
    assert len({*s.test.rows.tolist(), *s.train.rows.tolist(), *s.val.rows.tolist()}) == 4000
    assert np.bincount(mnist.y[s.test.rows]).tolist() == [200] * 10


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


def test_a_sample_is_the_same_bytes_everywhere(digits: Arrays) -> None:
    found = {f"{name}@{level}": cut(digits, name, level).digest for name, level in ALL}
    assert found == {
        "real@None": "8a5376e4d0b718b8c4787e81655bdb4ae562e79325bde3e551930749132d9b2c",
        "randY@None": "0d5cc150eb6e51ae9e51e7bd9e15bf45b78462b6b4675be31c47cc4b1aac8dba",
        "mixed@0.4": "554b9aaab9171c89e0e6200aec1e8c3dc28c414d3faf830720f722ca6d792349",
        "randX@None": "017d663f63e22f5b5a347227b10cc23e6b8a5a58b06bfe0adca8ecdc5d41b33f",
    }
    assert cut(digits).digest == cut(digits).digest


def test_the_digest_covers_what_is_trained_on(digits: Arrays) -> None:
    samples = [cut(digits, n, v, seed=s) for n, v in ALL for s in range(2)] + [
        cut(digits, task="digits/cnn")
    ]
    assert len({s.digest for s in samples}) == len(samples)


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "level"), ALL)
def test_class_ids_and_example_order_are_permuted_differently_for_each_signal(
    digits: Arrays, name: str, level: float | None
) -> None:
    mine = cut(digits, name, level)
    ids = true_ids(digits, mine)
    assert sorted(ids.tolist()) == list(range(10))
    for other_name, other_level in ALL:
        if (other_name, other_level) != (name, level):
            assert not np.array_equal(ids, true_ids(digits, cut(digits, other_name, other_level)))
    assert not np.array_equal(ids, true_ids(digits, cut(digits, name, level, seed=1)))


@pytest.mark.parametrize(("name", "level"), ALL)
def test_validation_and_test_stay_real(digits: Arrays, name: str, level: float | None) -> None:
    s = cut(digits, name, level)
    ids = true_ids(digits, s)
    for part in (s.val, s.test):
        assert part.x is None
        assert np.array_equal(part.y, ids[digits.y[part.rows]])


@pytest.mark.parametrize(("name", "level"), ALL)
def test_wrong_are_the_labels_that_really_changed(
    digits: Arrays, name: str, level: float | None
) -> None:
    s = cut(digits, name, level)
    true = true_ids(digits, s)[digits.y[s.train.rows]]
    assert np.array_equal(s.wrong, s.train.y != true)
    assert not (s.wrong & s.clean).any()


def test_real_changes_nothing(digits: Arrays) -> None:
    s = cut(digits)
    assert s.train.x is None and not s.wrong.any() and s.clean.all()


@pytest.mark.parametrize("level", [0.0, 0.1, 0.333, 0.4, 1.0])
def test_mixed_hits_exactly_the_fraction(digits: Arrays, level: float) -> None:
    s = cut(digits, "mixed", level)
    assert (~s.clean).sum() == round(level * N)
    share = s.wrong.sum() / max(1, (~s.clean).sum())
    assert level == 0 or abs(share - 0.9) < 4 * np.sqrt(
        0.09 / (level * N)
    )  # one random label in ten stays right


def test_random_labels_are_uniform_and_say_nothing_of_the_real_ones(digits: Arrays) -> None:
    pairs = [
        (s.train.y, digits.y[s.train.rows])
        for s in (cut(digits, "randY", seed=seed) for seed in range(10))
    ]
    y, true = (np.concatenate(v) for v in zip(*pairs, strict=True))
    table = np.histogram2d(y, true, bins=(10, 10), range=((0, 10), (0, 10)))[0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 81 + 4 * np.sqrt(2 * 81)
    assert ((table.sum(1) - 200) ** 2 / 200).sum() < 9 + 4 * np.sqrt(2 * 9)


def test_levels_and_seeds_hit_other_examples(digits: Arrays) -> None:
    hit = lambda s: frozenset(s.train.rows[~s.clean].tolist())  # noqa: E731
    a, b, c = (hit(cut(digits, "mixed", p, seed=s)) for p, s in ((0.4, 0), (0.5, 0), (0.4, 1)))
    assert len({a, b, c}) == 3 and not a < b


def test_rand_x_has_the_moments_of_the_real_inputs_and_keeps_the_labels(digits: Arrays) -> None:
    s = cut(digits, "randX")
    real = all_images(digits)[cut(digits).train.rows].astype(np.float64)
    assert s.train.x.dtype == np.float32 and s.train.x.shape == (N, 1, 8, 8)
    assert abs(s.train.x.mean() - real.mean()) < 4 * real.std() / np.sqrt(real.size)
    assert abs(s.train.x.std() / real.std() - 1) < 4 / np.sqrt(2 * real.size)
    assert not s.wrong.any() and not s.clean.any()
    assert np.array_equal(s.train.y, true_ids(digits, s)[digits.y[s.train.rows]])


def test_rand_x_draws_every_image_anew(digits: Arrays) -> None:
    x = cut(digits, "randX").train.x.reshape(N, -1)
    r = np.corrcoef(x)
    assert np.abs(r[~np.eye(N, dtype=bool)]).max() < 0.65  # 64 values an image
    assert not np.array_equal(x, cut(digits, "randX", seed=1).train.x.reshape(N, -1))


def test_statistics_are_those_of_the_clean_training_inputs(digits: Arrays) -> None:
    real, noise = cut(digits), cut(digits, "randX")
    x = all_images(digits)[real.train.rows].astype(np.float64)
    assert real.mean == pytest.approx(x.mean()) and real.std == pytest.approx(x.std())
    assert np.array_equal(real.mean, noise.mean) and np.array_equal(real.std, noise.std)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    arrays = Arrays(np.full((30, 2, 2, 2), 7, np.uint8), np.arange(30) % 3, 3)
    s = draw_run(arrays, Split(9, 12, 6), registry().signal("real"), None, "d/mlp", 0)
    assert s.std.tolist() == [1, 1] and s.mean.tolist() == [7, 7]


# --- what is refused --------------------------------------------------------------------------------------------------


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
        cut(digits, Signal("mine", apply))


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
        cut(digits, Signal("mine", lambda x, y, level, draw, train: result(x, y)))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_signal_that_invents_a_class_is_refused(digits: Arrays, label: int) -> None:
    bad = Signal("mine", lambda x, y, level, draw, train: (x, np.full_like(y, label), y > -1))
    with pytest.raises(MembenchError, match=r"signal 'mine' .*0\.\.9"):
        cut(digits, bad)


def test_too_few_images_for_the_split_are_refused_in_one_line(digits: Arrays) -> None:
    with pytest.raises(MembenchError) as error:
        draw_run(digits, Split(797, 900, 400), registry().signal("real"), None, "digits/mlp", 0)
    assert str(error.value) == (
        "digits/mlp: the suite wants 900 training, 400 validation and 797 test images; "
        "this data set has 1000 and 797 for test"
    )


def test_too_few_test_images_are_refused_in_one_line() -> None:
    x, y = np.zeros((30, 1, 2, 2), np.uint8), np.arange(30) % 2
    arrays = Arrays(x, y, 2, test=(x[:5], y[:5]))
    with pytest.raises(MembenchError, match=r"d/mlp: .* and 8 test images; .* 30 and 5 for test"):
        draw_run(
            arrays,
            Split(test=8, train=20, validation=10),
            registry().signal("real"),
            None,
            "d/mlp",
            0,
        )
    with pytest.raises(MembenchError, match=r"d/mlp: .* and 40 test images; .* 0 and 30 for test"):
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


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        (Arrays(IMAGE[:, 0], LABEL, 2), r"x must be \[n, c, h, w\] uint8 or float32"),
        (Arrays(IMAGE.astype(np.float64), LABEL, 2), "uint8 or float32, got .* float64"),
        (Arrays(IMAGE, LABEL[:3], 2), r"y must be \[4\] int64"),
        (Arrays(IMAGE, LABEL.astype(np.int32), 2), r"y must be \[4\] int64, got .* int32"),
        (Arrays(IMAGE, LABEL, 1), r"labels must lie in 0\.\.0"),
        (Arrays(IMAGE, LABEL - 1, 2), r"labels must lie in 0\.\.1"),
        (Arrays(IMAGE, LABEL, 2, test=(IMAGE, LABEL + 1)), r"labels must lie in 0\.\.1"),
        (
            Arrays(IMAGE, LABEL, 2, test=(IMAGE[:, :, :1], LABEL)),
            "test images are .* training images",
        ),
        (
            Arrays(IMAGE, LABEL, 2, test=(IMAGE.astype(np.float32), LABEL)),
            "test images are .* training images",
        ),
    ],
)
def test_arrays_that_break_their_promise_are_refused(arrays: Arrays, why: str) -> None:
    with pytest.raises(MembenchError, match=f"^data set 'mine': .*{why}"):
        check_arrays("mine", arrays)


def test_a_data_set_that_is_not_at_hand_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBENCH_CACHE", str(tmp_path))
    asked = []

    def load(folder: Path) -> Arrays:
        asked.append(folder)
        raise FileNotFoundError("put big.zip into the folder")

    with pytest.raises(
        MembenchError, match=r"data set 'big' is not at hand: put big[.]zip into the folder"
    ):
        load_arrays(Dataset("big", load))
    assert asked == [tmp_path / "data" / "big"]


def test_the_hash_of_a_data_set_knows_its_types_shapes_and_test_set() -> None:
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

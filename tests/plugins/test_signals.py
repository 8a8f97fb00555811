"""Every signal on one small array: the same bytes everywhere; what is random, kept or changed."""

from __future__ import annotations

import numpy as np
import pytest
from support.engine import registry

from membench.api import Arrays
from membench.api import Split
from membench.data import RunData
from membench.data import all_images
from membench.data import array_digest
from membench.data import draw_run
from membench.rng import Draws
from membench.rng import word

N, C, H, W, K = 60, 3, 5, 4, 6

#: SHA-256 of (x, y, changed); the numbers of records depend on these bytes.
#: Checked with numpy 1.26, 2.0 and 2.4.
GOLDEN = {
    "real": "c4ab810bc886ac4f0556b6047b5c3b4a71ff9a44769e84d3bd814af4f2213bd8",
    "randY": "76bca614a32bc8a4e9a0e4dc0c53d1c809e923506a74da9a5a92fe18bd314a1c",
    "randY-permuted": "cce1d2c77c248d02fc2e8f8467aa561befd7dfefce517994dcdff3c7a5110cbd",
    "mixed@0.4": "06b8b0ead1478a47071508fc570d550b92b4faaaaaf80b2bb2fd95543809fa7c",
    "pair-flip@0.4": "68ae8e18a766727fcd1597fb82c243f4bced70bab2ffc6762f5b17690be7dd67",
    "randX": "177c0a169f11fbe9df8eb47f1e6e0eb1f7d44942625d791f053692427d87d4b7",
    "randX-pixel": "d766d27d48992e0bfdee21ca6769bec18cfd37348b2d0de7ba295ae343ce2cc0",
    "mixed-inputs@0.4": "e4bd5c653afd702820c8a0f778d4b84a0a119ba547a270c6ca545d694c797c05",
    "shuffled-pixels": "89d465bcf5c5174c79c1bfbd4bad3d5c35b6e21dbb6cd15da5edd8836e409ade",
    "random-pixels": "94bce784d60d6f95a254f3b6632ed05248ab02a1448ad30df77b455259021fbc",
}
GREY = (
    (Draws(word("signals", "x")).uniform("x", N * C * H * W) * 256)
    .astype(np.uint8)
    .reshape(N, C, H, W)
)
LABELS = (Draws(word("signals", "y")).uniform("y", N) * K).astype(np.int64)
NAMES = sorted(GOLDEN)

Applied = tuple[np.ndarray, np.ndarray, np.ndarray]


def apply(
    name: str, train: bool = True, seed: int = 0, x: np.ndarray = GREY, y: np.ndarray = LABELS
) -> Applied:
    """The signal `name@p` with the draws of a seed."""
    name, _, level = name.partition("@")
    draw = Draws(word(name, seed, train), K, shared=Draws(word(name, seed), K))
    return registry().signal(name).apply(x, y, float(level) if level else None, draw, train)


def test_every_signal_that_ships_has_its_bytes_held() -> None:
    known = registry().signals
    computed = {name for name, entry in known.items() if not entry.has_fetch}
    assert {name.partition("@")[0] for name in GOLDEN} == computed


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_the_same_bytes_everywhere(name: str) -> None:
    x, y, changed = apply(name)
    assert (y.dtype, changed.dtype) == (np.int64, bool)
    assert array_digest([x.astype(np.float32), y, changed]) == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_takes_a_level_as_the_name_says(name: str) -> None:
    assert registry().signal_entry(name).levels == ("@" in name)
    assert registry().signal(name).levels == ("@" in name)


@pytest.mark.parametrize("name", NAMES)
def test_validation_and_test_stay_real_unless_the_whole_world_changes(name: str) -> None:
    x, y, changed = apply(name, train=False)
    assert np.array_equal(y, LABELS)
    assert not changed.any()
    assert np.array_equal(x, GREY) == (name != "shuffled-pixels")


@pytest.mark.parametrize("name", [n for n in NAMES if n != "real"])
def test_seeds_draw_apart(name: str) -> None:
    assert array_digest(apply(name)) != array_digest(apply(name, seed=1))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "real"])
def test_what_is_not_its_noise_is_kept(name: str) -> None:
    x, y, changed = apply(name)
    if registry().entry("signals", name.partition("@")[0]).noise == "labels":
        assert np.array_equal(x, GREY)
        assert not np.array_equal(y, LABELS)
        assert np.array_equal(y[~changed], LABELS[~changed])
    else:
        assert np.array_equal(y, LABELS)
        assert not np.array_equal(x, GREY)
        assert np.array_equal(x[~changed], GREY[~changed])


def test_permuted_labels_keep_the_class_counts() -> None:
    _, y, changed = apply("randY-permuted")
    assert np.array_equal(np.bincount(y), np.bincount(LABELS))
    assert changed.all()
    assert (y == LABELS).mean() < 0.4


def test_a_pair_flip_names_the_next_class_exactly_as_often_as_asked() -> None:
    _, y, changed = apply("pair-flip@0.4")
    assert changed.sum() == round(0.4 * N)
    assert np.array_equal((y - LABELS) % K, changed.astype(np.int64))
    assert (changed & (LABELS == K - 1)).any() and y.max() < K


def test_mixed_inputs_replace_exactly_the_fraction() -> None:
    x, _, changed = apply("mixed-inputs@0.4")
    assert changed.sum() == round(0.4 * N)
    assert (x[changed] != GREY[changed]).mean() > 0.99


@pytest.mark.parametrize("signal", ["randX-pixel", "mixed-inputs@1"])
def test_gaussian_inputs_have_the_moments_of_the_real_ones(signal: str) -> None:
    """Images whose pixels have means and spreads of their own, many enough to measure them."""
    draw = Draws(word("many"))
    row = np.arange(1, 9)[:, None] * np.ones(2)
    grey = 20 * row + 10 * row * (draw.uniform("x", 4000 * 2 * 16).reshape(4000, 2, 8, 2) - 0.5)
    grey[:, 1] /= 2
    grey = np.rint(grey).astype(np.uint8)
    x = apply(signal, x=grey, y=np.zeros(4000, np.int64))[0].astype(np.float64)
    axes = 0 if signal == "randX-pixel" else (0, 2, 3)
    real = grey.astype(np.float64)
    spread = real.std(axes, keepdims=True)
    count = x.size / spread.size
    assert np.abs((x.mean(axes) - real.mean(axes)) / spread.squeeze()).max() < 4.5 / np.sqrt(count)
    assert np.abs(x.std(axes) / real.std(axes) - 1).max() < 4.5 / np.sqrt(2 * count)


def test_moments_of_grey_levels_are_exact() -> None:
    moments = registry().signal("mixed-inputs").apply.__globals__["moments"]
    mean, std = moments(np.array([0, 255, 255, 254], np.uint8).reshape(4, 1, 1, 1), (0, 2, 3))
    assert (mean.item(), std.item()) == (
        191.0,
        np.float32(np.sqrt((191**2 + 2 * 64**2 + 63**2) / 4)),
    )
    halves = [moments(GREY.astype(t), (0, 2, 3)) for t in (np.uint8, np.float32)]
    assert np.allclose(*halves, rtol=1e-6)
    assert moments(np.full((9, 1, 2, 2), 7, np.uint8), (0,))[1].max() == 0


def channels_together(before: np.ndarray, after: np.ndarray) -> bool:
    """The columns of channel values of one image are the same, in some order."""
    return np.array_equal(
        np.unique(before.reshape(C, -1), axis=1), np.unique(after.reshape(C, -1), axis=1)
    )


@pytest.mark.parametrize("name", ["shuffled-pixels", "random-pixels"])
def test_pixels_move_with_all_their_channels(name: str) -> None:
    x, _, changed = apply(name)
    assert changed.all()
    assert all(channels_together(a, b) for a, b in zip(GREY, x, strict=True))


def orders(name: str, train: bool = True) -> np.ndarray:
    """[n, h, w]: where each pixel came from."""
    places = np.tile(np.arange(H * W, dtype=np.uint8).reshape(1, 1, H, W), (N, C, 1, 1))
    return apply(name, train=train, x=places)[0][:, 0]


def test_shuffled_pixels_have_one_order_for_train_validation_and_test() -> None:
    train, val = orders("shuffled-pixels"), orders("shuffled-pixels", train=False)
    assert (train == train[0]).all() and (val == train[0]).all()


def test_random_pixels_have_an_order_for_each_image() -> None:
    assert len(np.unique(orders("random-pixels").reshape(N, -1), axis=0)) == N


def test_the_harness_gives_one_world_to_all_splits_of_a_seed_and_another_to_the_next() -> None:
    places = np.tile(np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8), (40, 1, 1, 1))
    arrays = Arrays(places, np.arange(40) % 2, 2)
    signal = registry().signal("shuffled-pixels")

    def cut(seed: int) -> RunData:
        return draw_run(arrays, Split(10, 20, 10), signal, None, "d/mlp", seed)

    worlds = []
    for seed in range(2):
        parts = [(p.x, p) for s in [cut(seed)] for p in (s.train, s.val, s.test)]
        seen = np.concatenate([all_images(arrays)[p.rows] if x is None else x for x, p in parts])
        assert (seen == seen[0]).all()
        worlds.append(seen[0])
    assert not np.array_equal(*worlds)

"""The integer hashes are the same everywhere and have no structure; streams are independent."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from membench.rng import Draws
from membench.rng import chain
from membench.rng import fold
from membench.rng import gaussian_table
from membench.rng import hashes
from membench.rng import mix
from membench.rng import spell
from membench.rng import word

N = 1 << 16
words = st.integers(0, 2**32 - 1)


def sha(a: np.ndarray) -> str:
    return hashlib.sha256(f"{a.dtype.str}{a.shape}".encode() + a.tobytes()).hexdigest()


def peak(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the largest correlation of two streams over all shifts, in standard deviations.

    Of a stream with itself, shift 0 does not count.
    """
    fa, fb = np.fft.rfft(a - a.mean()), np.fft.rfft(b - b.mean())
    r = np.fft.irfft(fa * fb.conj(), len(a)) / (a.std() * b.std() * np.sqrt(len(a)))
    return float(np.abs(r[1:] if a is b else r).max())


#: The largest of 65536 standard normals exceeds 5.5 once in 400 tries; a shifted copy gives 256.
LIMIT = 5.5


@given(words, st.lists(words, max_size=4))
def test_the_chain_is_a_mix_of_each_value_and_the_key_so_far(key: int, values: list[int]) -> None:
    expected = key
    for v in values:
        expected = mix((mix(v) + expected) % 2**32)
    assert chain(key, *values) == expected


@given(words, st.integers(0, 200))
def test_numpy_hashes_are_the_python_chain(key: int, n: int) -> None:
    assert hashes(key, n).tolist() == [chain(key, i) for i in range(n)]


def test_mix_is_a_bijection() -> None:
    assert len({mix(x) for x in range(N)} | {mix(2**32 - 1 - x) for x in range(N)}) == 2 * N


def test_flipping_one_bit_of_a_key_flips_half_of_the_output() -> None:
    for bit in range(32):
        flipped = hashes(12345, 4096) ^ hashes(12345 ^ (1 << bit), 4096)
        assert abs(np.unpackbits(flipped.view(np.uint8)).mean() - 0.5) < 0.02, bit


def test_words_depend_on_where_one_part_ends() -> None:
    assert len({word("ab", "c"), word("a", "bc"), word("abc"), word("ab", "c", "")}) == 4


def test_names_and_sites_get_different_integers() -> None:
    names = [f"{a}{b}" for a in "abcdefgh-" for b in ("", "1", "x", "-", "ab")]
    assert len({spell(n) for n in names}) == len(set(names))
    sites = [(a, b, c) for a in range(8) for b in range(8) for c in range(8)]
    assert len({fold(s) for s in sites} | {fold(s[:2]) for s in sites}) == 8**3 + 8**2


def test_uniform_numbers_fill_the_interval_evenly() -> None:
    u = Draws(1).uniform("u", N)
    assert 0 <= u.min() < 1e-3 and 1 - 1e-3 < u.max() < 1
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / N)
    assert abs(u.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / N)
    counts = np.bincount((u * 256).astype(int), minlength=256)
    assert abs(((counts - N / 256) ** 2 / (N / 256)).sum() - 255) < 4 * np.sqrt(2 * 255)


def test_normal_numbers_have_the_moments_of_a_gaussian() -> None:
    z = Draws(2).normal("z", N).astype(np.float64)
    assert abs(z.mean()) < 4 / np.sqrt(N)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / N)
    assert abs((z**3).mean()) < 4 * np.sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / N)


def test_the_gaussian_table_is_sorted_symmetric_and_of_unit_variance() -> None:
    table = gaussian_table()
    assert table.dtype == np.float32 and table.shape == (65536,)
    assert (np.diff(table) >= 0).all()
    assert np.array_equal(table, -table[::-1])
    assert abs(table.astype(np.float64).var() - 1) < 2e-4
    assert 4.2 < table[-1] < 4.4


@pytest.mark.parametrize("draw", [Draws.uniform, Draws.normal])
def test_a_stream_does_not_correlate_with_itself_at_any_lag(draw: Callable) -> None:
    a = draw(Draws(3), "a", N)
    assert peak(a, a) < LIMIT


@pytest.mark.parametrize("draw", [Draws.uniform, Draws.normal])
def test_two_streams_do_not_correlate_at_any_shift(draw: Callable) -> None:
    streams = [draw(Draws(k), name, N) for k in (3, 4, 3 ^ (1 << 31)) for name in ("a", "b")]
    assert max(peak(a, b) for a, b in combinations(streams, 2)) < LIMIT + 0.5  # 15 pairs


def test_the_search_for_shifts_finds_streams_whose_counters_are_added() -> None:
    """With site and element in one sum, site 2's draws are site 1's, shifted."""
    added = [hashes(0, 2 * N)[site * 7919 :][:N] / 2**32 for site in (1, 2)]
    assert peak(*added) > 100


@given(st.integers(0, 300), words)
def test_a_permutation_holds_each_integer_once(n: int, key: int) -> None:
    p = Draws(key).permutation("p", n)
    assert p.dtype == np.int64
    assert sorted(p.tolist()) == list(range(n))


def test_all_permutations_are_equally_likely() -> None:
    runs = 4800
    counts = Counter(tuple(Draws(key).permutation("p", 4).tolist()) for key in range(runs))
    expected = runs / 24
    chi2 = sum((counts[p] - expected) ** 2 / expected for p in permutations(range(4)))
    assert chi2 < 23 + 4 * np.sqrt(2 * 23)


def test_draws_depend_on_key_and_name_only() -> None:
    a = Draws(7, num_classes=10)
    assert np.array_equal(a.uniform("x", 50), Draws(7).uniform("x", 100)[:50])
    assert not np.array_equal(a.uniform("x", 50), a.uniform("y", 50))
    assert not np.array_equal(a.uniform("x", 50), Draws(8).uniform("x", 50))


def test_the_bytes_are_those_of_every_other_machine_and_numpy() -> None:
    draws = Draws(word("golden", 0))
    digests = {
        "uniform": sha(draws.uniform("uniform", 1000)),
        "normal": sha(draws.normal("normal", 1000)),
        "permutation": sha(draws.permutation("permutation", 1000)),
    }
    assert digests == {
        "uniform": "86b262cf57dc4eb1460315d75dc0245986d1ff709be90e1e4b959ecbdf071346",
        "normal": "6513e83fd07bab6da43c2253ac2ae0e419057405bff78a6b1284bf16d9375860",
        "permutation": "10af626d0c30b1c43f278a8742a0cb654e92385bcbf294a674ed1d52ad6f69f8",
    }
    assert (word("golden", 0), chain(1, 2, 3)) == (147417386, 672866426)
    assert (fold((1, 2)), spell("dropout")) == (3631033899, 970807448)

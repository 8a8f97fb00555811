"""Prediction intervals of `membench verify`: their error, by simulation; what a sample meets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.records import make_record

from membench.records import Cell
from membench.records import Record
from membench.scoring.verification import ALPHA
from membench.scoring.verification import NOTHING
from membench.scoring.verification import Prior
from membench.scoring.verification import Spreads
from membench.scoring.verification import chance_to_meet
from membench.scoring.verification import disagreeing
from membench.scoring.verification import fit_prior
from membench.scoring.verification import hold
from membench.scoring.verification import predict
from membench.scoring.verification import spread_of


@pytest.mark.parametrize(
    ("cells", "forged", "sample", "chance"),
    [(10, 1, 5, 0.5), (100, 1, 20, 0.2), (5, 2, 2, 0.7), (5, 2, 4, 1.0), (1000, 1, 30, 0.03)],
)
def test_the_chance_to_meet_a_forgery_is_the_hypergeometric_one(
    cells: int, forged: int, sample: int, chance: float
) -> None:
    assert chance_to_meet(cells, forged, sample) == pytest.approx(chance, abs=1e-4)


def test_the_spread_of_spreads_is_found_again() -> None:
    draw = np.random.default_rng(1)
    degrees = np.repeat([2.0, 12.0], 1000)
    true = 3.0 * 5.0 / draw.chisquare(5.0, 2000)
    prior = fit_prior(true * draw.chisquare(degrees) / degrees, degrees)
    assert prior.degrees == pytest.approx(5.0, rel=0.2)
    assert prior.spread == pytest.approx(3.0, rel=0.1)
    alike = fit_prior(3.0 * draw.chisquare(degrees) / degrees, degrees)
    assert alike.degrees > 4 * prior.degrees
    assert fit_prior(true[:9], degrees[:9]) == NOTHING


def test_without_other_seeds_and_other_settings_nothing_is_held() -> None:
    assert predict(np.array([]), 0.5, 1000, NOTHING, 0.99) == (0.0, 1.0)
    assert predict(np.array([0.5]), 0.5, 1000, NOTHING, 0.99) == (0.0, 1.0)


def test_an_interval_is_never_narrower_than_images_make_it() -> None:
    low, high = predict(np.full(12, 0.9), 0.9, 1000, NOTHING, 0.99)
    half = stats.t.ppf(0.995, 11) * np.sqrt(2 * 0.9 * 0.1 / 1000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    low, high = predict(np.ones(12), 1.0, 1000, NOTHING, 0.99)
    assert high == 1.0
    assert 0.99 < low < 0.999


def test_more_is_seen_where_the_other_seeds_agree() -> None:
    draw = np.random.default_rng(2)
    noisy, quiet = 0.8 + 0.03 * draw.standard_normal(12), 0.8 + 0.003 * draw.standard_normal(12)
    widths = []
    for others in (noisy, quiet):
        low, high = predict(others, 0.8, 2000, NOTHING, 0.999)
        widths.append(high - low)
    assert widths[0] > 3 * widths[1]


# --- the error, by simulation --------------------------------------------------------------------

IMAGES, SETTINGS, SAMPLE = 2000, 60, 20


def simulate(draw: np.random.Generator, forged: float = 0.0) -> bool:
    """Tell whether an honest sample disagrees somewhere, or one in which a reading was forged.

    Spreads over seeds differ by setting as on the board of `quick`: in units of the binomial one
    their median is 3, and one in ten is above 20. Half of the settings have 13 seeds, half 3. Runs
    of one seed here and there are as independent as of two seeds, which is the worst case.
    """
    spreads = 2.0 * 2.5 / draw.chisquare(2.5, SETTINGS)
    centres = draw.uniform(0.8, 1.3, SETTINGS)  # accuracies from .51 to .93
    sds = np.sqrt(spreads / (4 * IMAGES))
    angles = centres[:, None] + sds[:, None] * draw.standard_normal((SETTINGS, 14))
    readings = np.round(IMAGES * np.sin(np.clip(angles, 0, np.pi / 2)) ** 2) / IMAGES
    seeds = [13 if setting % 2 else 3 for setting in range(SETTINGS)]
    estimates = [spread_of(readings[i, :n], IMAGES) for i, n in enumerate(seeds)]
    prior = fit_prior(np.array(estimates), np.array(seeds, dtype=float) - 1)
    for setting in range(SAMPLE):
        stored, others = readings[setting, 0], readings[setting, 1 : seeds[setting]]
        if setting == 1:
            stored = max(0.0, stored - forged)
        low, high = predict(others, readings[setting, 13], IMAGES, prior, 1 - ALPHA / SAMPLE)
        if not low <= stored <= high:
            return True
    return False


def test_an_honest_board_disagrees_in_at_most_one_run_of_a_hundred() -> None:
    draw = np.random.default_rng(3)
    runs = 400
    found = sum(simulate(draw) for _ in range(runs))
    # not more than what a true rate of ALPHA gives with a chance of .999
    assert found <= stats.binom.ppf(0.999, runs, ALPHA)


def test_a_large_forgery_in_one_cell_is_found() -> None:
    draw = np.random.default_rng(4)
    assert sum(simulate(draw, forged=0.3) for _ in range(20)) >= 15


def run_of(seed: int) -> Record:
    """Return a record whose only readings are accuracies on the test images at two epochs."""
    nothing: dict[str, Any] = {"train": (None, None), "val": (None, None), "wrong": (None, None)}
    cell = Cell("mnist5k", "mlp", "dropout", (0.5,), "real", seed)
    return make_record(cell, epochs=(10, 20), test=(0.8, 0.8), num_test=IMAGES, **nothing)


def test_half_of_the_error_is_for_the_last_epoch() -> None:
    records = [run_of(seed) for seed in range(6)]
    spreads = Spreads(records, {"mnist5k": 1000})
    ((early, last),) = hold([(records[0], records[0], spreads)])
    assert (early.is_final, last.is_final) == (False, True)
    assert early.half == last.half  # one test each, at half of ALPHA
    t = stats.t.ppf(1 - ALPHA / 4, 4)
    assert last.half == pytest.approx(t * np.sqrt(2 * 0.8 * 0.2 / IMAGES), rel=0.05)


def test_a_row_disagrees_where_one_of_its_readings_does_at_its_share_of_the_error() -> None:
    assert disagreeing({"H": 0.004, "dA": 0.5, "R": None}) == []
    assert disagreeing({"H": 0.003, "dA": 0.5, "R": None}) == ["H"]


def test_a_prior_of_many_like_settings_counts_as_the_known_spread() -> None:
    known = Prior(spread=4.0, degrees=1e6)
    low, high = predict(np.array([]), 0.5, 1000, known, 0.95)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(2 * 4 * 0.25 / 1000), rel=0.05)

"""How far a run that is trained again may lie from its record (README here, Verification).

On another processor a run of the same seed takes another course after some steps, since a last bit
differs. What is known of it then is what its setting's other seeds show: `Spreads` reads that from
the records of a board, and `hold` says whether each reading of a record lies within the prediction
interval around that of the run here. `chance_to_meet` says what a sample is worth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy import special

from membench.records import Record
from membench.scoring.formulas import Floats

ALPHA = 0.01  #: family-wise: the chance that an honest board disagrees anywhere in a run
FEWEST_SETTINGS = 10  #: whose spreads must be known before anything is learned from all of them
#: Smallest spread that counts as an estimate: where all seeds fit all images there is none at all.
LEAST_SPREAD = 0.01
_NORMAL = 1e6  #: degrees of freedom from which on Student's t is the normal distribution
#: A field of a record -> the symbol of the reading (README, Readings).
READINGS = {"train": "F", "val": "V", "test": "A", "wrong": "M"}

#: Task, setting and signal: what runs have in common that differ in their seed alone.
SettingId = tuple[str, str, str]
Place = tuple[str, int]  #: field and epoch of a reading


def chance_to_meet(cells: int, forged: int, sample: int) -> float:
    """Return the probability that a sample without replacement holds a forged cell at least.

    Args:
        cells: from which it is drawn.
        forged: of these.
        sample: cells drawn.
    """
    if sample > cells - forged:
        return 1.0
    missed = special.gammaln([cells - forged + 1, cells - sample + 1])
    norm = special.gammaln([cells - forged - sample + 1, cells + 1])
    return float(-np.expm1(missed.sum() - norm.sum()))


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the spreads of many settings say of the next one's: a scaled inverse chi-squared.

    Spreads are variances over seeds in units of the binomial one.
    """

    spread: float  #: its scale
    degrees: float  #: how many observations it is worth: 0 = nothing is known


NOTHING = Prior(spread=1.0, degrees=0.0)


def fit_prior(spreads: Floats, degrees: Floats) -> Prior:
    """Fit the distribution of spreads over settings to their estimates, by moments of logarithms.

    Smyth, "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in
    Microarray Experiments", Stat. Appl. Genet. Mol. Biol. 3(1), 2004, section 6.2.

    Args:
        spreads: [n], estimates, each of one setting; below `LEAST_SPREAD` they count as that.
        degrees: [n], of freedom, of each from 1 on.
    """
    if len(spreads) < FEWEST_SETTINGS:
        return NOTHING
    half = degrees / 2
    logs = np.log(np.maximum(spreads, LEAST_SPREAD)) - special.digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= special.polygamma(1, _NORMAL / 2):  # they differ by no more than estimates do
        return Prior(spread=float(np.exp(logs.mean())), degrees=_NORMAL)
    # trigamma falls from infinity to 0: its inverse is found between these ends
    prior_half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-6, _NORMAL)
    mean = logs.mean() + special.digamma(prior_half) - math.log(prior_half)
    return Prior(spread=float(np.exp(mean)), degrees=2 * float(prior_half))


def predict(
    others: Floats, here: float, images: int, prior: Prior, level: float
) -> tuple[float, float]:
    """Return between which values a stored reading is expected, given that of the run here.

    All is computed on the scale of `angle`, on which the spread of a share that is close to 0 or 1
    is about that of any other.

    Args:
        others: [n], the same reading at the setting's other seeds; none or more.
        here: of the run that was trained again.
        images: that the reading is a share of.
        prior: of spreads, from all settings.
        level: of the two-sided prediction interval, close to 1.

    Returns:
        0 and 1 where neither other seeds nor other settings say anything.
    """
    freedom = max(0, len(others) - 1)
    degrees = prior.degrees + freedom
    if degrees == 0:
        return 0.0, 1.0
    spread = prior.spread
    if freedom:
        own = spread_of(others, images)
        spread = (prior.degrees * prior.spread + freedom * own) / degrees
    half = _quantile(degrees, level) * math.sqrt(2 * max(1.0, spread) / (4 * images))
    centre = float(angle(here, images))
    low, high = max(0.0, centre - half), min(math.pi / 2, centre + half)
    return _share(low, images), _share(high, images)


def spread_of(values: Floats, images: int) -> float:
    """Return the variance of a reading over seeds, as angles, over the binomial one."""
    return float(angle(values, images).var(ddof=1)) * 4 * images


def angle(shares: Floats | float, images: int) -> Floats:
    """Return the angles of shares of images, of which the binomial variance is 1 / (4 images).

    Anscombe, "The Transformation of Poisson, Binomial and Negative-Binomial Data", Biometrika 35,
    1948.

    Returns:
        From 0 to pi / 2.
    """
    count = np.asarray(shares) * images
    return np.asarray(np.arcsin(np.sqrt((count + 0.375) / (images + 0.75))))


def _share(of_angle: float, images: int) -> float:
    """Return the share of images that has an angle."""
    count = math.sin(of_angle) ** 2 * (images + 0.75) - 0.375
    return min(max(count / images, 0.0), 1.0)


def _quantile(degrees: float, level: float) -> float:
    """Return the two-sided quantile of Student's t."""
    tail = (1 - level) / 2
    if degrees >= _NORMAL:
        return float(-special.ndtri(tail))
    return float(-special.stdtrit(degrees, tail))


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """One reading of a record beside that of the same cell, trained again."""

    reading: str  #: "F", "V", "A" or "M"
    epoch: int
    stored: float
    here: float
    low: float  #: of the prediction interval
    high: float
    is_final: bool  #: at the last epoch, which rows are read at

    @property
    def agrees(self) -> bool:
        """Tell whether the stored reading lies in the interval around the one here."""
        return self.low <= self.stored <= self.high

    @property
    def is_held(self) -> bool:
        """Tell whether the interval excludes anything."""
        return (self.low, self.high) != (0.0, 1.0)

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


class Spreads:
    """The readings of a board's runs, by setting and place.

    Args:
        records: of one environment.
        validation: data set -> number of validation images.
    """

    def __init__(self, records: Iterable[Record], validation: Mapping[str, int]) -> None:
        self._validation = validation
        self._values: dict[tuple[SettingId, Place], dict[int, float]] = defaultdict(dict)
        self._images: dict[tuple[str, str, str], int] = {}  #: task, signal, field -> their number
        for record in records:
            if record.status != "ok":
                continue
            for place, value in readings_of(record):
                self._values[_setting(record), place][record.seed] = value
                known = record.cell.task, record.signal, place[0]
                self._images[known] = self.images(record, place[0])
        self._priors: dict[tuple[str, str, Place], Prior] = {}

    def images(self, record: Record, name: str) -> int:
        """Return how many images or labels a reading of a record is a share of."""
        sizes = {
            "train": record.num_train,
            "val": self._validation[record.dataset],
            "test": record.num_test,
            "wrong": record.num_wrong,
        }
        return sizes[name]

    def others(self, record: Record, place: Place) -> Floats:
        """Return a reading at the setting's other seeds, [n]."""
        by_seed = self._values.get((_setting(record), place), {})
        return np.array([value for seed, value in by_seed.items() if seed != record.seed])

    def prior(self, record: Record, place: Place) -> Prior:
        """Return what all settings say of a reading's spread, on the record's task and signal."""
        known = record.cell.task, record.signal, place
        if known not in self._priors:
            self._priors[known] = self._fit(*known)
        return self._priors[known]

    def _fit(self, task: str, signal: str, place: Place) -> Prior:
        spreads, degrees = [], []
        images = self._images.get((task, signal, place[0]), 0)
        for ((of_task, _, of_signal), at), by_seed in self._values.items():
            if (of_task, of_signal, at) == (task, signal, place) and len(by_seed) > 1:
                values = np.array(list(by_seed.values()))
                spreads.append(spread_of(values, images))
                degrees.append(len(values) - 1)
        return fit_prior(np.array(spreads), np.array(degrees, dtype=float))


def readings_of(record: Record) -> Iterator[tuple[Place, float]]:
    """Yield each reading of a record with its place; those that were not read are left out."""
    for name in READINGS:
        for epoch, value in zip(record.epochs, getattr(record, name), strict=True):
            if value is not None:
                yield (name, epoch), value


def hold(pairs: Sequence[tuple[Record, Record, Spreads]]) -> list[list[Deviation]]:
    """Hold records to runs of the same cells; the family-wise error is at most `ALPHA`.

    Half of it is for what rows are read at, the last epoch, half for all earlier epochs together;
    within each half all readings of all pairs count the same (Bonferroni).

    Args:
        pairs: (stored, trained here, spreads of the stored one's board and environment); both
            records ended `ok`.

    Returns:
        For each pair every reading that both have.
    """
    common = []
    tests = final = 0
    for stored, here, _ in pairs:
        mine = dict(readings_of(here))
        places = [(place, value) for place, value in readings_of(stored) if place in mine]
        common.append((places, mine))
        tests += len(places)
        final += sum(epoch == stored.epochs[-1] for (_, epoch), _ in places)
    levels = _levels(final, tests)
    held = []
    for (stored, _, spreads), (places, mine) in zip(pairs, common, strict=True):
        deviations = []
        for place, value in places:
            name, epoch = place
            is_final = epoch == stored.epochs[-1]
            low, high = predict(
                spreads.others(stored, place),
                mine[place],
                spreads.images(stored, name),
                spreads.prior(stored, place),
                levels[is_final],
            )
            deviations.append(
                Deviation(
                    reading=READINGS[name],
                    epoch=epoch,
                    stored=value,
                    here=mine[place],
                    low=low,
                    high=high,
                    is_final=is_final,
                )
            )
        held.append(deviations)
    return held


def disagreeing(p: Mapping[str, float | None]) -> list[str]:
    """Name the readings of a row that differ, with a family-wise error of `ALPHA` (Bonferroni).

    Args:
        p: reading -> two-sided p of no difference; None = without an interval.
    """
    return [name for name, value in p.items() if value is not None and value < ALPHA / len(p)]


def _levels(final: int, tests: int) -> dict[bool, float]:
    """Return the levels of the intervals at the last epoch (True) and at earlier ones (False).

    Args:
        final: readings at the last epoch.
        tests: all readings.
    """
    share = 1.0 if final == tests else 0.5
    return {
        True: 1 - ALPHA * share / max(1, final),
        False: 1 - ALPHA * (1 - share) / max(1, tests - final),
    }


def _setting(record: Record) -> SettingId:
    return record.cell.task, record.setting, record.signal

"""Simulated boards, many at once, for the slow tests of scoring (test_simulation.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from membench.scoring.formulas import Floats
from membench.scoring.formulas import choose
from membench.scoring.formulas import damage
from membench.scoring.formulas import gain
from membench.scoring.stats import Stratum
from membench.scoring.stats import make_stratum

TESTS, VALIDATION = 2000, 1000  # images, as in `quick`
BASELINE = np.array([0.93, 0.75])  # A0_0 and A0_.4

Grid = Sequence[tuple[float, float]]  # (A_0, A_.4) by strength
NONE: Grid = [(0.93, 0.75)] * 5
CLEAR: Grid = [(0.93, 0.76), (0.93, 0.79), (0.932, 0.83), (0.93, 0.87), (0.90, 0.84)]
NEAR: Grid = [(0.93, 0.86), (0.93, 0.861), (0.931, 0.86), (0.93, 0.86), (0.93, 0.859)]
TRADE: Grid = [(0.93, 0.80), (0.97, 0.70), (0.90, 0.83), (0.92, 0.81), (0.91, 0.82)]


@dataclass
class World:
    """`boards` independent boards of one task; axes [board, strength, seed, level]."""

    rng: np.random.Generator
    boards: int
    seeds: int
    spread: float = 0.008  # standard deviation of the training noise
    lumps: float = 0.0  # how often a run ends 6 points lower
    images: float = 0.006  # standard deviation of the test images' effect
    alike: float = 0.7  # correlation of that effect with the one on `none`
    stuck: float = 1.0  # the entries' training noise, as a share of that of `none`
    seed_noise: Floats = field(init=False)  # [board, seed, level], shared by all entries
    val_effect: Floats = field(init=False)  # [board, seed, level], of the validation images
    image_effect: Floats = field(init=False)  # [board, level], of the test images on `none`
    test_accuracy: Floats = field(init=False)  # A0, [board, seed, level]
    val_accuracy: Floats = field(init=False)  # V0, [board, seed, level]

    def __post_init__(self) -> None:
        shape = (self.boards, self.seeds, 2)
        self.seed_noise = self.rng.normal(0, self.spread, shape)
        self.val_effect = self.rng.normal(0, 0.012, shape)
        self.image_effect = self.rng.normal(0, self.images, (self.boards, 2))
        noise = self.seed_noise + self.training_noise(shape, 1.0)
        test = BASELINE + self.image_effect[:, None] + noise
        self.test_accuracy = to_counts(test, TESTS)
        val = BASELINE + self.val_effect + noise + self.rng.normal(0, 0.003, shape)
        self.val_accuracy = to_counts(val, VALIDATION)

    def training_noise(self, shape: tuple[int, ...], share: float) -> Floats:
        lump = (self.rng.random(shape) < self.lumps) * 0.06 - self.lumps * 0.06
        return share * self.rng.normal(0, self.spread, shape) - lump

    def chain(self, shape: tuple[int, ...], spread: float, rho: float) -> Floats:
        """Draw normals correlated along axis 1: a network read at consecutive epochs."""
        x = self.rng.normal(0, spread, shape)
        for i in range(1, shape[1]):
            x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * x[:, i]
        return x

    def simulate(
        self, grid: Grid, target: Floats | None = None, curve: bool = False
    ) -> tuple[Stratum, Floats]:
        """Simulate one entry.

        Args:
            grid: its mean accuracies by strength.
            target: [board], the N it shall give in the mean over new seeds; None = what comes out.
            curve: its strengths are epochs of one run, so that their noise is correlated.

        Returns:
            Its stratum, and the N that it gives in the mean over new seeds.
        """
        mean = np.asarray(grid)
        shape = (self.boards, len(mean), self.seeds, 2)
        if curve:
            noise = self.chain(shape, self.spread, 0.8)
        else:
            noise = self.training_noise(shape, self.stuck)
        train = self.stuck * self.seed_noise[:, None] + noise
        own_images = self.chain((self.boards, len(mean), 2), self.images, 0.95 if curve else 0.0)
        shared_images = self.alike * self.image_effect[:, None]
        images = shared_images + np.sqrt(1 - self.alike**2) * own_images
        val = mean[:, None] + train + self.val_effect[:, None] + self.rng.normal(0, 0.004, shape)
        gain_val = with_off(gain(to_counts(val, VALIDATION), self.val_accuracy))
        votes = np.bincount(choose(gain_val).ravel(), minlength=len(mean) + 1)
        chosen = votes / self.boards / self.seeds
        baseline = (BASELINE + self.image_effect)[:, None]
        expected = (mean + images - baseline).sum(-1) @ chosen[1:]
        if target is not None:
            images = images + ((target - expected) / (1 - chosen[0]) / 2)[:, None, None]
            expected = target
        test = to_counts(mean[:, None] + images[:, :, None] + train, TESTS)
        gain_test = with_off(gain(test, self.test_accuracy))
        return make_stratum(gain_val, gain_test, damage(self.test_accuracy), TESTS), expected

    @property
    def damage(self) -> Floats:
        """G in the mean over new seeds."""
        return (BASELINE + self.image_effect) @ np.array([1.0, -1.0])


def to_counts(accuracy: Floats, images: int) -> Floats:
    """Round to shares of whole images."""
    return np.round(np.clip(accuracy, 0, 1) * images) / images


def with_off(gains: Floats) -> Floats:
    """Put off, which gains nothing, before the strengths: [board, l, s]."""
    return np.concatenate([np.zeros_like(gains[:, :1]), gains], 1)


def early_stopping() -> Grid:
    """`none` read at 15 epochs, then three lower rates.

    The best is at about the fifth epoch, and costs some real accuracy.
    """
    e = np.array([30, 25, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    real = 0.93 - 0.10 * np.exp(-(e - 1) / 2)
    noisy = 0.75 + 0.12 * np.exp(-((np.log(e) - np.log(5)) ** 2) / 0.8) - 0.12 * np.exp(-(e - 1.0))
    return [*zip(real, noisy, strict=True), (0.93, 0.78), (0.92, 0.84), (0.88, 0.80)]

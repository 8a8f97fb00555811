"""Simulated boards, many at once, for the slow tests of scoring: what a world is stands in test_scoring_simulation."""

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
PLAIN = np.array([0.93, 0.75])  # A0_0 and A0_.4

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
    spread: float = 0.008  # of the training noise
    lumps: float = 0.0  # how often a run ends 6 points lower
    images: float = 0.006  # of the test images' effect
    alike: float = 0.7  # correlation of that effect with the one on `none`
    stuck: float = 1.0  # the entries' training noise, as a share of `none`'s
    base: dict[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.boards, self.seeds, 2)
        draw = {"seed": self.spread, "val": 0.012}
        self.base = {name: self.rng.normal(0, sd, shape) for name, sd in draw.items()}
        self.base["images"] = self.rng.normal(0, self.images, (self.boards, 2))
        own = self.base["seed"] + self.noise(shape, 1.0)
        self.base["A"] = counted(PLAIN + self.base["images"][:, None] + own, TESTS)
        self.base["V"] = counted(
            PLAIN + self.base["val"] + own + self.rng.normal(0, 0.003, shape), VALIDATION
        )

    def noise(self, shape: tuple[int, ...], share: float) -> Floats:
        lump = (self.rng.random(shape) < self.lumps) * 0.06 - self.lumps * 0.06
        return share * self.rng.normal(0, self.spread, shape) - lump

    def chain(self, shape: tuple[int, ...], spread: float, rho: float) -> Floats:
        """Normal, correlated along axis 1: a network read at epochs that follow each other."""
        x = self.rng.normal(0, spread, shape)
        for i in range(1, shape[1]):
            x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * x[:, i]
        return x

    def play(
        self, grid: Grid, target: Floats | None = None, curve: bool = False
    ) -> tuple[Stratum, Floats]:
        """An entry's stratum, and the N that it gives in the mean over new seeds (moved to `target` if given)."""
        mean = np.asarray(grid)
        shape = (self.boards, len(mean), self.seeds, 2)
        own = self.chain(shape, self.spread, 0.8) if curve else self.noise(shape, self.stuck)
        train = self.stuck * self.base["seed"][:, None] + own
        images = self.chain((self.boards, len(mean), 2), self.images, 0.95 if curve else 0.0)
        images = self.alike * self.base["images"][:, None] + np.sqrt(1 - self.alike**2) * images
        val = mean[:, None] + train + self.base["val"][:, None] + self.rng.normal(0, 0.004, shape)
        gain_val = with_off(gain(counted(val, VALIDATION), self.base["V"]))
        chosen = (
            np.bincount(choose(gain_val).ravel(), minlength=len(mean) + 1)
            / self.boards
            / self.seeds
        )
        expected = (mean + images - (PLAIN + self.base["images"])[:, None]).sum(-1) @ chosen[1:]
        if target is not None:
            images = images + ((target - expected) / (1 - chosen[0]) / 2)[:, None, None]
            expected = target
        test = counted(mean[:, None] + images[:, :, None] + train, TESTS)
        return make_stratum(
            gain_val, with_off(gain(test, self.base["A"])), damage(self.base["A"]), TESTS
        ), expected

    @property
    def damage(self) -> Floats:
        """G in the mean over new seeds."""
        return (PLAIN + self.base["images"]) @ np.array([1.0, -1.0])


def counted(x: Floats, images: int) -> Floats:
    return np.round(np.clip(x, 0, 1) * images) / images


def with_off(gains: Floats) -> Floats:
    return np.concatenate([np.zeros_like(gains[:, :1]), gains], 1)


def early_stopping() -> Grid:
    """`none` read at 15 epochs, then three lower rates: best at about the fifth epoch, and not without a cost."""
    e = np.array([30, 25, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    real = 0.93 - 0.10 * np.exp(-(e - 1) / 2)
    noisy = 0.75 + 0.12 * np.exp(-((np.log(e) - np.log(5)) ** 2) / 0.8) - 0.12 * np.exp(-(e - 1.0))
    return [*zip(real, noisy, strict=True), (0.93, 0.78), (0.92, 0.84), (0.88, 0.80)]

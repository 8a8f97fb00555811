"""Simulated boards of protocol 2, many at once, for the slow tests of scoring.

A world has true readings for each entry and strength; runs scatter around them, with noise that all
entries share at one seed and noise of their own, and end as whole images and labels. Strengths are
chosen on some seeds and read on others, as the board does it, by the functions that the board uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.scoring.confirmed import choose_by_recovery
from membench.scoring.confirmed import read_mean
from membench.scoring.confirmed import read_ratio
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import by_chance

CLASSES = 10
TESTS, VALIDATION, WRONG = 2000, 1000, 360  #: images, images, wrong labels of mixed@0.4
PLAIN = (0.90, 0.66, 1.0)  #: of `none`: A_0, A_.4, M

Truth = tuple[float, float, float]  #: A_0, A_.4 and M of one strength


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry's strengths, and how its runs scatter."""

    strengths: Sequence[Truth]
    spread: float = 0.006  #: of accuracies, own noise of a run
    memory_spread: float = 0.02  #: of M
    diverges: float = 0.0  #: share of the runs that end as the worst value


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The readings of all entries at their chosen strengths, and the truth: [board, entry]."""

    readings: dict[str, Reading]  #: "H", "dA", "noisy" and "R"
    truth: dict[str, Floats]


@dataclass
class World:
    """Boards of one task, each with seeds to choose on and seeds to read."""

    rng: np.random.Generator
    boards: int
    choosing: int = 3
    confirming: int = 10
    shared_spread: float = 0.006  #: noise of a seed, which all entries have

    def run(self, entries: Sequence[Entry], weight: float = 1.0) -> Confirmed:
        """Choose every entry's strengths and read it; H and dA at the first choice, R at the other.

        Args:
            entries: all of the board.
            weight: of this task.
        """
        choosing = _Seeds(self, self.choosing)
        confirming = _Seeds(self, self.confirming)
        parts: dict[str, list[Reading]] = {"H": [], "dA": [], "noisy": [], "R": []}
        truth: dict[str, list[Floats]] = {name: [] for name in parts}
        for entry in entries:
            held_back, recovery = self._choose(entry, choosing)
            for names, chosen in ((("H", "dA", "noisy"), held_back), (("R",), recovery)):
                readings = confirming.read(entry, chosen, weight)
                true = true_readings(entry, chosen)
                for name in names:
                    parts[name].append(readings[name])
                    truth[name].append(true[name])
        return Confirmed(
            readings={name: _stack(of_entries) for name, of_entries in parts.items()},
            truth={name: np.stack(of_entries, -1) for name, of_entries in truth.items()},
        )

    def _choose(self, entry: Entry, seeds: _Seeds) -> tuple[Ints, Ints]:
        held_back, gain_val = [], []
        for strength in range(1 + len(entry.strengths)):
            chosen = np.full(self.boards, strength)
            readings = seeds.read(entry, chosen, 1.0)
            held_back.append(readings["H"].value)
            gain_val.append(seeds.gain_val)
        gains = np.stack(gain_val, 1)
        return choose_by_noise_held_back(np.stack(held_back, 1), gains), choose_by_recovery(gains)


class _Seeds:
    """The runs of `none` at some seeds, and those of entries beside them."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.count = world, count
        rng, shape = world.rng, (world.boards, count, 2)
        self.shared = rng.normal(0, world.shared_spread, shape)
        self.images = rng.normal(0, 0.012, shape)  # of the validation images, which seeds draw
        own = rng.normal(0, 0.006, shape)
        self.accuracy = _whole(np.array(PLAIN[:2]) + self.shared + own, TESTS)
        val = np.array(PLAIN[:2]) + self.shared + own + self.images + rng.normal(0, 0.004, shape)
        self.val = _whole(val, VALIDATION)
        self.memory = _whole(PLAIN[2] - abs(rng.normal(0, 0.001, shape[:2])), WRONG)
        self.gain_val: Floats = np.zeros((world.boards, 2))  #: of the last `read`

    def read(self, entry: Entry, chosen: Ints, weight: float) -> dict[str, Reading]:
        """Train an entry at a strength a board (0 = off, which is `none`) and read it."""
        rng, shape = self.world.rng, (self.world.boards, self.count, 2)
        off = chosen == 0
        true = np.array([PLAIN, *entry.strengths])[chosen]
        own = self.shared + rng.normal(0, entry.spread, shape)
        accuracy = _whole(true[:, None, :2] + own, TESTS)
        val = true[:, None, :2] + own + self.images + rng.normal(0, 0.004, shape)
        val = _whole(val, VALIDATION)
        noise = rng.normal(0, entry.memory_spread, shape[:2])
        memory = _whole(true[:, None, 2] + noise, WRONG)
        bad = rng.random(shape) < entry.diverges
        accuracy, val = np.where(bad, 1 / CLASSES, accuracy), np.where(bad, 1 / CLASSES, val)
        chance, plain_chance = by_chance(accuracy[..., 1], CLASSES), self._plain_chance
        memory = np.where(bad[..., 1], self.memory, memory)
        chance = np.where(bad[..., 1], plain_chance, chance)
        accuracy = np.where(off[:, None, None], self.accuracy, accuracy)
        val = np.where(off[:, None, None], self.val, val)
        beyond = np.where(off[:, None], self.memory - plain_chance, memory - chance)
        self.gain_val = (val - self.val).mean(1)
        gain = accuracy - self.accuracy
        to_hold_back = self.memory - plain_chance
        damage = self.accuracy[..., 0] - self.accuracy[..., 1]
        one_image = np.array([1 / TESTS])
        return {
            "H": read_ratio(
                (to_hold_back - beyond)[..., None],
                to_hold_back[..., None],
                np.array([1 / WRONG]),
                weight,
            ),
            "dA": read_mean(100 * gain[..., 0], 100 / TESTS, weight),
            "noisy": read_mean(100 * gain[..., 1], 100 / TESTS, weight),
            "R": read_ratio(gain.sum(-1)[..., None], damage[..., None], one_image, weight),
        }

    @property
    def _plain_chance(self) -> Floats:
        return by_chance(self.accuracy[..., 1], CLASSES)


def true_readings(entry: Entry, chosen: Ints) -> dict[str, Floats]:
    """Compute the readings that many seeds would give: [board], at a strength a board."""
    accuracy = np.array([PLAIN, *entry.strengths])[chosen]
    ends = np.where(chosen == 0, 1.0, 1.0 - entry.diverges)
    real, mixed = (ends * accuracy[:, i] + (1 - ends) / CLASSES for i in (0, 1))
    plain_beyond = PLAIN[2] - float(by_chance(np.array(PLAIN[1]), CLASSES))
    beyond = accuracy[:, 2] - by_chance(accuracy[:, 1], CLASSES)
    gain = real - PLAIN[0], mixed - PLAIN[1]
    return {
        "H": ends * (1 - beyond / plain_beyond),
        "dA": 100 * gain[0],
        "noisy": 100 * gain[1],
        "R": (gain[0] + gain[1]) / (PLAIN[0] - PLAIN[1]),
    }


def holding_back(share: float, real: float = 0.0, mixed: float = 0.05) -> Truth:
    """Make a strength of a true H, with its true gains of accuracy."""
    accuracy = PLAIN[1] + mixed
    chance = float(by_chance(np.array(accuracy), CLASSES))
    plain_beyond = PLAIN[2] - float(by_chance(np.array(PLAIN[1]), CLASSES))
    return PLAIN[0] + real, accuracy, chance + (1 - share) * plain_beyond


def _whole(share: Floats, of: int) -> Floats:
    """Round to whole images or labels."""
    return np.round(np.clip(share, 0, 1) * of) / of


def _stack(readings: Sequence[Reading]) -> Reading:
    """Stack the readings of several entries: [board, entry, seed]."""
    return Reading(
        value=np.stack([reading.value for reading in readings], -1),
        influence=np.stack([reading.influence for reading in readings], -2),
        floor=max(reading.floor for reading in readings),
        weight=readings[0].weight,
    )

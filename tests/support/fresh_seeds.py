"""Simulated boards of the whole procedure, many at once, for the slow tests of scoring.

A world has true readings for each entry and strength; runs scatter around them, with noise that all
entries share at one seed and noise of their own, end as whole images and labels, and may diverge.
Strengths are chosen on some seeds and read on others, as the board does it, by the functions that
the board uses. So are both controls: the plain network's runs have curves.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from membench.scoring.confirmed import Reading
from membench.scoring.confirmed import choose_by_noise_held_back
from membench.scoring.confirmed import choose_by_recovery
from membench.scoring.confirmed import expect_failures
from membench.scoring.confirmed import read_mean
from membench.scoring.confirmed import read_ratio
from membench.scoring.formulas import Floats
from membench.scoring.formulas import Ints
from membench.scoring.formulas import by_chance

CLASSES = 10
TESTS, VALIDATION, WRONG, TRAINED = 2000, 1000, 360, 1000  #: images, images, wrong labels, images
ONE_TEST = np.array([1 / TESTS])
CHANCE_FIT = 0.12  #: cF
SIGNALS = 3  #: real, mixed@0.4 and randY

Truth = tuple[float, float, float, float]  #: A_0, A_.4, M and F of one strength or epoch

PLAIN: Truth = (0.90, 0.66, 0.998, 0.998)
#: `none` at earlier epochs, the latest first
EARLIER: tuple[Truth, ...] = (
    (0.900, 0.67, 0.98, 0.99),
    (0.897, 0.70, 0.85, 0.97),
    (0.890, 0.75, 0.45, 0.70),
    (0.880, 0.79, 0.20, 0.40),
    (0.860, 0.81, 0.10, 0.25),
    (0.840, 0.79, 0.07, 0.15),
)
#: `none` at lower rates, from the highest to the lowest
LOW_RATES: tuple[Truth, ...] = (
    (0.890, 0.67, 0.95, 0.99),
    (0.895, 0.72, 0.60, 0.80),
    (0.905, 0.80, 0.30, 0.50),
    (0.870, 0.79, 0.10, 0.20),
    (0.840, 0.77, 0.05, 0.15),
)
BEST_RATE = LOW_RATES[2]  #: what training less chooses nearly always, by both questions
READINGS = ("H", "S", "dA", "noisy", "R")
#: "H" and so on; "worst H" is H, had every run of it failed
Readings = dict[str, Reading]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry's strengths, and how its runs scatter."""

    strengths: Sequence[Truth]
    spread: float = 0.006  #: of accuracies, own noise of a run
    memory_spread: float = 0.02  #: of M and F
    fails: float = 0.0  #: share of the runs that end as the worst value


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of one setting on one task: the boards b, the seeds s, real and mixed p."""

    accuracy: Floats  #: [b, s, p]
    val: Floats  #: [b, s, p]
    memory: Floats  #: [b, s], M
    chance: Floats  #: [b, s], q
    fit: Floats  #: [b, s], F
    failed: Ints  #: [b], of the runs on all three signals


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One entry on one task at the strength that one question chose."""

    readings: Readings
    truth: dict[str, Floats]  #: [b]
    is_on: NDArray[np.bool_]  #: [b]; off is exactly `none`


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry on all tasks: readings one a task, truths in the mean over tasks, [b].

    H, S, dA and noisy are read at one choice, R at the other.
    """

    readings: dict[str, list[Reading]]
    truth: dict[str, Floats]
    is_on: dict[str, NDArray[np.bool_]]  #: off was chosen on no task


@dataclass
class World:
    """Boards of some tasks, each with seeds to choose on and seeds to read."""

    rng: np.random.Generator
    boards: int
    tasks: int = 2
    choosing: int = 3
    confirming: int = 10
    shared_spread: float = 0.006  #: noise of a seed, which all entries have

    def run(self, entries: Sequence[Entry]) -> list[Row]:
        """Choose every entry's strengths and read them: one row an entry, then both controls."""
        by_task = [self._run_task(entries) for _ in range(self.tasks)]
        return [_row(answers) for answers in zip(*by_task, strict=True)]

    def _run_task(self, entries: Sequence[Entry]) -> list[list[Answer]]:
        """Return the answers to both questions of every entry, then of both controls."""
        choosing = Plain(self, self.choosing)
        confirming = Plain(self, self.confirming)
        rows = []
        for entry in entries:
            grid = [choosing.runs()]
            for strength in range(1, 1 + len(entry.strengths)):
                grid.append(choosing.train(entry, np.full(self.boards, strength)))
            chosen = choosing.choose(grid)
            read = [confirming.train(entry, strength) for strength in chosen]
            # the cells of one strength are trained once
            read[1] = _where(chosen[0] == chosen[1], read[0], read[1])
            truths = np.array([PLAIN, *entry.strengths])
            answers = []
            failed = np.cumsum([runs.failed for runs in grid], 0)  # [l, b], up to each strength
            for strength, runs in zip(chosen, read, strict=True):
                earlier = np.take_along_axis(failed, strength[None], 0)[0]
                fails = np.where(strength > 0, entry.fails, 0.0)
                answer = Answer(
                    readings=confirming.read(runs, 1 / self.tasks, earlier),
                    truth=true_readings(truths[strength], fails),
                    is_on=strength > 0,
                )
                answers.append(answer)
            rows.append(answers)
        return [*rows, self._training_less(choosing, confirming), self._stopped(confirming)]

    def _training_less(self, choosing: Plain, confirming: Plain) -> list[Answer]:
        low = Entry(strengths=LOW_RATES)
        num_early = 1 + len(EARLIER)
        grid = [choosing.runs(epoch) for epoch in range(num_early)]
        for i in range(len(LOW_RATES)):
            grid.append(choosing.train(low, np.full(self.boards, 1 + i)))
        chosen = choosing.choose(grid)
        truths = np.array([PLAIN, *EARLIER, *LOW_RATES])
        answers = []
        trained: dict[int, Runs] = {}
        for i in range(len(LOW_RATES)):
            trained[num_early + i] = confirming.train(low, np.full(self.boards, 1 + i))
        for strength in chosen:
            runs = confirming.runs()
            for epoch in range(1, num_early):
                runs = _where(strength == epoch, confirming.runs(epoch), runs)
            for place, of_rate in trained.items():
                runs = _where(strength == place, of_rate, runs)
            answer = Answer(
                readings=confirming.read(runs, 1 / self.tasks),
                truth=true_readings(truths[strength], np.zeros(self.boards)),
                is_on=strength > 0,
            )
            answers.append(answer)
        return answers

    def _stopped(self, confirming: Plain) -> list[Answer]:
        truth = {name: np.full(self.boards, value) for name, value in stopped_truth().items()}
        readings = confirming.read(confirming.stopped(), 1 / self.tasks)
        answer = Answer(readings=readings, truth=truth, is_on=np.ones(self.boards, dtype=bool))
        return [answer, answer]


class Plain:
    """The runs of `none` at some seeds, and those of entries beside them."""

    def __init__(self, world: World, count: int) -> None:
        self.world, self.count = world, count
        rng, shape = world.rng, (world.boards, count, 2)
        self.shared = rng.normal(0, world.shared_spread, shape)
        self.images = rng.normal(0, 0.012, shape)  # of the validation images, which seeds draw
        own = rng.normal(0, 0.006, shape)
        curve = np.array([PLAIN, *EARLIER])
        epochs = (*shape, len(curve))
        # each epoch has noise of its own beside the run's
        level = (self.shared + own)[..., None] + rng.normal(0, 0.003, epochs) + curve[:, :2].T
        self.accuracy = _whole(level, TESTS)
        val = level + self.images[..., None] + rng.normal(0, 0.004, epochs)
        self.val = _whole(val, VALIDATION)
        spread = 0.001 + 0.02 * (1 - curve[:, 2])
        epochs = (*shape[:2], len(curve))
        self.memory = _whole(curve[:, 2] + rng.normal(0, 1, epochs) * spread, WRONG)
        self.fit = _whole(curve[:, 3] + rng.normal(0, 1, epochs) * spread, TRAINED)

    def runs(self, epoch: int = 0) -> Runs:
        """Read `none` at an epoch, counted from the last."""
        return Runs(
            accuracy=self.accuracy[..., epoch],
            val=self.val[..., epoch],
            memory=self.memory[..., epoch],
            chance=by_chance(self.accuracy[..., 1, epoch], CLASSES),
            fit=self.fit[..., epoch],
            failed=np.zeros(len(self.fit), dtype=np.int64),
        )

    def stopped(self) -> Runs:
        """Read each run of `none` at its own best epoch on validation images, ties to the first."""
        # the latest epoch is the first of the axis
        best = self.val.shape[-1] - 1 - self.val[..., ::-1].argmax(-1)  # [b, s, p]
        accuracy = np.take_along_axis(self.accuracy, best[..., None], -1)[..., 0]
        memory = np.take_along_axis(self.memory, best[..., 1, None], -1)[..., 0]
        return replace(
            self.runs(),
            accuracy=accuracy,
            memory=memory,
            chance=by_chance(accuracy[..., 1], CLASSES),
        )

    def train(self, entry: Entry, chosen: Ints) -> Runs:
        """Train an entry at a strength a board (0 = off, which is `none`)."""
        rng, shape = self.world.rng, (self.world.boards, self.count, 2)
        plain = self.runs()
        true = np.array([PLAIN, *entry.strengths])[chosen]
        own = self.shared + rng.normal(0, entry.spread, shape)
        accuracy = _whole(true[:, None, :2] + own, TESTS)
        val = true[:, None, :2] + own + self.images + rng.normal(0, 0.004, shape)
        val = _whole(val, VALIDATION)
        memory = _whole(true[:, None, 2] + rng.normal(0, entry.memory_spread, shape[:2]), WRONG)
        fit = _whole(true[:, None, 3] + rng.normal(0, entry.memory_spread, shape[:2]), TRAINED)
        bad = rng.random((*shape[:2], SIGNALS)) < entry.fails
        runs = Runs(
            accuracy=np.where(bad[..., :2], 1 / CLASSES, accuracy),
            val=np.where(bad[..., :2], 1 / CLASSES, val),
            memory=np.where(bad[..., 1], plain.memory, memory),
            chance=np.where(bad[..., 1], plain.chance, by_chance(accuracy[..., 1], CLASSES)),
            fit=np.where(bad[..., 2], plain.fit, fit),
            failed=bad.sum((1, 2)),
        )
        return _where(chosen == 0, plain, runs)

    def choose(self, grid: Sequence[Runs]) -> tuple[Ints, Ints]:
        """Choose by noise held back and by recovery; off is the first of the grid."""
        held_back = [self._read(runs, 1.0)["H"].value for runs in grid]
        gain_val = [(runs.val - self.runs().val).mean(1) for runs in grid]
        gains = np.stack(gain_val, 1)
        return choose_by_noise_held_back(np.stack(held_back, 1), gains), choose_by_recovery(gains)

    def read(self, runs: Runs, weight: float, earlier: Ints | None = None) -> Readings:
        """Read a setting, as the board does it.

        Args:
            runs: of the setting.
            weight: of the task.
            earlier: [b], failed choosing runs at this strength and the weaker ones.
        """
        warnings = np.zeros_like(runs.failed) if earlier is None else earlier
        values = self._read(runs, weight)
        planned = np.full(len(runs.failed), SIGNALS * self.count)
        readings = {}
        for name in READINGS:
            worst = values["worst " + name].value
            readings[name] = expect_failures(values[name], worst, runs.failed, planned, warnings)
        return readings

    def _read(self, runs: Runs, weight: float) -> Readings:
        """Read a setting; "worst H" is H, had every run of it failed, and so on."""
        plain = self.runs()
        gain = runs.accuracy - plain.accuracy
        to_hold_back = plain.memory - plain.chance
        held_back = to_hold_back - (runs.memory - runs.chance)
        damage = plain.accuracy[..., 0] - plain.accuracy[..., 1]
        to_suppress = plain.fit - CHANCE_FIT
        lost = 1 / CLASSES - plain.accuracy
        levels = np.array([1 / WRONG])

        def ratios(numerator: Floats, denominator: Floats, steps: Floats) -> Reading:
            return read_ratio(numerator[..., None], denominator[..., None], steps, weight)

        readings = {}
        for name, gained in (("", gain), ("worst ", lost)):
            readings[name + "dA"] = read_mean(100 * gained[..., 0], 100 / TESTS, weight)
            readings[name + "noisy"] = read_mean(100 * gained[..., 1], 100 / TESTS, weight)
            readings[name + "R"] = ratios(gained.sum(-1), damage, ONE_TEST)
        for name, share in (("", 1.0), ("worst ", 0.0)):
            readings[name + "H"] = ratios(share * held_back, to_hold_back, levels)
            suppressed = share * (plain.fit - runs.fit)
            readings[name + "S"] = ratios(suppressed, to_suppress, np.array([1 / TRAINED]))
        return readings


def _row(tasks: Sequence[Sequence[Answer]]) -> Row:
    """Join an entry's tasks, each with the answers to both questions."""
    readings, truth, is_on = {}, {}, {}
    for name in READINGS:
        answers = [both[int(name == "R")] for both in tasks]
        readings[name] = [answer.readings[name] for answer in answers]
        truth[name] = np.mean([answer.truth[name] for answer in answers], 0)
        is_on[name] = np.all([answer.is_on for answer in answers], 0)
    return Row(readings=readings, truth=truth, is_on=is_on)


def true_readings(truths: Floats, fails: Floats) -> dict[str, Floats]:
    """Compute the readings that many seeds would give: [b].

    Args:
        truths: [b, 4], of the chosen strength's runs that end.
        fails: [b], the share of its runs that end as the worst value.
    """
    ends = 1 - fails
    real, mixed = (ends * truths[:, i] + fails / CLASSES for i in (0, 1))
    beyond = truths[:, 2] - by_chance(truths[:, 1], CLASSES)
    gain = real - PLAIN[0], mixed - PLAIN[1]
    return {
        "H": ends * (1 - beyond / _beyond(PLAIN)),
        "S": ends * (PLAIN[3] - truths[:, 3]) / (PLAIN[3] - CHANCE_FIT),
        "dA": 100 * gain[0],
        "noisy": 100 * gain[1],
        "R": (gain[0] + gain[1]) / (PLAIN[0] - PLAIN[1]),
    }


@cache
def stopped_truth() -> Mapping[str, float]:
    """Read early stopping on a great many seeds: what many boards would give in the mean."""
    many = Plain(World(np.random.default_rng(11), boards=1), 200_000)
    readings = many.read(many.stopped(), 1.0)
    return {name: float(readings[name].value[0]) for name in READINGS}


def holding_back(
    share: float, real: float = 0.0, mixed: float = 0.05, suppress: float = 0.3
) -> Truth:
    """Make a strength of a true H, with its true gains of accuracy and its S.

    Args:
        share: H.
        real: gain of accuracy on real data.
        mixed: gain of accuracy under noise.
        suppress: S.
    """
    accuracy = PLAIN[1] + mixed
    memory = float(by_chance(np.array(accuracy), CLASSES)) + (1 - share) * _beyond(PLAIN)
    fit = PLAIN[3] - suppress * (PLAIN[3] - CHANCE_FIT)
    return PLAIN[0] + real, accuracy, memory, fit


def if_ended(truth: Truth, fails: float) -> Truth:
    """Return what the runs that end must give, so that the mean over all runs is the truth.

    Args:
        truth: with the failures in the mean.
        fails: the share of the runs that fail.
    """
    ends = 1 - fails
    real, mixed = ((truth[i] - fails / CLASSES) / ends for i in (0, 1))
    means = true_readings(np.array([truth]), np.zeros(1))
    return holding_back(
        float(means["H"][0]) / ends, real - PLAIN[0], mixed - PLAIN[1], float(means["S"][0]) / ends
    )


def _beyond(truth: Truth) -> float:
    """Compute M - q."""
    return truth[2] - float(by_chance(np.array(truth[1]), CLASSES))


def _where(condition: NDArray[np.bool_], runs: Runs, other: Runs) -> Runs:
    """Take some boards' runs of one setting and the others' of another: condition [b]."""
    taken = {}
    for part in fields(Runs):
        one, two = getattr(runs, part.name), getattr(other, part.name)
        taken[part.name] = np.where(condition.reshape(-1, *[1] * (one.ndim - 1)), one, two)
    return Runs(**taken)


def _whole(share: Floats, of: int) -> Floats:
    """Round to whole images or labels."""
    return np.round(np.clip(share, 0, 1) * of) / of


def stack(readings: Sequence[Reading]) -> Reading:
    """Stack the readings of several entries: [b, r, s]."""
    return Reading(
        value=np.stack([reading.value for reading in readings], -1),
        influence=np.stack([reading.influence for reading in readings], -2),
        floor=max(reading.floor for reading in readings),
        weight=readings[0].weight,
        failures=np.stack([np.broadcast_to(r.failures, r.value.shape) for r in readings], -1),
    )

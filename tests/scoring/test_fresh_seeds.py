"""Protocol 2 as a whole, simulated: intervals cover, and claims, ranks and the front err rarely.

1000 boards a world, two tasks, three choosing and ten confirming seeds. The truth is what the
chosen strength gives in the mean over new seeds. `pytest -m slow -s` prints the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.fresh_seeds import Confirmed
from support.fresh_seeds import Entry
from support.fresh_seeds import World
from support.fresh_seeds import holding_back

from membench.scoring.confirmed import all_above
from membench.scoring.confirmed import beats
from membench.scoring.confirmed import estimate
from membench.scoring.confirmed import may_be_first
from membench.scoring.confirmed import on_front
from membench.scoring.confirmed import p_of_pairs
from membench.scoring.formulas import TIE
from membench.scoring.formulas import Floats
from membench.scoring.stats import ALPHA
from membench.scoring.stats import holm

pytestmark = pytest.mark.slow

BOARDS, TASKS = 1000, 2


def near_ties(**how: float) -> list[Entry]:
    """Twelve entries, each with five strengths that differ by less than a choice can see."""
    entries = []
    for i in range(12):
        shares = [0.4 + 0.004 * i + 0.002 * step for step in (-1, 1, 0, 2, -2)]
        entries.append(Entry(strengths=[holding_back(share) for share in shares], **how))
    return entries


WORLDS: dict[str, list[Entry]] = {
    "near-ties": near_ties(),
    "clear order": [
        Entry(strengths=[holding_back(s * i / 12) for s in (0.2, 0.5, 1, 0.9, 0.8)])
        for i in range(12)
    ],
    "saturated": [
        Entry(strengths=[holding_back(0.97 + 0.002 * i)] * 5, spread=0.002, memory_spread=0.003)
        for i in range(12)
    ],
    "unequal spread": [
        Entry(
            strengths=[holding_back(0.5)] * 5,
            spread=0.002 * (1 + i),
            memory_spread=0.005 * (1 + i),
        )
        for i in range(12)
    ],
}


def boards(entries: Sequence[Entry], seed: int = 5) -> list[Confirmed]:
    """Simulate the boards: one result a task."""
    rng = np.random.default_rng(seed)
    return [World(rng, BOARDS).run(entries, weight=1 / TASKS) for _ in range(TASKS)]


def truth(tasks: Sequence[Confirmed], name: str) -> Floats:
    """The weighted mean of the tasks' truths: [board, entry]."""
    return sum(task.truth[name] / TASKS for task in tasks)


@pytest.mark.parametrize("world", WORLDS)
def test_every_interval_covers(world: str) -> None:
    tasks = boards(WORLDS[world])
    for name in ("H", "dA", "noisy", "R"):
        estimated = estimate([task.readings[name] for task in tasks])
        covers = abs(estimated.mean - truth(tasks, name)) <= estimated.half
        chosen_by = "R" if name == "R" else "H"
        is_on = np.all([task.truth[chosen_by] != 0 for task in tasks], 0)  # off is exactly `none`
        rate = covers[is_on].mean()
        print(f"\n{world}: {name} covered on {rate:.3f}", end="")
        assert 0.93 <= rate <= 0.975, (name, rate)


def bound(real: float = 0.0, mixed: float = 0.05, share: float = 0.5) -> list[Entry]:
    """Twelve entries, all of them at one bound of the claim."""
    return [Entry(strengths=[holding_back(share, real, mixed)] * 5) for _ in range(12)]


def p_of_claims(tasks: Sequence[Confirmed]) -> Floats:
    """Adjusted p of each entry's claim: [board, entry]."""
    estimates = {
        name: estimate([task.readings[name] for task in tasks]) for name in ("H", "dA", "noisy")
    }
    p = all_above([(estimates["H"], 0.1), (estimates["dA"], -1.0), (estimates["noisy"], -1.0)])
    for task in tasks:
        p = np.where(task.readings["dA"].value > -1.0, p, 1.0)
    return holm(p)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("H = .1", bound(share=0.1)),
        ("dA = -1", bound(real=-0.01)),
        ("noisy = -1", bound(mixed=-0.01)),
    ],
)
def test_entries_at_a_bound_of_the_claim_rarely_hold_it(name: str, entries: list[Entry]) -> None:
    tasks = boards(entries)
    holds = truth(tasks, "H") > 0.1 + TIE  # where a task's choice is off, its parts are above
    for part in ("dA", "noisy"):
        holds &= truth(tasks, part) > -1.0 + TIE
    claimed = p_of_claims(tasks) < ALPHA
    rate = (claimed & ~holds).any(-1).mean()
    print(f"\n{name}: a false claim on {rate:.3f} of the boards", end="")
    assert rate <= 0.06


def test_entries_that_hold_noise_back_at_no_cost_are_claimed() -> None:
    entries = [Entry(strengths=[holding_back(0.3)] * 5) for _ in range(12)]
    rate = (p_of_claims(boards(entries)) < ALPHA).mean()
    print(f"\nH = .3 at no cost: claimed for {rate:.3f} of the entries", end="")
    assert rate > 0.9


@pytest.mark.parametrize("name", ["H", "R"])
def test_entries_as_good_as_the_control_are_rarely_called_better(name: str) -> None:
    """The last of the entries is the control, chosen and read as they are."""
    tasks = boards([Entry(strengths=[holding_back(0.5)] * 5) for _ in range(13)])
    differences = []
    for task in tasks:
        reading = task.readings[name]
        entries = replace(reading, value=reading.value[:, :-1], influence=reading.influence[:, :-1])
        control = replace(reading, value=reading.value[:, -1:], influence=reading.influence[:, -1:])
        differences.append(entries - control)
    true = truth(tasks, name)  # the control's choice may be off
    claimed = holm(estimate(differences).p_above) < ALPHA
    rate = (claimed & (true[:, :-1] <= true[:, -1:] + TIE)).any(-1).mean()
    print(f"\n{name}: a false excess on {rate:.3f} of the boards", end="")
    assert rate <= 0.06


@pytest.mark.parametrize("name", ["H", "R"])
@pytest.mark.parametrize("world", WORLDS)
def test_a_rank_interval_rarely_misses_its_rank(world: str, name: str) -> None:
    tasks = boards(WORLDS[world])
    readings = [task.readings[name] for task in tasks]
    if name == "H":
        readings = [reading.cut(1.0) for reading in readings]
    p = p_of_pairs(readings)
    true = truth(tasks, name)
    is_better = true[:, :, None] > true[:, None, :]
    false = beats(p) & ~is_better
    missed = (false.any(-1) | false.any(-2)).mean(0)
    not_first = (~may_be_first(p) & (true >= true.max(-1, keepdims=True))).mean(0)
    print(
        f"\n{world}: {name}: of the worst row the rank is missed on {missed.max():.3f}, "
        f"a first place on {not_first.max():.3f} of the boards",
        end="",
    )
    assert missed.max() <= 0.06 and not_first.max() <= 0.06


@pytest.mark.parametrize("world", WORLDS)
def test_the_front_rarely_loses_a_member(world: str) -> None:
    tasks = boards(WORLDS[world])
    p = [p_of_pairs([task.readings[name] for task in tasks]) for name in ("H", "dA")]
    true = [truth(tasks, name) for name in ("H", "dA")]
    dominated = np.ones((*true[0].shape, true[0].shape[-1]), dtype=bool)
    for values in true:
        dominated &= values[:, :, None] > values[:, None, :]
    belongs = ~dominated.any(-2)
    lost = belongs & ~on_front(*p)
    print(
        f"\n{world}: the worst member is lost on {lost.mean(0).max():.3f} of the boards, "
        f"some member on {lost.any(-1).mean():.3f}",
        end="",
    )
    assert lost.mean(0).max() <= 0.05

"""Do the intervals cover, and are claims rare where nothing is to be claimed? Simulated boards, choice and all.

Each world has fixed test images (an effect of its own on every setting, shared by all seeds), training noise that
validation and test accuracy share, and validation images that change with the seed. The target is what the procedure,
with its choice of strength, gives in the mean over new seeds on the same test images. `pytest -m slow -s` shows the
figures; "without c" is the design's first formula, which lacks the part of the variance that the choice makes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.scoring import M
from support.scoring import bare
from support.scoring import entry
from support.scoring import world
from support.simulated import CLEAR
from support.simulated import NEAR
from support.simulated import NONE
from support.simulated import TRADE
from support.simulated import Grid
from support.simulated import World
from support.simulated import early_stopping

from membench.records import Cell
from membench.scoring import score
from membench.scoring.formulas import Floats
from membench.scoring.stats import ALPHA
from membench.scoring.stats import Stratum
from membench.scoring.stats import beats
from membench.scoring.stats import estimate
from membench.scoring.stats import holm
from membench.scoring.stats import rank_intervals
from membench.scoring.stats import stack_entries

pytestmark = pytest.mark.slow


def without_c(part: Stratum) -> Stratum:
    return replace(part, subset_gains=np.zeros_like(part.subset_gains))


def tolerance(rate: float, boards: int) -> float:
    return 3 * float(np.sqrt(rate * (1 - rate) / boards))


HARD = [
    pytest.param(CLEAR, {}, id="a clear winner"),
    pytest.param(NEAR, {}, id="near-ties"),
    pytest.param(NONE, {}, id="all strengths are none"),
    pytest.param(NONE, {"images": 0.0}, id="none, images without effect"),
    pytest.param(TRADE, {"spread": 0.02}, id="strengths that trade, much noise"),
    pytest.param(NEAR, {"spread": 0.002}, id="near-ties, little noise"),
    pytest.param(NEAR, {"stuck": 0.05}, id="saturated entry"),
    pytest.param(NEAR, {"lumps": 0.1}, id="one bad run in ten"),
]


@pytest.mark.parametrize(("seeds", "floor"), [(3, 0.95), (5, 0.95), (10, 0.93)])
@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize(("grid", "how"), HARD)
def test_the_interval_covers_what_the_procedure_gives(
    grid: Grid, how: dict, *, tasks: int, seeds: int, floor: float, request: pytest.FixtureRequest
) -> None:
    """The floor for ten seeds is lower: with all strengths exactly equal, 91% was the least that was seen."""
    boards = 2000 if seeds < 10 else 1000
    rng = np.random.default_rng(17)
    parts, target = [], 0.0
    for _ in range(tasks):
        w = World(rng, boards, seeds, **how)
        part, expected = w.play(grid)
        parts.append(replace(part, weight=1 / tasks))
        target = target + expected / w.damage / tasks
    cover = {}
    for name, found in (
        ("with c", estimate(parts)),
        ("without c", estimate([without_c(p) for p in parts])),
    ):
        cover[name] = float((np.abs(found.mean - target) <= found.half).mean())
        half = float(found.half.mean())
        print(
            f"\n{request.node.callspec.id:48} {name:9} covers {cover[name]:.3f}, half {half:.3f}",
            end="",
        )
    bias = float(np.mean(estimate(parts).mean - target))
    print(f", bias {bias:+.4f}", end="")
    assert cover["with c"] >= floor - tolerance(floor, boards)
    assert abs(bias) < 0.1 * half


def pool(
    grid: Grid, how: dict, *, tasks: int, boards: int, level: bool = True
) -> tuple[list[Stratum], list[Stratum]]:
    """(20 entries, control) by task, 5 seeds; with `level`, all give what the control gives, on these images."""
    rng = np.random.default_rng(23)
    all_entries, control = [], []
    for _ in range(tasks):
        w = World(rng, boards, 5, **how)
        part, expected = w.play(early_stopping(), curve=True)
        found = stack_entries([w.play(grid, expected if level else None)[0] for _ in range(20)])
        # stack_entries puts entries first; the tests between them want [board, entry, seed]
        found = replace(
            found, gains=found.gains.swapaxes(0, 1), subset_gains=found.subset_gains.swapaxes(0, 1)
        )
        all_entries.append(replace(found, damage=part.damage[:, None], weight=1 / tasks))
        control.append(
            replace(
                part,
                gains=part.gains[:, None],
                subset_gains=part.subset_gains[:, None],
                weight=1 / tasks,
            )
        )
    return all_entries, control


def errors(entries: list[Stratum], control: list[Stratum]) -> tuple[float, float, float]:
    """Boards with a false claim, rank intervals that miss a rank, boards on which one does."""
    claims = holm(estimate([e - c for e, c in zip(entries, control, strict=True)]).p_above) < ALPHA
    missed = []
    for start in range(0, len(claims), 100):  # all pairs of all boards at once would be large
        few = [_boards(part, slice(start, start + 100)) for part in entries]
        low, high = rank_intervals(beats(few))
        missed.append((low > 1) | (high < claims.shape[1]))
    every = np.concatenate(missed)
    return float(claims.any(-1).mean()), float(every.mean()), float(every.any(-1).mean())


def _boards(part: Stratum, which: slice) -> Stratum:
    return replace(
        part,
        gains=part.gains[which],
        subset_gains=part.subset_gains[which],
        damage=part.damage[which],
    )


NULL = [
    pytest.param(CLEAR, {}, True, id="a clear winner"),
    pytest.param(NEAR, {}, True, id="near-ties"),
    pytest.param(NEAR, {"spread": 0.002}, True, id="near-ties, little noise"),
    pytest.param(NEAR, {"stuck": 0.05}, True, id="saturated entries"),
    pytest.param(NEAR, {"lumps": 0.1}, True, id="one bad run in ten"),
    pytest.param(NONE, {"alike": 1.0}, False, id="all entries are none"),
]


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize(("grid", "how", "level"), NULL)
def test_twenty_entries_no_better_than_the_control_claim_nothing(
    grid: Grid, how: dict, level: bool, *, tasks: int, request: pytest.FixtureRequest
) -> None:
    boards = 800
    entries, control = pool(grid, how, tasks=tasks, boards=boards, level=level)
    found = errors(entries, control)
    before = errors([without_c(p) for p in entries], [without_c(p) for p in control])
    for name, (claim, rank, board) in (("with c", found), ("without c", before)):
        text = f"false claim {claim:.3f}, a row's rank interval wrong {rank:.3f}, any row's {board:.3f}"
        print(f"\n{request.node.callspec.id:36} {name:9} {text}", end="")
    assert found[0] <= ALPHA + tolerance(ALPHA, boards)
    assert found[1] <= ALPHA + tolerance(ALPHA, boards)


def test_an_entry_that_is_better_is_found() -> None:
    """Power, so that the honesty above is not silence: X = .1, .2, .3 against nineteen entries equal to the control."""
    entries, control = pool(NEAR, {}, tasks=2, boards=400)
    power = []
    for better in (0.1, 0.2, 0.3):
        lifted = [replace(e, gains=e.gains.copy()) for e in entries]
        for part in lifted:
            part.gains[:, 0] += better * 0.18  # D = .18
        p = holm(estimate([e - c for e, c in zip(lifted, control, strict=True)]).p_above)[:, 0]
        power.append(float((p < ALPHA).mean()))
        print(f"\nX = {better}: beats the control {power[-1]:.2f}", end="")
    assert power[0] < power[1] < power[2]
    assert power[2] > 0.8


def test_the_image_half_width_covers_the_draw_of_test_images() -> None:
    """200 test images from a population where R = .5; half of what makes an image hard is the image's own."""
    rng = np.random.default_rng(5)
    cuts = {"real": 1.2816, "none": 0.5244, "r": 0.8416}  # normal quantiles of .9, .7, .8
    hits = []
    for _ in range(300):
        hard = rng.normal(0, 1, M)

        def values(cell: Cell, hard: Floats = hard) -> dict:
            if cell.signal == "randY" or (cell.strength and cell.strength != (0.3,)):
                return bare(cell) | {"acc": 0.1, "test_bits": "00" * (M // 8)}
            cut = cuts["real" if cell.signal == "real" else cell.regularizer]
            right = np.sqrt(0.5) * (hard + rng.normal(0, 1, M)) < cut
            return bare(cell) | {
                "acc": float(right.mean()),
                "test_bits": np.packbits(right).tobytes().hex(),
            }

        board = score(*world(entry("r"), values=values))
        hits += [abs(row.R.mean - 0.5) <= row.image_half for row in board.rows]
    cover = float(np.mean(hits))
    print(f"\nimage half-width covers {cover:.3f} of {len(hits)}")
    assert cover >= 0.95 - tolerance(0.95, len(hits))

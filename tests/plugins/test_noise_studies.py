"""The studies of Figures 5, 7 and 8 on made-up records whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.records import Cell
from membench.records import Record
from membench.records import parse_signal
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Arm
from membench.studies import Finding

CAPACITY = plugin("studies/capacity.py")
LEVELS = plugin("studies/noise_levels.py")

Made = Callable[[Cell], Mapping[str, Any]]


def quick(module: Any) -> Arm:
    return module.register()[0].arms["quick"][0]


def analysed(module: Any, made: Made, broken: tuple[str, int] | None = None) -> Finding:
    """The finding if each cell of the quick arm gave `made(cell)`.

    The run of `broken`, (signal, seed), failed.
    """
    arm, records = quick(module), []
    cells = [
        Cell(arm.dataset, a, "none", (), s, k)
        for a in arm.architectures
        for s in arm.signals
        for k in arm.seeds
    ]
    for cell in cells:
        fields = {
            f: getattr(cell, f)
            for f in ("dataset", "architecture", "regularizer", "strength", "signal", "seed")
        }
        one = Record(
            cell.id, "", cell.id, status="ok", **{"epochs": arm.read, **fields, **made(cell)}
        )
        failed = (cell.signal, cell.seed) == broken
        records.append(
            replace(one, status="failed", epochs=(), val=(), train=(), probes={}) if failed else one
        )
    return module.analyse({arm.name: tuple(records)})


def noise(cell: Cell) -> np.random.Generator:
    """Scatter of a run's own, the same whenever the test runs."""
    return np.random.default_rng([cell.seed, *cell.signal.encode(), *cell.architecture.encode()])


def level(cell: Cell) -> tuple[str, float]:
    """`("mixed", 0.4)`; real data are no noise of either kind."""
    name, share = parse_signal(cell.signal)
    return name, share or 0.0


def drawn(finding: Finding) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    finding.draw(figure)
    return figure


# capacity


def saturating(doublings: Mapping[str, float], scatter: float = 0.0) -> Made:
    """Accuracy rises from 0 at 8 units, evenly in log2 of the units, up to where they are enough.

    That is half way up after a doubling, and after `doublings` more of them if all is noise.
    """

    def made(cell: Cell) -> Mapping[str, Any]:
        kind, share = level(cell)
        half = 1 + doublings.get(kind, 0.0) * share
        beyond = np.log2(int(cell.architecture.split("-")[1]) / 8)
        best = 0.9 * min(1.0, beyond / (2 * half)) + scatter * noise(cell).uniform(-1, 1)
        return {"val": (best / 2, best, 0.8 * best)}

    return made


def test_capacity_finds_the_planted_doublings_of_each_kind_of_noise() -> None:
    finding = analysed(CAPACITY, saturating({"mixed": 1.0, "mixed-inputs": 0.5}, scatter=0.01))
    labels, inputs = finding.tests
    assert labels.low - 0.1 < 1 < labels.high + 0.1
    assert inputs.low - 0.1 < 0.5 < inputs.high + 0.1
    assert [t.verdict for t in finding.tests] == [HOLDS, HOLDS]
    assert {t.freedom for t in finding.tests} == {4}
    assert len(finding.table) == 1 + 2 * 5
    assert float(finding.table[1][6]) == pytest.approx(
        0.9, abs=0.01
    )  # the best checkpoint, not the last


def test_capacity_takes_each_kind_of_noise_for_itself() -> None:
    finding = analysed(CAPACITY, saturating({"mixed": 1.0, "mixed-inputs": -0.5}, scatter=0.01))
    assert [t.verdict for t in finding.tests] == [HOLDS, FAILS]


def test_capacity_does_not_hold_where_noise_needs_no_more_units() -> None:
    finding = analysed(CAPACITY, saturating({}, scatter=0.03))
    assert [t.verdict for t in finding.tests] == [UNDECIDED, UNDECIDED]


def test_capacity_is_not_led_by_a_spread_over_runs_that_grows_with_the_noise() -> None:
    """Of noisy curves the largest value lies above the true one; the last does not."""

    def made(cell: Cell) -> Mapping[str, Any]:
        share = level(cell)[1]
        accuracy = saturating({})(cell)["val"][1] + 0.08 * share * noise(cell).normal()
        return {"val": (accuracy,)}

    assert {t.verdict for t in analysed(CAPACITY, made).tests} == {UNDECIDED}


def test_capacity_averages_doublings_over_all_shares_of_the_largest_networks_accuracy() -> None:
    """Even in log2: half a doubling up to 16 units; flat from there on: no more."""
    assert CAPACITY.doublings((8, 16, 32), np.array([0.0, 0.9, 0.9])) == pytest.approx(0.5)
    assert CAPACITY.doublings((8, 16, 32), np.array([0.0, 0.4, 0.8])) == pytest.approx(1)
    assert CAPACITY.doublings((8, 16, 32), np.array([0.9, 0.9, 0.9])) == 0
    # 40 % of the last value at once, the others after a doubling to 32 units on average
    several = np.array([[0.4, 0.4, 1.0], [0.8, 0.8, 0.8]])
    assert CAPACITY.doublings((8, 16, 32), several) == pytest.approx([0.6 * 1.5, 0])


def test_capacity_interpolates_units_and_takes_the_least_that_are_enough() -> None:
    assert CAPACITY.needed((8, 16, 32), (0.0, 0.5, 1.0), 0.75) == pytest.approx(2**4.5)
    assert CAPACITY.needed((8, 16, 32), (0.9, 1.0, 0.8), 0.9) == 8


def test_capacity_says_what_small_networks_lack_in_points_and_where_the_budget_ended() -> None:
    def made(cell: Cell) -> Mapping[str, Any]:
        small = cell.architecture == "mlp-8"
        best = 0.9 - 0.5 * small * level(cell)[1]
        return {"val": (0.1, best) if small else (best, 0.1)}

    note = analysed(CAPACITY, made).notes[0]
    # 50 points of one of the five networks that are smaller than the largest
    assert "lack 10.0 [10.0, 10.0] points more" in note
    assert "100% of the runs of 8 units, in 0% of those of 256" in note


def test_capacity_names_a_seed_that_lacks_a_run_and_leaves_it_out_for_that_noise() -> None:
    finding = analysed(CAPACITY, saturating({"mixed": 1.0}, 0.01), broken=("mixed@0.4", 7))
    assert "Seeds (7,) lack runs with noisy labels and do not count there." in finding.notes
    assert ["t over 4 seeds" in t.method for t in finding.tests] == [True, False]


def test_capacity_draws_a_line_a_level_with_its_doublings() -> None:
    axes = drawn(analysed(CAPACITY, saturating({"mixed": 1.0}))).axes
    assert [ax.get_title() for ax in axes] == [
        f"a share of the {kind} is random" for kind in ("labels", "inputs")
    ]
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels == [f"{level:.0%}: 1.00" for level in (0, 0.2, 0.4, 0.6, 0.8)]


# noise levels


def course(
    fall: float, ratio: float, fitted: float, cost: float = 0.5, scatter: float = 0.002
) -> Made:
    """Validation peaks at the third of six checkpoints, higher with less noise.

    Then it falls by `fall` if labels are noisy, while the critical sample ratio climbs by `ratio`;
    the share `fitted` of the wrong labels is fitted at the peak.
    """

    def made(cell: Cell) -> Mapping[str, Any]:
        kind, share = level(cell)
        late = np.clip((np.arange(6) - 2) / 3, 0, 1)  # 0 up to the peak, 1 at the end
        soon = np.clip(np.arange(6) / 2, 0, 1)
        jitter = scatter * noise(cell).normal(size=(3, 6))
        labels = kind == "mixed"
        val = 0.9 * soon - cost * share * soon - labels * fall * share * late + jitter[0]
        wrong = np.interp(np.arange(6), (0, 2, 5), (0, fitted, 1)) + jitter[1]
        csr = tuple(0.1 + ratio * share * late + jitter[2])
        return {
            "train": tuple(0.5 + 0.5 * late),
            "val": tuple(val),
            "wrong": tuple(wrong) if labels else (None,) * 6,
            "probes": {probe: {"share": csr} for probe in LEVELS.PROBES},
        }

    return made


def test_noise_levels_hold_if_validation_falls_and_the_ratio_climbs_with_the_level() -> None:
    finding = analysed(LEVELS, course(fall=0.3, ratio=0.4, fitted=0.2))
    assert len(finding.tests) == 2 * 3 + 3
    assert {t.verdict for t in finding.tests} == {HOLDS}
    at = {row[0]: row for row in finding.table}
    assert at["mnist5k, 40% of labels"][3] == f"{quick(LEVELS).read[2]}"  # the epoch of the peak


def test_noise_levels_do_not_hold_where_everything_goes_the_other_way() -> None:
    finding = analysed(LEVELS, course(fall=-0.3, ratio=-0.1, fitted=0.9, cost=-0.1))
    verdicts = {t.name: t.verdict for t in finding.tests}
    fall = verdicts.pop("noisy labels: validation falls from its peak to the end")
    rise = verdicts.pop("noisy labels: ratio rises from that peak to the end")
    assert set(verdicts.values()) == {FAILS}
    assert HOLDS not in (fall, rise)  # the peak is the end


def test_noise_levels_hold_nothing_where_the_level_makes_no_difference() -> None:
    verdicts = {t.name: t.verdict for t in analysed(LEVELS, course(0.0, 0.0, 0.5, cost=0.0)).tests}
    assert HOLDS not in verdicts.values()


def test_one_level_that_goes_the_other_way_is_enough_against_the_claim_of_all() -> None:
    usual = course(fall=0.3, ratio=0.4, fitted=0.2)
    lower = course(fall=0.3, ratio=0.2, fitted=0.2)
    finding = analysed(LEVELS, lambda cell: (lower if cell.signal == "mixed@0.8" else usual)(cell))
    fails = [t.name for t in finding.tests if t.verdict == FAILS]
    assert fails == ["noisy labels: ratio at the end rises from level to level"]


def test_the_interval_of_the_weakest_level_allows_for_its_being_the_least_of_several() -> None:
    columns = [np.array([1.0, 3.0]), np.array([2.9, 3.1])]  # standard errors 1 and .1
    test = LEVELS.weakest("claim", "name", 0.0, columns, seeds=2)
    assert test.value == 2
    assert test.low == pytest.approx(2 - 12.706, abs=1e-3)  # t of one degree of freedom at .975
    assert test.high == pytest.approx(3 + 0.1 * 25.452, abs=1e-3)  # and at .9875
    assert (test.freedom, test.claim) == (1, "claim")


def test_a_peak_by_chance_alone_is_not_taken_for_one() -> None:
    """Each run's own largest value lies above its last; that of the other seeds' mean does not."""
    made = course(fall=0.0, ratio=0.0, fitted=0.5, scatter=0.05)
    finding = analysed(LEVELS, made)
    fall = next(t for t in finding.tests if "validation falls from its peak" in t.name)
    own = np.mean(
        [
            max(v) - v[-1]
            for v in (made(Cell("d", "mlp", "none", (), "mixed@0.2", s))["val"] for s in range(5))
        ]
    )
    assert fall.verdict != HOLDS and fall.value < own / 2


def test_noise_levels_leave_out_a_seed_for_the_noise_where_it_lacks_a_run() -> None:
    finding = analysed(LEVELS, course(0.3, 0.4, 0.2), broken=("mixed-inputs@0.6", 7))
    assert "Seeds (7,) lack runs with noisy inputs and do not count there." in finding.notes
    assert sum("over 19 seeds" in t.method for t in finding.tests) == 3
    with pytest.raises(ValueError, match="noisy inputs: no seed has all its runs"):
        LEVELS.curves(
            "mnist5k",
            [Record("", "", "", "d", "a", "none", (), "real", 0, "failed")],
            "mixed-inputs",
        )


def test_noise_levels_draw_training_and_validation_above_the_ratio() -> None:
    axes = drawn(analysed(LEVELS, course(0.3, 0.4, 0.2))).axes
    assert [ax.get_ylabel() for ax in axes] == ["accuracy", "", "critical sample ratio", ""]
    assert {line.get_linestyle() for line in axes[1].lines} == {"-", ":"}

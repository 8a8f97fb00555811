"""The studies of Figures 10 and 11 and of effective capacity on records of known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.estimators import envelope
from membench.estimators import price
from membench.records import Cell
from membench.records import Record
from membench.studies import FAILS
from membench.studies import HOLDS

REGULARIZERS = plugin("studies/regularizers.py")
CAPACITY = plugin("studies/effective_capacity.py")


def record(cell: Cell, **more: Any) -> Record:
    fields = {
        f: getattr(cell, f)
        for f in ("dataset", "architecture", "regularizer", "strength", "signal", "seed")
    }
    return Record(key=cell.id, env="", id=cell.id, status="ok", num_classes=10, **fields, **more)


def test_a_flat_curve_loses_nothing_and_a_straight_one_half_of_its_fall() -> None:
    u = np.array([0.0, 0.5, 1.0])
    assert price(u, np.full(3, 0.9), 1.0) == pytest.approx(0)
    assert price(u, np.array([0.9, 0.85, 0.8]), 1.0) == pytest.approx(5.0)
    assert price(u, np.array([0.9, 0.85, 0.8]), 0.5) == pytest.approx(2.5)
    assert price(u, np.array([0.9, 0.95, 0.95]), 1.0) == pytest.approx(-5.0)  # a gain for free


def test_a_strength_that_another_one_beats_in_both_is_not_on_the_curve() -> None:
    u, v = envelope(np.array([0.0, 0.3, 0.6, 0.2]), np.array([0.9, 0.7, 0.8, 0.85]))
    assert u.tolist() == [0.0, 0.2, 0.6]
    assert v.tolist() == [0.9, 0.85, 0.8]


def techniques(cost: dict[str, float], order: tuple[float, float]) -> tuple[Record, ...]:
    """Each technique suppresses up to .9 of the noise fit at `cost` of accuracy.

    `order` sets their losses apart.
    """
    found = []
    for place, (name, points) in enumerate({"none": 0.0, **cost}.items()):
        for level in (0.0,) if name == "none" else (0.3, 0.6, 0.9):
            for signal, seed in ((g, s) for g in ("real", "randY") for s in range(5)):
                rng = np.random.default_rng(100 * place + seed)
                cell = Cell("mnist5k", "mlp", name, (level,) if level else (), signal, seed)
                fit = 1 - 0.9 * level if signal == "randY" else 1.0
                val = 0.9 - points * level + 0.002 * rng.normal()
                loss = np.exp(order[signal == "randY"] * place + 0.05 * rng.normal())
                curves = {"train": (0.5, fit), "val": (0.5, val), "loss": (2.0, loss)}
                found.append(record(cell, epochs=(1, 2), **curves))
    return tuple(found)


COST = {
    "dropout": 0.1,
    "input-dropout": 0.2,
    "input-noise": 0.3,
    "hidden-noise": 0.3,
    "weight-decay": 0.3,
    "dropout+adversarial": 0.02,
}


def test_what_the_paper_found_is_recognised() -> None:
    finding = REGULARIZERS.analyse({"main": techniques(COST, order=(1.0, -1.0))})
    assert [t.verdict for t in finding.tests] == [HOLDS] * 4
    # along a straight fall of 20 points to a suppression of .9: half of it is lost in the mean
    assert finding.tests[0].value == pytest.approx(100 * (0.3 - 0.1) * 0.9 / 2, abs=0.5)
    assert finding.table[1][0] == "dropout+adversarial"
    finding.draw(figure := Figure(layout="constrained"))
    assert len(figure.axes) == 3


def test_a_second_recipe_is_told_and_changes_no_verdict() -> None:
    other = techniques({**COST, "dropout": 0.4}, order=(1.0, -1.0))
    plain, both = (
        REGULARIZERS.analyse({"main": techniques(COST, order=(1.0, -1.0)), **more})
        for more in ({}, {"slower": other})
    )
    assert both.tests == plain.tests
    (note,) = set(both.notes) - set(plain.notes)
    assert (
        "at a rate of 0.02 for 100 epochs, up to a suppression of 0.90, dropout loses 18." in note
    )
    assert "weight-decay - dropout -4." in note


def test_the_opposite_is_recognised_as_well() -> None:
    opposite = {**COST, "dropout": 0.4, "dropout+adversarial": 0.5}
    finding = REGULARIZERS.analyse({"main": techniques(opposite, order=(1.0, 1.0))})
    assert [t.verdict for t in finding.tests[:3]] == [FAILS] * 3
    assert finding.tests[3].verdict != HOLDS


def runs(norm_knows: float) -> tuple[Record, ...]:
    """Gaps made by the data, and a norm that follows them with weight `norm_knows`, else chance."""
    found, arm = [], CAPACITY.QUICK
    settings = [(n, s) for n, grid in arm.regularizers.items() for s in (grid or ((),))]
    for k, (name, strength) in enumerate(settings):
        for place, signal in enumerate(arm.signals):
            for seed in arm.seeds:
                rng = np.random.default_rng([k, seed, place])
                gap = CAPACITY.share(signal) + 0.1 * rng.normal()
                norm = norm_knows * gap + (1 - norm_knows) * rng.normal()
                probes = {
                    m: (norm + 0.01 * rng.normal(),) for m in CAPACITY.MEASURES if m != "parameters"
                }
                cell = Cell("digits", "mlp-w32", name, strength, signal, seed)
                probes = {"norms": {"parameters": (1000.0,), **probes}}
                found.append(record(cell, train=(1.0,), val=(1 - gap,), probes=probes))
    return tuple(found)


def test_norms_that_know_nothing_fail_and_the_data_rank() -> None:
    finding = CAPACITY.analyse({"main": runs(0.0)})
    assert {t.verdict for t in finding.tests} == {HOLDS}
    finding.draw(Figure(layout="constrained"))


def test_norms_that_rank_what_happened_refute_the_claim() -> None:
    finding = CAPACITY.analyse({"main": runs(1.0)})
    verdicts = {t.name: t.verdict for t in finding.tests[1:]}
    assert verdicts.pop("0.5 - rho of the number of parameters with the gap") == HOLDS
    assert set(verdicts.values()) == {FAILS}


def test_the_share_of_random_labels_is_read_from_the_signal() -> None:
    assert [CAPACITY.share(s) for s in ("real", "mixed@0.4", "randY")] == [0.0, 0.4, 1.0]

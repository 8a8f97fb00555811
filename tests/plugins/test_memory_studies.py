"""The studies of memorization on made-up records whose answer is known; the runs they share."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.data import trained_rows
from membench.planning.study_plan import plan_arms
from membench.records import Cell
from membench.records import Record
from membench.registry.registry import discover
from membench.shadow_runs import QUICK
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Finding

REGISTRY = discover()


def record(
    arm: Any, regularizer: str, strength: tuple[float, ...], signal: str, seed: int, **more: Any
) -> Record:
    cell = Cell(arm.dataset, arm.architectures[0], regularizer, strength, signal, seed)
    fields = {
        f: getattr(cell, f)
        for f in ("dataset", "architecture", "regularizer", "strength", "signal", "seed")
    }
    counts = {"num_classes": 10, "num_train": arm.split.train, "num_test": arm.split.test}
    return Record(key=cell.id, env="", id=cell.id, status="ok", **fields, **{**counts, **more})


def cells(arm: Any) -> list[tuple[str, tuple[float, ...], str, int]]:
    settings = [(name, s) for name, grid in arm.regularizers.items() for s in (grid or ((),))]
    return [
        (name, s, signal, seed)
        for (name, s), signal, seed in product(settings, arm.signals, arm.seeds)
    ]


def drawn(finding: Finding) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    finding.draw(figure)
    return figure


def subsets(arm: Any, kept: dict[str, float], models: int) -> tuple[Record, ...]:
    """Runs that recall a wrong label they trained on with the probability of their regularizer."""
    wrong = np.arange(arm.split.train) % 3 == 0
    found = []
    for name, strength, signal, seed in cells(arm):
        if seed >= models:
            continue
        rng = np.random.default_rng(seed)
        inside = trained_rows(
            arm.split, Cell(arm.dataset, arm.architectures[0], name, strength, signal, seed)
        )
        keeps = kept.get(name, 0.5)
        right = ~wrong | (inside & (rng.random(len(wrong)) < keeps))
        margin = (6 * keeps * inside + rng.normal(size=len(wrong)))[wrong].round(2)
        probes = {
            "margins": {"canary": (tuple(np.flatnonzero(wrong)),), "margin": (tuple(margin),)}
        }
        bits = np.packbits(right).tobytes().hex()
        found.append(record(arm, name, strength, signal, seed, train_bits=bits, probes=probes))
    return tuple(found)


def test_the_three_studies_of_subsets_train_the_same_cells_once() -> None:
    keys = {}
    for name, scale in product(("memorization", "membership", "calibration"), ("quick", "paper")):
        study, within = REGISTRY.study(name), REGISTRY.for_study(name)
        plans = plan_arms(study, scale, within, lambda dataset: dataset, lambda *names: None)
        keys[name, scale] = set(plans[0].keys)
    for scale in ("quick", "paper"):
        assert keys["memorization", scale] == keys["membership", scale]
        # the plain network, dropout and input noise at one strength each, on calibration's seeds
        assert len(keys["calibration", scale] & keys["memorization", scale]) == 3 * 32


def test_memorization_of_a_learner_with_a_known_one_is_found() -> None:
    module = plugin("studies/memorization.py")
    finding = module.analyse({"subsets": subsets(QUICK, {"none": 0.9, "dropout": 0.1}, models=30)})
    none, dropout, _ = finding.tests
    assert none.low < 0.9 < none.high
    assert dropout.low < 0.9 - 0.1 < dropout.high
    assert {none.verdict, dropout.verdict} == {HOLDS}
    assert {test.freedom for test in finding.tests} == {29}
    other = module.analyse({"subsets": subsets(QUICK, {"none": 0.1, "dropout": 0.9}, models=30)})
    assert [t.verdict for t in other.tests[:2]] == [FAILS, FAILS]
    assert len(drawn(finding).axes) == 3


def test_membership_is_found_where_there_is_memory_and_only_there() -> None:
    module = plugin("studies/membership.py")
    finding = module.analyse({"subsets": subsets(QUICK, {"none": 1.0, "dropout": 0.0}, models=30)})
    assert [t.verdict for t in finding.tests[:3]] == [HOLDS] * 3
    assert finding.tests[1].value > 0.9
    again = module.analyse({"subsets": subsets(QUICK, {"none": 0.0, "dropout": 1.0}, models=30)})
    assert again.tests[1].verdict != HOLDS
    assert again.tests[2].verdict == FAILS
    drawn(finding)


def scored(arm: Any, good: dict[tuple[str, tuple[float, ...]], float]) -> tuple[Record, ...]:
    """Scores by one number a setting: the share of damage and noise fit that it removes."""
    found = []
    for name, strength, signal, seed in cells(arm):
        g = good.get((name, strength), 0.0)
        fit = {"real": 1.0, "mixed@0.4": 1.0, "randY": 1 - 0.9 * g}[signal]
        test = {"real": 0.9, "mixed@0.4": 0.5 + 0.4 * g, "randY": 0.1}[signal]
        wrong = (1 - g) * (1 - (1 - 0.5) / 9) + (1 - test) / 9 if signal == "mixed@0.4" else None
        values = {
            "train": (fit,),
            "val": (test,),
            "test": (test,),
            "wrong": (wrong,),
            "label_share": 0.1,
        }
        found.append(record(arm, name, strength, signal, seed, epochs=(100,), **values))
    return tuple(found)


@pytest.mark.parametrize(("sign", "verdict"), [(1, HOLDS), (-1, FAILS)])
def test_scores_that_follow_memorization_are_told_from_others(sign: int, verdict: str) -> None:
    module = plugin("studies/calibration.py")
    names = [n for n in module.REGULARIZERS if n != "none"]
    kept = {name: 0.1 + 0.8 * i / len(names) for i, name in enumerate(names)}
    good = {(n, s): 0.5 - sign * (kept[n] - 0.5) for n in names for s in module.REGULARIZERS[n]}
    results = {
        "subsets": subsets(module.SUBSETS, {"none": 0.95, **kept}, 32),
        "scored": scored(module.SCORED, good),
    }
    finding = module.analyse(results)
    assert finding.verdicts[module.FOLLOW] == verdict
    assert len(finding.tests) == 8
    # three scores that are one number each: neither is better
    assert [t.value for t in finding.tests[6:]] == [0.0, 0.0]
    assert finding.verdicts[module.BETTER] == UNDECIDED
    assert len(finding.table) == 2 + 3 * len(names)
    assert "on 300 digits of 8x8 pixels" in finding.notes[0]
    drawn(finding)


@pytest.mark.parametrize(("swapped", "verdict"), [(False, HOLDS), (True, FAILS)])
def test_the_score_that_follows_memorization_more_is_told(swapped: bool, verdict: str) -> None:
    module = plugin("studies/calibration.py")
    rng = np.random.default_rng(0)
    own = []
    for i in range(16):
        for _ in range(3):
            truth = i + rng.normal()
            follows, chance = -truth, rng.normal()
            scores = (chance, 0.0, follows) if swapped else (follows, 0.0, chance)
            own.append(module.Point(str(i), str(i), scores, (truth, truth)))
    tests = module.tests_of(own)[6:]
    assert [t.name for t in tests] == ["H - R, with less memorization", "H - R, with less leakage"]
    assert {t.verdict for t in tests} == {verdict}


def test_the_scores_of_a_setting_are_the_boards() -> None:
    """H, S and R of what takes away a share g of the damage, the fit and the memory are g."""
    module = plugin("studies/calibration.py")
    records = scored(module.SCORED, {("dropout", (0.5,)): 0.25})
    plain = [r for r in records if r.regularizer == "none"]
    own = [r for r in records if r.strength == (0.5,) and r.regularizer == "dropout"]
    assert module.scores(own, plain, 10) == pytest.approx((0.25, 0.25, 0.25))
    assert module.scores(plain, plain, 10) == pytest.approx((0.0, 0.0, 0.0))


def test_a_setting_with_a_failed_run_is_named_and_left_out() -> None:
    module = plugin("studies/calibration.py")
    runs = subsets(module.SUBSETS, {}, 32)
    broken = tuple(
        replace(r, status="diverged") if r.id.startswith("digits/small-mlp/l1[0.003]") else r
        for r in runs
    )
    finding = module.analyse({"subsets": broken, "scored": scored(module.SCORED, {})})
    assert any("l1[0.003]" in note for note in finding.notes)
    assert not any(row[0] == "l1[0.003]" for row in finding.table)


def forgotten(arm: Any, wrong: float, clean: float) -> tuple[Record, ...]:
    found = []
    for cell in cells(arm):
        rng, metrics = np.random.default_rng(cell[-1]), {}
        for group, events in (("wrong", wrong), ("clean", clean)):
            one = {
                "events": events + 0.1 * rng.normal(),
                "rate": events / 10 + 0.01 * rng.normal(),
                "unforgettable": 0.5,
                "unlearned": 0.1,
            }
            one["histogram"] = (0.5,) + (0.025,) * 20
            metrics |= {f"{group}-{k}": (v,) for k, v in one.items()}
        found.append(record(arm, *cell, epochs=(50,), probes={"forgetting": metrics}))
    return tuple(found)


@pytest.mark.parametrize(("wrong", "verdict"), [(3.0, HOLDS), (1.0, FAILS)])
def test_forgetting_of_wrong_labels_is_compared_with_that_of_clean_ones(
    wrong: float, verdict: str
) -> None:
    module = plugin("studies/forgetting.py")
    finding = module.analyse({"main": forgotten(module.QUICK, wrong, 2.0)})
    assert {t.verdict for t in finding.tests} == {verdict}
    assert {t.freedom for t in finding.tests} == {len(module.QUICK.seeds) - 1}
    drawn(finding)


def remembered(arm: Any, savings: float) -> tuple[Record, ...]:
    found = []
    for cell in cells(arm):
        noise = 0.01 * np.random.default_rng(cell[-1]).normal()
        new = np.linspace(0, 0.8, 11)
        empty = cell[0] == "dropout" and cell[-1] == 5  # nothing was held back
        relearned = (None,) * 11 if empty else tuple(new + savings + noise)
        curves = {
            "relearned": relearned,
            "new": (None,) * 11 if empty else tuple(new),
            "scratch": tuple(new),
        }
        metrics = {"held": (0.0 if empty else 0.7,), **{k: (v,) for k, v in curves.items()}}
        found.append(record(arm, *cell, val=(0.7,), probes={"hidden-memory": metrics}))
    return tuple(found)


def to_choose_from(arm: Any, lost: dict[str, float]) -> tuple[Record, ...]:
    """The n-th strength holds back n tenths of the noise, and loses n times the real accuracy.

    Among wrong labels it wins a point each.
    """
    places = {}
    for name, grid in arm.regularizers.items():
        for n, strength in enumerate(grid or ((),), 0 if name == "none" else 1):
            places[name, strength] = n
    found = []
    for name, strength, signal, seed in cells(arm):
        n = places[name, strength]
        real = signal == "real"
        val = 0.9 - lost.get(name, 0.0) * n if real else 0.65 + 0.01 * n
        wrong = None if real else 1 - 0.1 * n
        curves = {"val": (val,), "test": (val,), "wrong": (wrong,)}
        found.append(record(arm, name, strength, signal, seed, epochs=(50,), **curves))
    return tuple(found)


def hidden_memory(savings: float, lost: dict[str, float]) -> Finding:
    module = plugin("studies/hidden_memory.py")
    choosing = to_choose_from(module.choosing(module.QUICK), lost)
    return module.analyse({"main": remembered(module.QUICK, savings), "choosing": choosing})


@pytest.mark.parametrize(("savings", "verdict"), [(0.1, HOLDS), (-0.1, FAILS)])
def test_hidden_memory_is_savings_over_new_labels(savings: float, verdict: str) -> None:
    finding = hidden_memory(savings, lost={})
    assert finding.verdict == verdict
    assert "over 7 seeds" in finding.tests[0].method
    assert finding.tests[0].freedom == 6
    drawn(finding)


def test_hidden_memory_is_read_where_a_network_still_learns_the_real_labels() -> None:
    """Half a point may be lost; input noise loses .4 a step, weight decay .6, the others none."""
    finding = hidden_memory(0.1, lost={"input-noise": 0.004, "weight-decay": 0.006})
    tested = [test.name.split(":")[0] for test in finding.tests]
    assert tested == ["dropout[0.7]", "input-noise[2]", "adversarial[0.8]"]
    assert any(note.startswith("weight-decay is in no test") for note in finding.notes)
    in_tests = {row[0]: row[1] for row in finding.table[1:]}
    assert in_tests["dropout[0.7]"] == "yes"
    assert in_tests["dropout[0.5]"] == "no"
    assert in_tests["early-stop[0.1]"] == "no"
    assert len(drawn(finding).axes) == 5


def test_hidden_memory_is_tested_on_other_seeds_than_those_it_is_chosen_on() -> None:
    module = plugin("studies/hidden_memory.py")
    assert not set(module.QUICK.seeds) & set(module.choosing(module.QUICK).seeds)


def test_half_of_a_curve_lies_between_epochs() -> None:
    half_way = plugin("studies/hidden_memory.py").half_way
    assert half_way(np.array([0.0, 0.4, 0.6])) == pytest.approx(1.5)
    assert half_way(np.array([0.5])) == 0
    assert half_way(np.array([0.1, 0.2])) == np.inf

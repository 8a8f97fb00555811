"""The study of Figure 6 on made-up records whose times are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.planning.study_plan import plan_arms
from membench.records import Record
from membench.registry.registry import discover
from membench.studies import FAILS
from membench.studies import HOLDS
from membench.studies import UNDECIDED
from membench.studies import Arm
from membench.studies import Finding
from membench.studies import Results

module = plugin("studies/time_to_convergence.py")
STUDY = module.register()[0]
QUICK = STUDY.arms["quick"]
REGISTRY = discover()

Time = Callable[[str, int, int, int], float]  # (signal, examples, units, seed) -> epochs


def record(arm: Arm, architecture: str, signal: str, seed: int, epochs: int, budget: int) -> Record:
    """Right on all of the training set from `epochs` on."""
    name = f"{arm.name}/{architecture}/{signal}/{seed}"
    train = tuple(1.0 if e >= epochs else 1 - 1 / arm.split.train for e in range(1, budget + 1))
    steps = budget * (arm.split.train // arm.recipe.batch)
    read = {"epochs": tuple(range(1, budget + 1)), "train": train, "steps": steps}
    return Record(name, "", name, arm.dataset, architecture, "none", (), signal, seed, "ok", **read)


def planted(time: Time, budget: int = 400) -> Results:
    """What the quick arms would give if training took `time` epochs, rounded."""

    def one(arm: Arm, architecture: str, signal: str, seed: int) -> Record:
        epochs = round(time(signal, arm.split.train, int(architecture.split("-")[1]), seed))
        return record(arm, architecture, signal, seed, epochs, budget)

    return {
        arm.name: tuple(
            one(arm, a, signal, seed)
            for a in arm.architectures
            for signal in arm.signals
            for seed in arm.seeds
        )
        for arm in QUICK
    }


def powers(noisy: float, examples: float, units: float, base: float = 40) -> Time:
    """`base` epochs at 400 examples and 128 units; noise takes `noisy` times as long.

    Its slopes in log2 are other ones.
    Half as much for noise in half of the inputs, and so on: that is drawn, not tested.
    """
    shares = {"real": 0.0, "mixed@0.2": 0.2, "mixed@0.5": 0.5, "mixed-inputs@0.5": 0.5}

    def time(signal: str, n: int, w: int, seed: int) -> float:
        share = shares.get(signal, 1.0)
        jitter = 1 + 0.02 * np.random.default_rng([seed, n, w, *signal.encode()]).normal()
        return (
            base
            * noisy**share
            * (n / 400) ** (share * examples)
            * (128 / w) ** (share * units)
            * jitter
        )

    return time


def analysed(time: Time, budget: int = 400) -> Finding:
    return module.analyse(planted(time, budget))


def test_planted_growth_is_found_in_its_size() -> None:
    finding = analysed(powers(2.0, examples=0.5, units=0.25))
    mean, growth, examples, _, units = finding.tests[5:]
    assert {t.verdict for t in finding.tests} == {HOLDS}
    assert finding.verdicts == {
        "longer on noise": HOLDS,
        "more so with more examples": HOLDS,
        "more so with fewer units": HOLDS,
    }
    assert {t.freedom for t in finding.tests} == {19}
    for test in (growth, examples):  # the time of real data does not grow
        assert test.low - 0.02 < 0.5 < test.high + 0.02
    assert units.low - 0.02 < 0.25 < units.high + 0.02
    # 400 to 1600 examples are one doubling from 400 on the mean
    assert mean.value == pytest.approx(1 + 0.5, abs=0.05)


def test_verdicts_flip_where_noise_is_fitted_sooner_and_grows_less() -> None:
    finding = analysed(powers(0.6, examples=-0.3, units=-0.3))
    assert {t.verdict for t in finding.tests} == {FAILS}
    assert any("Training on them is shorter here;" in note for note in finding.notes)


def test_the_two_kinds_of_noise_are_judged_apart() -> None:
    slow, fast = powers(2.0, 0.5, 0.5), powers(0.6, -0.3, -0.3)
    finding = analysed(lambda signal, *where: (slow if signal == "randY" else fast)(signal, *where))
    kinds = ["random inputs"] * 5 + ["random labels"] * 5
    assert [t.verdict for t in finding.tests] == [FAILS] * 5 + [HOLDS] * 5
    assert all(kind in t.name for t, kind in zip(finding.tests, kinds, strict=True))


def test_a_time_that_falls_more_slowly_on_noise_does_not_grow_faster_on_it() -> None:
    def falling(signal: str, n: int, w: int, seed: int) -> float:
        rate = {"real": -0.5, "randX": -0.2, "randY": -0.2}.get(signal, -0.4)
        return 100 * (n / 400) ** rate + seed % 3

    grows, faster = analysed(falling).tests[1:3]
    assert (grows.verdict, faster.verdict) == (FAILS, HOLDS)


def test_times_that_are_not_longer_on_noise_do_not_hold_the_claim() -> None:
    finding = analysed(powers(1.0, 0.0, 0.0))
    assert {t.verdict for t in finding.tests} == {UNDECIDED}
    assert any("neither clearly longer nor shorter" in note for note in finding.notes)


def test_runs_that_the_budget_ends_leave_an_interval_open_on_the_side_of_longer_times() -> None:
    time = powers(2.0, examples=0.5, units=0.5)
    short, long = analysed(time, budget=150), analysed(time, budget=1000)
    for cut, full in zip(short.tests[5:], long.tests[5:], strict=True):
        assert "censored" in cut.method and "censored" not in full.method
        assert cut.verdict == HOLDS
        assert cut.value < full.value
        assert cut.low < full.value < cut.high == math.inf


@pytest.mark.parametrize(
    ("signal", "arm", "units", "test"),
    [
        ("randY", "examples-400", 128, 7),
        ("real", "examples-1600", 128, 7),
        ("real", "examples-400", 16, 9),
    ],
)
def test_one_censored_run_that_could_speak_against_the_claim_undoes_its_verdict(
    signal: str, arm: str, units: int, test: int
) -> None:
    results = planted(powers(2.0, 0.5, 0.5))
    whole = module.analyse(results).tests[test]
    never = {"train": (0.99,) * 400}
    lost = [
        r.signal == signal and r.architecture == f"mlp-{units}" and r.seed == 2
        for r in results[arm]
    ]
    cut = tuple(
        replace(r, **never) if gone else r for r, gone in zip(results[arm], lost, strict=True)
    )
    opened = module.analyse({**results, arm: cut}).tests[test]
    assert (whole.verdict, opened.verdict) == (HOLDS, UNDECIDED)
    assert opened.low == -math.inf and "1 runs censored" in opened.method


def test_a_censored_run_at_the_middle_size_has_no_weight_in_the_growth() -> None:
    results = planted(powers(2.0, 0.5, 0.5))
    never = tuple(
        replace(r, train=(0.99,) * 400) if r.signal == "randY" else r
        for r in results["examples-800"]
    )
    growth, cut = (
        module.analyse(r).tests[7] for r in (results, {**results, "examples-800": never})
    )
    assert cut.low == pytest.approx(growth.low) and cut.high == pytest.approx(growth.high)


def test_a_claim_fails_on_censored_runs_if_censoring_only_helps_to_refute_it() -> None:
    """Noise that is slowest on the fewest examples: however long it took, time falls with them."""
    finding = analysed(powers(2.0, examples=-0.5, units=-0.5), budget=75)
    examples = finding.tests[7]
    assert examples.low == -math.inf
    assert examples.verdict == FAILS


def test_a_time_is_the_first_epoch_read_with_nothing_wrong() -> None:
    own = record(QUICK[0], "mlp-128", "real", 0, 3, 5)
    assert module.converged(own) == 3
    assert module.converged(replace(own, epochs=(1, 2, 4, 8, 16))) == 4
    assert module.converged(replace(own, train=(0.5, 1.0, 0.9, 1.0, 1.0))) == 2
    assert math.isnan(module.converged(replace(own, train=(0.99998,) * 5)))


def test_a_seed_with_a_failed_run_is_named_and_left_out() -> None:
    results = planted(powers(2.0, 0.5, 0.5))
    first = results["examples-800"][0]
    failed = replace(first, status="failed", epochs=(), train=(), steps=0)
    finding = module.analyse({**results, "examples-800": (failed, *results["examples-800"][1:])})
    assert "Seeds [0] lack a run and do not count." in finding.notes
    assert all("over 19 seeds" in t.method for t in finding.tests)
    broken = {
        arm: tuple(replace(r, status="diverged") for r in records)
        for arm, records in results.items()
    }
    with pytest.raises(ValueError, match="no seed has all its runs"):
        module.analyse(broken)


def test_the_table_has_median_epochs_and_steps_and_says_what_the_budget_ended() -> None:
    finding = analysed(
        lambda signal, n, w, seed: 500 if signal == "randY" and w == 16 else 30 + seed
    )
    rows = {row[0]: dict(zip(finding.table[0], row, strict=True)) for row in finding.table[1:]}
    assert list(rows) == [
        "nothing",
        "50 % of inputs",
        "all inputs",
        "50 % of labels",
        "all labels",
    ]
    assert rows["nothing"]["400 examples (steps)"] == "39.5 (790)"
    assert rows["nothing"]["1600 examples (steps)"] == "39.5 (3160)"
    assert rows["all labels"]["16 units"] == ">400"
    assert rows["all labels"]["log2 per halving"].endswith("to +inf)")
    assert any(note.endswith("all labels 20 of 80.") for note in finding.notes)


def test_the_figure_marks_what_took_longer_than_the_budget_and_has_all_lines_in_its_legend() -> (
    None
):
    figure = Figure(figsize=(7, 3), layout="constrained")
    analysed(powers(2.0, 0.5, 0.5), budget=170).draw(figure)
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == (
        "hidden units in each of 2 layers",
        "training examples",
    )
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        look[0] for look in module.LOOKS.values()
    ]
    hollow = [
        line
        for line in left.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert hollow and all(set(line.get_ydata()) == {171} for line in hollow)
    assert left.get_xscale() == right.get_yscale() == "log"


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_the_number_of_examples_changes_at_the_widest_network_only(scale: str) -> None:
    plans = plan_arms(
        STUDY, scale, REGISTRY.for_study(STUDY.name), lambda dataset: dataset, lambda *names: None
    )
    arms = [plan.arm for plan in plans]
    full = [arm for arm in arms if len(arm.architectures) > 1]
    assert len({arm.split.train for arm in full}) == 1
    assert len({arm.architectures for arm in full}) == 1
    widest = max(full[0].architectures, key=lambda name: int(name.split("-")[1]))
    assert all(arm.architectures == (widest,) for arm in arms if arm not in full)
    assert [arm.name.split("-")[1] for arm in arms] == [str(arm.split.train) for arm in arms]
    assert {arm.recipe for arm in arms} == {full[0].recipe}
    assert len({key for plan in plans for key in plan.keys}) == sum(
        len(plan.cells) for plan in plans
    )

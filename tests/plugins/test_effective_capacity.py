"""The study of effective capacity on records of known answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.errors import MembenchError
from membench.records import Record
from membench.studies import FAILS
from membench.studies import HOLDS

CAPACITY = plugin("studies/effective_capacity.py")
REGULARIZERS = {"none": None, "dropout": ((0.3,), (0.5,))}
ARM = replace(CAPACITY.QUICK, seeds=(0, 1, 2, 3), regularizers=REGULARIZERS)

#: (setting, share of random labels) -> (training fit, validation accuracy)
Learner = Callable[[str, float], tuple[float, float]]


def records(learner: Learner, spread: float = 0.01) -> tuple[Record, ...]:
    """Runs of `ARM` whose fit scatters about the learner's; its norms follow the fit."""
    rng, found = np.random.default_rng(0), []
    for seed in ARM.seeds:
        for network in ARM.architectures:
            for name, strength in (("none", ()), ("dropout", (0.3,)), ("dropout", (0.5,))):
                for signal in ARM.signals:
                    setting = f"{name}{list(strength) or ''}"
                    fit, val = learner(setting, CAPACITY.share(signal))
                    fit += spread * rng.normal()
                    norms = dict.fromkeys(CAPACITY.NORMS, (fit,))
                    cell = ("digits", network, name, strength, signal, seed, "ok")
                    more = {"train": (fit,), "val": (val,), "num_classes": 10}
                    found.append(Record("", "", "", *cell, **more, probes={"norms": norms}))
    return tuple(found)


def memorizing(setting: str, random: float) -> tuple[float, float]:
    """All training labels are fitted, whatever they are."""
    return 1.0, 0.9 * (1 - random) + 0.1 * random


def test_where_the_same_network_fits_any_labels_the_claim_holds_at_every_setting() -> None:
    finding = CAPACITY.analyse({"main": records(memorizing)})
    assert [t.verdict for t in finding.tests] == [HOLDS] * 3
    assert finding.verdict == HOLDS
    # 1 - .1 on random labels, 1 - .9 on real ones
    assert finding.tests[0].value == pytest.approx(80, abs=1)
    assert {t.freedom for t in finding.tests} == {3}


def test_a_regularizer_that_keeps_the_gap_whatever_the_data_refutes_the_claim() -> None:
    def learner(setting: str, random: float) -> tuple[float, float]:
        if setting != "dropout[0.5]":
            return memorizing(setting, random)
        return (0.95, 0.9) if random == 0 else (0.1 + 0.85 * (1 - random), 0.9)

    finding = CAPACITY.analyse({"main": records(learner)})
    assert [t.verdict for t in finding.tests] == [HOLDS, HOLDS, FAILS]
    assert finding.verdict == FAILS


def test_wrong_labels_that_are_not_fitted_make_no_gap() -> None:
    """Six tenths of the labels are random: .4 x .9 + .6 / 10 of other ones could be told."""

    def learner(setting: str, random: float) -> tuple[float, float]:
        return 0.9 * (1 - random) + random / 10, 0.9

    gap = CAPACITY.runs(records(learner, spread=0)).gap
    assert gap.shape == (4, 3, 3, 4)
    assert np.allclose(gap, 0)


def test_what_is_known_explains_the_variance_between_its_means_only() -> None:
    network, setting, data = np.ix_([0.0, 1.0], [0.0, 2.0], [0.0, 4.0])
    gap = np.broadcast_to(network + setting + data, (3, 2, 2, 2))
    # variances 1/4, 1 and 4 of the three parts
    assert CAPACITY.explained(gap, 1) == pytest.approx(0.25 / 5.25)
    assert CAPACITY.explained(gap, 1, 2) == pytest.approx(1.25 / 5.25)
    assert CAPACITY.explained(gap, 1, 2, 3) == pytest.approx(1)
    assert CAPACITY.explained(gap, 0) == 0


def test_the_notes_say_what_blind_measures_explain_and_how_trained_norms_rank() -> None:
    first, second = CAPACITY.analyse({"main": records(memorizing)}).notes
    assert "explains at most 0%" in first and "100% are between runs" in first
    assert "rho" in second


def test_a_seed_that_lacks_a_run_is_left_out_and_told() -> None:
    own = records(memorizing)
    finding = CAPACITY.analyse({"main": (replace(own[0], status="failed"), *own[1:])})
    assert "Seeds (0,) lack a run and do not count." in finding.notes
    assert "3 seeds" in finding.tests[0].method
    with pytest.raises(MembenchError, match="no seed has all of its runs"):
        CAPACITY.runs([replace(r, status="failed") for r in own])


def test_the_figure_has_a_row_a_setting_and_the_networks_without_a_regularizer() -> None:
    figure = Figure(layout="constrained")
    CAPACITY.analyse({"main": records(memorizing)}).draw(figure)
    left, right = figure.axes
    assert left.get_yticklabels()[0].get_text() == "none"
    assert len(left.lines) == len(ARM.signals)
    assert right.get_ylim() == left.get_xlim()


def test_the_share_of_random_labels_is_read_from_the_signal() -> None:
    assert [CAPACITY.share(s) for s in ("real", "mixed@0.4", "randY")] == [0.0, 0.4, 1.0]

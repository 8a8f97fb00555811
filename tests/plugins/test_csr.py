"""LASS against algorithm 1 written out in numpy, point by point, on the same draws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support.plugin_files import plugin

from membench.records import Record
from membench.rng import Draws

CSR = plugin("probes/csr.py")
STUDY = plugin("studies/csr.py")
PIXEL = 0.01
N, SHAPE, HIDDEN, CLASSES = 40, (1, 3, 3), 12, 4


def weights(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[9, 12], [12], [12, 4] float64."""
    draws = Draws(seed)
    sizes = ((9, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES))
    return tuple(
        draws.normal(f"w{i}", int(np.prod(s))).astype(float).reshape(s) for i, s in enumerate(sizes)
    )


def points() -> np.ndarray:
    return Draws(1).normal("x", N * 9).astype(float).reshape(N, *SHAPE)


def eta(i: int) -> np.ndarray:
    return Draws(2).normal(f"eta-{i}", N * 9).astype(float).reshape(N, *SHAPE)


def network(x: torch.Tensor) -> torch.Tensor:
    w, b, v = map(torch.from_numpy, weights())
    return torch.relu(x.flatten(1) @ w + b) @ v


class Lane:
    """What LASS asks of a lane, in float64; `seen` keeps all that the network was shown."""

    pixel = torch.full((1, 1, 1), PIXEL, dtype=torch.float64)

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        return network(x)

    def normal(self, shape: tuple[int, ...], name: str) -> torch.Tensor:
        return torch.from_numpy(eta(int(name.split("-")[1]))[: shape[0]])


def written_out(x: np.ndarray, number: int, radius: float, iterations: int) -> int:
    """Algorithm 1 for one point x [1, 3, 3]: the iteration at which it ends, 0 if it does not."""
    w, b, v = weights()
    scale = PIXEL / 0.3 * radius  # alpha and beta in proportion to r = 0.3

    def logits(z: np.ndarray) -> np.ndarray:
        return np.maximum(z.ravel() @ w + b, 0) @ v

    k = logits(x).argmax()
    moved = x.copy()
    for i in range(iterations):
        z = logits(moved)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        ascent = w @ ((v @ (p - np.eye(CLASSES)[k])) * (moved.ravel() @ w + b > 0))  # of -log p_k
        moved = moved + scale * (0.25 * np.sign(ascent).reshape(SHAPE) + 0.2 * eta(i)[number])
        for j in np.ndindex(*SHAPE):
            if abs(moved[j] - x[j]) > radius * PIXEL:
                moved[j] = x[j] + radius * PIXEL * np.sign(moved[j] - x[j])
        if logits(moved).argmax() != k:
            return i + 1
    return 0


def test_lass_ends_where_algorithm_1_does() -> None:
    expected = [written_out(x, i, 12.0, 30) for i, x in enumerate(points())]
    found = CSR.lass(torch.from_numpy(points()), 12.0, Lane(), 30)
    assert expected == found.tolist()
    assert {0, 1, 2} < set(expected), "points of all kinds: at once, later, never"


def test_a_search_stays_in_its_box() -> None:
    lane, x = Lane(), torch.from_numpy(points()[:1])
    CSR.lass(x, 5.0, lane, 20)
    far = [(seen - x).abs().max().item() for seen in lane.seen]
    assert len(far) > 20
    assert max(far) == pytest.approx(5.0 * PIXEL)


def test_a_point_is_searched_as_if_it_were_alone() -> None:
    x = torch.from_numpy(points())
    few, all_ = CSR.lass(x[:7], 12.0, Lane(), 30), CSR.lass(x, 12.0, Lane(), 30)
    assert few.tolist() == all_[:7].tolist()


def test_share_counts_all_critical_points_late_and_wrong_some_of_them() -> None:
    x = torch.from_numpy(points())
    y = Lane().forward(x).argmax(dim=1)
    y[:10] = (y[:10] + 1) % CLASSES
    data = SimpleNamespace(val_x=x, val_y=y)
    found = CSR.lass(data.val_x, 12.0, Lane(), 4)
    metrics = CSR.measure({}, data, Lane(), radius=12.0, iterations=4)
    assert metrics["share"] == pytest.approx((found > 0).sum().item() / N)
    assert metrics["late"] == pytest.approx((found > 2).sum().item() / N)
    assert metrics["late"] > 0
    assert metrics["wrong"] == pytest.approx((found[:10] > 0).sum().item() / N)
    assert 0 < metrics["wrong"] < metrics["share"]


def test_a_change_is_split_into_fewer_wrong_points_and_lower_ratios() -> None:
    """Five seeds: wrong points .4 -> .2, ratio among them .5 -> .5, among right ones .1 -> .05."""
    wrong = np.tile([0.4, 0.3, 0.2], (5, 1))
    critical = 0.5 * wrong
    share = critical + (1 - wrong) * np.array([0.1, 0.2, 0.05])
    told = STUDY.split("real", share, wrong, critical)
    assert "in all, of which fewer or more wrong points -0.0850 [-0.0850, -0.0850]" in told
    assert "the ratio among wrong points +0.0000 [+0.0000, +0.0000]" in told
    assert "the ratio among right points -0.0350 [-0.0350, -0.0350]" in told
    assert (
        "from 40.0% to 20.0% of all; the ratio among them from 0.500 to 0.500, "
        "among right ones from 0.100" in told
    )
    assert "no split" in STUDY.split("real", share, 0 * wrong, 0 * critical)


def test_the_probes_are_the_papers_constants_and_ten_times_as_much() -> None:
    settings = {
        p.name: (p.measure.keywords["radius"], p.measure.keywords["iterations"])
        for p in CSR.register()
    }
    assert settings == {
        "csr": (0.3, 100),
        "csr-3": (3.0, 100),
        "csr-monitor": (0.3, 10),
        "csr-3-monitor": (3.0, 10),
    }
    assert pytest.approx((0.25, 0.2)) == (0.3 * CSR.STEP, 0.3 * CSR.NOISE)


def test_the_split_by_right_and_wrong_points_is_over_the_points_that_the_probe_looks_at() -> None:
    (study,) = STUDY.register()
    arms = [arm for scale in study.arms.values() for arm in scale]
    assert [arm.split.validation for arm in arms] == [CSR.POINTS] * 3


def test_only_the_arm_whose_data_may_be_absent_is_optional_and_half_of_the_epochs_is_read() -> None:
    (study,) = STUDY.register()
    arms = {arm.name: arm for scale in study.arms.values() for arm in scale}
    assert [name for name, arm in arms.items() if arm.optional] == ["fashion"]
    assert arms.keys() == STUDY.TITLES.keys()
    assert all(arms[name].read[-1] // 2 in arms[name].read for name in STUDY.WHOLE)


def test_no_ratio_is_read_before_a_network_has_left_its_initial_weights() -> None:
    (study,) = STUDY.register()
    for arm in (arm for scale in study.arms.values() for arm in scale):
        steps = arm.split.train // arm.recipe.batch * arm.read[0]
        assert arm.recipe.lr * steps >= 1.5


def runs(probe: str, curves: dict[str, tuple[float, ...]], seeds: int = 5) -> tuple[Record, ...]:
    """Make runs that go through these ratios at epochs 2, 8 and 16, a little higher each seed."""
    found = []
    for signal, curve in curves.items():
        for seed in range(seeds):
            share = tuple(v + 0.001 * seed for v in curve)
            metrics = {"share": share, "wrong": (0.01,) * 3, "late": (0.0, 0.001 * seed, 0.0)}
            found.append(
                Record(
                    *("", "", "", "d", "a", "none", (), signal, seed, "ok"),
                    epochs=(2, 8, 16),
                    val=(0.7, 0.8, 0.9),
                    probes={probe: metrics},
                )
            )
    return tuple(found)


RISING = {"real": (0.01, 0.05, 0.055), "randX": (0.1, 0.3, 0.35), "randY": (0.1, 0.2, 0.2)}


def test_each_claim_has_its_own_verdict() -> None:
    finding = STUDY.analyse({"fashion": runs("csr-monitor", RISING), "digits": runs("csr", RISING)})
    assert finding.verdicts == {
        "noise above real": "holds",
        "rises": "holds",
        "levels off": "holds",
    }
    values = [test.value for test in finding.tests]
    assert values == pytest.approx([0.145, 0.295, 0.045, 0.25, 0.1, 0.025, 0.05, 0.1, 0.145, 0.295])
    assert {test.freedom for test in finding.tests} == {4}


def test_a_ratio_that_falls_on_real_data_refutes_the_rise_alone() -> None:
    falling = {**RISING, "real": (0.05, 0.06, 0.02)}
    finding = STUDY.analyse({"fashion": runs("csr-monitor", falling)})
    assert finding.verdicts == {
        "noise above real": "holds",
        "rises": "does not hold",
        "levels off": "holds",
    }


def test_flat_curves_that_are_alike_decide_nothing() -> None:
    flat = dict.fromkeys(RISING, (0.1, 0.1, 0.1))
    finding = STUDY.analyse({"fashion": runs("csr-monitor", flat)})
    assert set(finding.verdicts.values()) == {"undecided at this scale"}


def test_a_late_rise_does_not_level_off() -> None:
    late = {**RISING, "randY": (0.1, 0.12, 0.2)}
    finding = STUDY.analyse({"fashion": runs("csr-monitor", late)})
    assert finding.verdicts["levels off"] == "does not hold"


def test_without_the_optional_data_only_the_leading_claim_is_tested() -> None:
    finding = STUDY.analyse({"digits": runs("csr", RISING)})
    assert finding.verdicts == {"noise above real": "holds"}
    assert finding.notes[-1].startswith("Without Fashion-MNIST")


def test_a_seed_that_lacks_a_run_does_not_count_and_is_named() -> None:
    finding = STUDY.analyse({"digits": runs("csr", RISING)[1:]})
    assert finding.tests[0].freedom == 3
    assert "digits, mlp: seeds [0] lack a run and do not count." in finding.notes


def test_there_is_a_panel_for_each_arm_and_radius() -> None:
    finding = STUDY.analyse({"fashion": runs("csr-monitor", RISING), "digits": runs("csr", RISING)})
    figure = Figure(figsize=(7, 3))
    finding.draw(figure)
    assert [axes.get_title() for axes in figure.axes] == [
        "Fashion-MNIST, cnn\nr = 0.3 grey levels",
        "digits, mlp\nr = 0.3 grey levels",
    ]
    assert finding.table[1] == ("Fashion-MNIST, cnn", "r = 0.3", "real", "0.012", "0.052", "0.057")

"""The gradient through unrolled training: against finite differences, the engine, and by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from support.engine import Plugins
from support.engine import blobs
from support.engine import pack
from support.plugin_files import plugin
from torch import Tensor

from membench.api import Recipe
from membench.api import Split
from membench.engine.optim import rate
from membench.engine.train import train_pack
from membench.errors import MembenchError
from membench.probes import Probe
from membench.records import Cell
from membench.records import Record

sensitivity = plugin("probes/sensitivity.py")

SIZES = ((6, 9), (9, 9), (9, 3))  #: a perceptron with two hidden layers and no biases
N, STEPS, RATE, MOMENTUM = 12, 9, 0.5, 0.8
CLASS_OF = torch.arange(N) % 3


def logits(w: Tensor, x: Tensor) -> Tensor:
    pieces = w.split([a * b for a, b in SIZES])
    for i, (piece, size) in enumerate(zip(pieces, SIZES, strict=True)):
        x = (F.relu(x) if i else x) @ piece.view(size)
    return x


def losses(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits(w, x), y, reduction="none")


def by_class(run: object, w: Tensor) -> Tensor:
    return losses(w, run.x, run.y) @ F.one_hot(run.y, 3).to(w.dtype) / N


@pytest.fixture(scope="module")
def run() -> object:
    torch.manual_seed(1)
    x = torch.randn(N, 6, dtype=torch.float64)
    order = torch.cat([torch.randperm(N).reshape(3, 4) for _ in range(3)])
    return sensitivity.Descent(
        losses, x, CLASS_OF, order, [RATE * 0.9**t for t in range(STEPS)], MOMENTUM
    )


@pytest.fixture(scope="module")
def start() -> Tensor:
    torch.manual_seed(2)
    return 0.6 * torch.randn(sum(a * b for a, b in SIZES), dtype=torch.float64)


def trained(run: object, start: Tensor, x: Tensor, steps: int) -> Tensor:
    """The weights after plain SGD on inputs x, by torch's own optimizer."""
    w = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr=1.0, momentum=MOMENTUM)
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = run.rates[t]
        optimizer.zero_grad()
        losses(w, x[run.order[t]], run.y[run.order[t]]).mean().backward()
        optimizer.step()
    return w.detach()


def test_the_replay_is_torchs_sgd_and_passes_each_step_once(run: object, start: Tensor) -> None:
    path = list(run.backwards(start))
    assert [t for t, _, _ in path] == list(reversed(range(STEPS)))
    for t, before, after in path:
        assert torch.allclose(before, trained(run, start, run.x, t), atol=1e-12)
        assert torch.allclose(after, trained(run, start, run.x, t + 1), atol=1e-12)


def test_the_unrolled_gradient_is_that_of_finite_differences(run: object, start: Tensor) -> None:
    times, eps = [1, 4, STEPS], 1e-6
    found, _ = run.sensitivity(start, times, lambda w: by_class(run, w))
    for i in (0, 5, 11):
        for pixel in (0, 3):
            for k, t in enumerate(times):
                up, down = run.x.clone(), run.x.clone()
                up[i, pixel] += eps
                down[i, pixel] -= eps
                ends = [by_class(run, trained(run, start, x, t)) for x in (up, down)]
                expected = (ends[0] - ends[1]) / (2 * eps)
                assert torch.allclose(found[k, :, i, pixel], expected, rtol=1e-6, atol=1e-9), (
                    i,
                    pixel,
                    t,
                )
    assert found.abs().max() > 1e-3


def test_an_example_that_came_later_has_moved_nothing(run: object, start: Tensor) -> None:
    found, _ = run.sensitivity(start, [1, STEPS], lambda w: by_class(run, w))
    seen = torch.zeros(N, dtype=torch.bool)
    seen[run.order[0]] = True
    moved = found.abs().sum((1, 3)) > 0
    assert moved[0].any() and not moved[0][~seen].any() and moved[1][~seen].any()


def test_the_parts_of_the_loss_add_up_to_it(run: object, start: Tensor) -> None:
    parts, _ = run.sensitivity(start, [3, STEPS], lambda w: by_class(run, w))
    whole, _ = run.sensitivity(start, [3, STEPS], lambda w: losses(w, run.x, run.y).mean()[None])
    assert torch.allclose(parts.sum(1, keepdim=True), whole, atol=1e-14)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0, 0, 1), 3 / 4),
        ((2, 2, 2), 0.0),
        ((4, 1, 3, 2), 1 / 4),
        ((0, 0), 0.0),
        ((1, 3), 1 / 4),
    ],
)
def test_gini_by_hand(values: tuple[float, ...], expected: float) -> None:
    assert float(sensitivity.gini(torch.tensor(values, dtype=torch.float64))) == pytest.approx(
        expected, abs=1e-15
    )


def test_gini_is_half_the_mean_difference_over_the_mean() -> None:
    g = torch.rand(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3
    expected = (g[:, :, None] - g[:, None]).abs().mean((1, 2)) / (2 * g.mean(1))
    assert torch.allclose(sensitivity.gini(g), expected)


def world(recipe: Recipe) -> tuple[dict[str, Tensor], SimpleNamespace, SimpleNamespace]:
    """Weights at the end of a small run, its data, and the lane that a probe sees."""
    torch.manual_seed(3)
    x, y = torch.randn(N, 6), CLASS_OF
    initial = {str(i): 0.6 * torch.randn(size) for i, size in enumerate(SIZES)}
    order = torch.cat([torch.randperm(N).reshape(3, 4) for _ in range(3)])

    def forward(x: Tensor, params: dict[str, Tensor] | None) -> Tensor:
        return logits(sensitivity.flat(params) if params is None else joined(params), x)

    lane = SimpleNamespace(
        recipe=recipe,
        initial=initial,
        order=order,
        epoch=3,
        steps=STEPS,
        rates=rate(recipe, torch.arange(STEPS, dtype=torch.float64), STEPS),
        num_classes=3,
        forward=forward,
    )
    data = SimpleNamespace(x=x, y=y, trained=torch.ones(N, dtype=torch.bool))
    run, start = sensitivity.descent(data, lane)
    final = next(run.backwards(start))[2]
    pieces = final.split([w.numel() for w in initial.values()])
    end = {k: piece.view(w.shape) for (k, w), piece in zip(initial.items(), pieces, strict=True)}
    lane.state = {"early": end}  # of fewer steps than that
    return end, data, lane


def joined(params: dict[str, Tensor]) -> Tensor:
    return torch.cat([w.flatten() for w in params.values()])


COSINE = Recipe(lr=0.3, momentum=0.5, batch=4, epochs=3, schedule="cosine")


def test_the_probe_reads_at_ends_of_epochs_and_averages_over_the_times_so_far() -> None:
    params, data, lane = world(COSINE)
    found = sensitivity.measure_examples(params, data, lane)
    times, g, _ = sensitivity.norms(
        params, data, lane, lambda run, w: run.losses(w, data.x, data.y).mean()[None]
    )
    assert found["steps"].tolist() == times == [3, 6, 9]
    assert found["gini"][0] == found["gini-now"][0]
    assert found["gini"][2] == pytest.approx(float(sensitivity.gini(g.mean(0))[0]), rel=1e-5)


def test_the_matrix_has_the_losss_class_in_its_rows() -> None:
    params, data, lane = world(COSINE)
    _, g, _ = sensitivity.norms(params, data, lane, by_class)
    matrix = sensitivity.measure_classes(params, data, lane)["matrix"].reshape(3, 3)
    for i, j in ((0, 0), (0, 2), (2, 1)):
        assert matrix[i, j] == pytest.approx(float(g[:, i, data.y == j].mean()), rel=1e-5)


def test_a_run_that_was_not_plain_sgd_is_refused() -> None:
    params, data, lane = world(COSINE)
    lane.state = {"early": {k: 0.9 * w for k, w in params.items()}}
    with pytest.raises(MembenchError, match="elsewhere"):
        sensitivity.measure_examples(params, data, lane)
    lane.recipe = Recipe(optimizer="adamw")
    with pytest.raises(MembenchError, match="unrolls sgd only"):
        sensitivity.measure_classes(params, data, lane)


def records_of(architecture: str, regularizer: str, split: Split, *strength: float) -> list[Record]:
    """Three lanes of the engine, with the probes."""
    cells = tuple(
        Cell("blobs", architecture, regularizer, strength, s, i)
        for i, s in enumerate(("real", "randX", "real"))
    )
    probes = {p.name: p for p in sensitivity.register()}
    source = Plugins(datasets={"blobs": blobs()}, probes=probes)
    recipe = Recipe(lr=0.1, momentum=0.8, batch=6, epochs=4, schedule="cosine")
    return train_pack(pack(cells, recipe, split, probes=tuple(probes)), source, "cpu")


@pytest.mark.parametrize(
    ("architecture", "split"),
    [("mlp", Split(10, 24, 10)), ("cnn", Split(10, 24, 10)), ("mlp", Split(10, 30, 10, share=0.6))],
)
def test_the_replay_ends_at_the_engines_weights(
    worker_like: None, architecture: str, split: Split
) -> None:
    for record in records_of(architecture, "none", split):
        assert record.status == "ok", record.reason
        assert record.probes["loss-sensitivity"]["gap"][0] < 1e-5
        assert record.probes["class-sensitivity"]["gap"][0] < 1e-5
        assert len(record.probes["loss-sensitivity"]["gini"][0]) == 4
        assert all(0 < g < 1 for g in record.probes["loss-sensitivity"]["gini"][0])
        assert sum(record.probes["class-sensitivity"]["matrix"][0]) > 0


def test_a_regularized_run_is_refused(worker_like: None) -> None:
    with pytest.raises(MembenchError, match="elsewhere"):
        records_of("mlp", "weight-decay", Split(10, 24, 10), 0.1)


def test_the_early_weights_are_those_after_so_many_steps(worker_like: None) -> None:
    seen = {}

    def look(params: dict[str, Tensor], data: object, lane: object) -> dict[str, float]:
        run, start = sensitivity.descent(data, lane)
        path = {t + 1: after for t, _, after in run.backwards(start)}
        seen.update(path=path, early=sensitivity.flat(lane.state["early"]))
        return {"x": 0.0}

    probe = Probe("look", look, "end", sensitivity.keep, sensitivity.keep_early)
    source = Plugins(datasets={"blobs": blobs()}, probes={"look": probe})
    cells = (Cell("blobs", "mlp", "none", (), "real", 0),)
    recipe = Recipe(lr=0.1, batch=6, epochs=7)
    train_pack(pack(cells, recipe, Split(10, 24, 10), probes=("look",)), source, "cpu")
    gaps = {t: float((w - seen["early"]).norm()) for t, w in seen["path"].items()}
    assert min(gaps, key=gaps.get) == sensitivity.EARLY < len(gaps)
    assert gaps[sensitivity.EARLY] < 1e-5

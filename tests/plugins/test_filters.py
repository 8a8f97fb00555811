"""First-layer filters: read from each kind of layer, their spectrum, the study's conclusion."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support.plugin_files import plugin
from torch import nn

from membench.errors import MembenchError
from membench.nn import PatchConv
from membench.records import Record

probe = plugin("probes/filters.py")
study = plugin("studies/filters.py")


def wave(cycles: float, size: int = 16) -> torch.Tensor:
    """[1, 1, size, size], that many cycles along one side."""
    return torch.cos(2 * torch.pi * cycles * torch.arange(size) / size).expand(1, 1, size, size)


def test_white_noise_has_concentration_one_and_a_coarse_wave_all_of_it() -> None:
    noise = torch.randn(4000, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(probe.concentration(noise).mean()) == pytest.approx(1, abs=0.02)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))
    whole = 255 / ((radius > 0) & (radius <= 0.25)).sum()
    assert float(probe.concentration(wave(3) + 5)) == pytest.approx(whole, rel=1e-6)
    assert float(probe.concentration(wave(6))) < 1e-6
    assert float(probe.concentration(3 + 0 * wave(1))) == 1


def test_filters_of_a_patch_layer_are_what_its_patches_meet() -> None:
    x = torch.rand(1, 3, 8, 8)
    layer = PatchConv(3, 5, 4)
    images = probe.first_filters({"w": layer.linear.weight}, (3, 8, 8))
    expected = torch.einsum("ochw,chw->o", images, x[0, :, :4, 4:]) + layer.linear.bias
    assert torch.allclose(layer(x.permute(0, 2, 3, 1))[0, 0, 1], expected, atol=1e-6)


def test_filters_of_the_studys_own_network_are_what_its_patches_meet() -> None:
    network = study.small((2, 28, 28), 10)
    x, seen = torch.rand(1, 2, 28, 28), []
    network(x, lambda h: seen.append(h) or h)
    images = probe.first_filters(dict(network.named_parameters()), (2, 28, 28))
    expected = torch.einsum("ochw,chw->o", images, x[0, :, 4:12, 8:16]) + network.stem.bias
    assert images.shape == (32, 2, 8, 8) and torch.allclose(
        seen[0][0, 6 + 2], expected.relu(), atol=1e-6
    )


def test_filters_of_dense_and_convolutional_layers() -> None:
    dense, conv = nn.Linear(2 * 5 * 6, 3).weight, nn.Conv2d(2, 3, 5).weight
    assert probe.first_filters({"b": torch.zeros(3), "w": dense}, (2, 5, 6)).shape == (3, 2, 5, 6)
    assert probe.first_filters({"w": conv}, (2, 9, 9)) is conv
    with pytest.raises(MembenchError, match="no filters"):
        probe.first_filters({"w": torch.zeros(3, 7)}, (2, 5, 6))


def test_the_probe_pictures_the_filters_that_changed_most() -> None:
    start = torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    end = start.clone()
    end[[7, 42]] += torch.stack([2 * wave(1, 8)[0], wave(2, 8)[0]])
    lane, data = SimpleNamespace(initial={"w": start}), SimpleNamespace(x=torch.zeros(5, 1, 8, 8))
    found = probe.measure({"w": end}, data, lane)
    picture = found["picture"].reshape(-1, *found["shape"].tolist())
    assert len(picture) == 64 and torch.equal(picture[:2], end[[7, 42]])
    assert found["concentration"] > found["initial"] and found["change"] > 1
    assert float(found["moved"]) == pytest.approx(float((end - start).norm() / start.norm()))


def test_the_mosaic_sets_filters_side_by_side_and_leaves_blanks() -> None:
    images = np.arange(1, 7)[:, None, None] * np.array([[1.0, -1.0], [0.5, 0.0]])
    found = study.mosaic(images)
    assert found.shape == (study.ROWS * 3 - 1, study.COLUMNS * 3 - 1)
    assert np.array_equal(found[:2, :2], images[0]) and np.array_equal(
        found[3:5, 3:5], images[0]
    )  # the sixth, scaled
    assert np.isnan(found[2]).all() and np.isnan(found[3:5, 6:]).all()


def records(signal: str, ends: list[float]) -> list[Record]:
    picture = tuple(np.linspace(-1, 1, 16 * 64))
    found = []
    for seed, end in enumerate(ends):
        numbers = {
            "concentration": (end,),
            "initial": (1 + 0.01 * seed,),
            "change": (2.0,),
            "moved": (0.5,),
        }
        probes = {"filters": {**numbers, "shape": ((1, 8, 8),), "picture": (picture,)}}
        found.append(
            Record(
                "", "", "", "d", "a", "none", (), signal, seed, "ok", train=(1.0,), probes=probes
            )
        )
    return found


def test_verdicts_follow_the_numbers_and_the_figure_has_every_filter() -> None:
    smooth, white = [2.0, 2.1, 2.2, 2.1], [1.0, 1.02, 1.01, 1.03]
    own = (*records("real", smooth), *records("randY", smooth), *records("randX", white))
    finding = study.analyse({"d": own})
    assert [t.verdict for t in finding.tests] == ["holds"] * 3
    assert {t.freedom for t in finding.tests} == {len({r.seed for r in own}) - 1}
    figure = Figure(figsize=(7, 3))
    finding.draw(figure)
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]
    other = study.analyse(
        {"d": (*records("real", smooth), *records("randY", white), *records("randX", smooth))}
    )
    assert [t.verdict for t in other.tests] == ["holds", "undecided at this scale", "does not hold"]


def test_without_a_common_seed_there_is_no_finding() -> None:
    with pytest.raises(MembenchError, match="no seed has all three"):
        study.analyse({"d": tuple(records("real", [1.0, 2.0]))})

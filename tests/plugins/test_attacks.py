"""The attacks of the regularizers, against those of the adversarial-robustness-toolbox."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.plugin_files import plugin
from torch import Tensor
from torch import nn

from membench.nn import one_hot

PIXEL, SHAPE, CLASSES = 0.0125, (1, 6, 6), 4


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, CLASSES))


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(30, *SHAPE), torch.randint(CLASSES, (30,))


def ours(name: str, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack with the plugin's `batch` at strength 1; a box attack starts at its centre."""
    lane = SimpleNamespace(
        strength=1.0,
        pixel=torch.full((1, 1, 1), PIXEL),
        forward=network,
        uniform=lambda shape: torch.full(tuple(shape), 0.5),
    )
    return plugin(f"regularizers/{name}.py").batch(x, one_hot(y, CLASSES), lane)[0].detach()


def theirs(attack: str, network: nn.Module, x: Tensor, y: Tensor, **settings: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports of other frameworks
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(network, nn.CrossEntropyLoss(), SHAPE, CLASSES, device_type="cpu")
        made = getattr(evasion, attack)(model, batch_size=len(x), **settings).generate(
            x.numpy(), y.numpy()
        )
    return torch.from_numpy(np.asarray(made, dtype=np.float32))


def test_adversarial_is_the_fast_gradient_method(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    expected = theirs("FastGradientMethod", network, *images, eps=32 * PIXEL)
    found = ours("adversarial", network, *images)
    assert torch.allclose(found, expected, atol=1e-5)
    # no gradient was zero: signs are compared at every pixel
    assert (found - images[0]).abs().min() > 31 * PIXEL


def test_pgd_3_is_projected_gradient_descent(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    step = {"eps": 32 * PIXEL, "eps_step": 2.5 * 32 / 3 * PIXEL, "max_iter": 3, "verbose": False}
    expected = theirs("ProjectedGradientDescentPyTorch", network, *images, **step)
    found = ours("pgd_3", network, *images)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found - images[0]).abs().max() <= 32 * PIXEL + 1e-6
    assert not torch.allclose(found, ours("adversarial", network, *images), atol=1e-3)

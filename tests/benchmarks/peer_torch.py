"""Plain PyTorch: with `DataLoader`, as most people write it; with the data resident, as a careful person does."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from speed_work import Work
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from membench.api import Recipe
from membench.records import Cell

Weights = Mapping[str, np.ndarray]
Fit = Callable[
    [nn.Module, Tensor, Tensor, Recipe], None
]  #: (network, x, labels, recipe) -> trained in place


def mlp(weights: Weights, strength: float) -> nn.Sequential:
    """Linear layers of the weights' sizes; dropout after each hidden ReLU."""
    *hidden, head = [w.shape for w in weights.values() if w.ndim == 2]
    layers: list[nn.Module] = [nn.Flatten()]
    for outputs, inputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(strength)]
    return nn.Sequential(*layers, nn.Linear(head[1], head[0]))


def cnn(weights: Weights, strength: float) -> nn.Sequential:
    """The plugin `cnn` with torch's own convolutions."""
    stem, body, neck, head = [w.shape for w in weights.values() if w.ndim == 2]
    return nn.Sequential(
        *(nn.Conv2d(stem[1] // 16, stem[0], 4, stride=4), nn.ReLU(), nn.Dropout(strength)),
        *(nn.Conv2d(stem[0], body[0], 2, stride=2), nn.ReLU(), nn.Dropout(strength)),
        nn.Flatten(),
        *(nn.Linear(neck[1], neck[0]), nn.ReLU(), nn.Dropout(strength)),
        nn.Linear(head[1], head[0]),
    )


def network(weights: Weights, strength: float) -> nn.Sequential:
    """The size's network, starting from the given weights."""
    net = (cnn if "stem.linear.weight" in weights else mlp)(weights, strength)
    with torch.no_grad():
        for own, given in zip(net.parameters(), weights.values(), strict=True):
            own.copy_(torch.from_numpy(given).reshape(own.shape))
        if isinstance(net[0], nn.Conv2d):
            for layer in (net[0], net[3], net[7]):
                layer.weight.copy_(_channels_first(layer.weight, net[3].out_channels))
    return net


def _channels_first(weight: Tensor, channels: int) -> Tensor:
    """membench's columns run over rows, columns, channels; torch's over channels, rows, columns."""
    if weight.dim() == 4:
        outputs, inputs, size, _ = weight.shape
        return weight.reshape(outputs, size, size, inputs).permute(0, 3, 1, 2).clone()
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(-1, side, side, channels).permute(0, 3, 1, 2).reshape(weight.shape)


def flops(weights: Weights, x: np.ndarray) -> int:
    """Of one step's forward and backward pass on the batch x."""
    net, y = network(weights, 0.5), torch.zeros(len(x), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(torch.from_numpy(x)), y).backward()
    return counter.get_total_flops()


def fit_from_loader(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """The loop of the tutorials."""
    loader = DataLoader(TensorDataset(x, y), batch_size=recipe.batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    for _ in range(recipe.epochs):
        for inputs, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            optimizer.step()


def fit_resident(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """No loader, no wait for the device, one kernel for the update; one gather an epoch."""
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, fused=True
    )
    whole = len(y) // recipe.batch * recipe.batch
    for _ in range(recipe.epochs):
        order = torch.randperm(len(y), device=y.device)[:whole]
        for inputs, labels in zip(
            x[order].split(recipe.batch), y[order].split(recipe.batch), strict=True
        ):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(inputs), labels).backward()
            optimizer.step()


class TorchPeer:
    """Trains cells one after another with `fit`."""

    def __init__(self, work: Work, precision: str, fit: Fit) -> None:
        torch.set_float32_matmul_precision(precision)
        self.work, self.fit = work, fit
        self.arrays = {
            key: (torch.from_numpy(e.x), torch.from_numpy(e.y)) for key, e in work.examples.items()
        }

    def warm_up(self, cells: Sequence[Cell]) -> None:
        """One epoch of the first cell."""
        self._trained(cells[0], replace(self.work.size.recipe, epochs=1))

    def train(self, cells: Sequence[Cell]) -> list[tuple[Cell, nn.Module]]:
        """The cells with their trained networks."""
        return [(cell, self._trained(cell, self.work.size.recipe)) for cell in cells]

    def _trained(self, cell: Cell, recipe: Recipe) -> nn.Module:
        torch.manual_seed(cell.seed)
        net = network(self.work.weights[cell.seed], cell.strength[0])
        self.fit(net, *self.arrays[cell.signal, cell.seed], recipe)
        return net

    @torch.no_grad()
    def read(self, trained: Sequence[tuple[Cell, nn.Module]]) -> list[tuple[float, float]]:
        """(training accuracy, test accuracy) of each, in evaluation mode."""
        return [self._accuracies(cell, net.eval()) for cell, net in trained]

    def _accuracies(self, cell: Cell, net: nn.Module) -> tuple[float, float]:
        e = self.work.of(cell)
        right: Any = lambda x, y: float(
            (net(torch.from_numpy(x)).argmax(dim=1).numpy() == y).mean()
        )  # noqa: E731
        return right(e.x, e.y), right(e.test_x, e.test_y)


def dataloader(work: Work, precision: str, lanes: int) -> TorchPeer:
    """Sequential, torch's default threads."""
    return TorchPeer(work, precision, fit_from_loader)


def pool(work: Work, precision: str, lanes: int) -> TorchPeer:
    """One of the pool's processes: one thread, denormals flushed before the first operation."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return TorchPeer(work, precision, fit_resident)

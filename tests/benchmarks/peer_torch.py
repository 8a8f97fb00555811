"""Plain PyTorch as a peer, in two ways.

With `DataLoader`, as most people write it, and with the data resident, as a careful person does.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

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
#: (network, x, labels, recipe): trains the network in place
Fit = Callable[[nn.Module, Tensor, Tensor, Recipe], None]


def mlp(weights: Weights, strength: float) -> nn.Sequential:
    """Make linear layers of the weights' sizes, with dropout after each hidden ReLU."""
    *hidden, head = [w.shape for w in weights.values() if w.ndim == 2]
    layers: list[nn.Module] = [nn.Flatten()]
    for outputs, inputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(strength)]
    return nn.Sequential(*layers, nn.Linear(head[1], head[0]))


def cnn(weights: Weights, strength: float) -> nn.Sequential:
    """Make the plugin `cnn` with torch's own convolutions."""
    stem, body, neck, head = [w.shape for w in weights.values() if w.ndim == 2]
    return nn.Sequential(
        nn.Conv2d(stem[1] // 16, stem[0], 4, stride=4),
        nn.ReLU(),
        nn.Dropout(strength),
        nn.Conv2d(stem[0], body[0], 2, stride=2),
        nn.ReLU(),
        nn.Dropout(strength),
        nn.Flatten(),
        nn.Linear(neck[1], neck[0]),
        nn.ReLU(),
        nn.Dropout(strength),
        nn.Linear(head[1], head[0]),
    )


def network(weights: Weights, strength: float) -> nn.Sequential:
    """Make the network that the weights are of, starting from them."""
    build = cnn if "stem.linear.weight" in weights else mlp
    net = build(weights, strength)
    with torch.no_grad():
        for parameter, weight in zip(net.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.from_numpy(weight).reshape(parameter.shape))
        if isinstance(net[0], nn.Conv2d):
            for layer in (net[0], net[3], net[7]):
                layer.weight.copy_(_channels_first(layer.weight, net[3].out_channels))
    return net


def _channels_first(weight: Tensor, channels: int) -> Tensor:
    """Reorder a matrix's columns from membench's (rows, columns, channels) to torch's order.

    torch's columns run over channels, rows, columns.
    """
    if weight.dim() == 4:
        outputs, inputs, size, _ = weight.shape
        return weight.reshape(outputs, size, size, inputs).permute(0, 3, 1, 2).clone()
    side = round((weight.shape[1] // channels) ** 0.5)
    return weight.reshape(-1, side, side, channels).permute(0, 3, 1, 2).reshape(weight.shape)


def flops(weights: Weights, x: np.ndarray) -> int:
    """Count the FLOPs of one step's forward and backward pass on the batch x."""
    net, y = network(weights, 0.5), torch.zeros(len(x), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net(torch.from_numpy(x)), y).backward()
    return counter.get_total_flops()


def fit_from_loader(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """Train with the loop of the tutorials."""
    loader = DataLoader(TensorDataset(x, y), batch_size=recipe.batch, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    for _ in range(recipe.epochs):
        for inputs, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(inputs), labels).backward()
            optimizer.step()


def fit_resident(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """Train without a loader or a wait: one gather an epoch, one kernel an update."""
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, fused=True
    )
    whole = len(y) // recipe.batch * recipe.batch
    for _ in range(recipe.epochs):
        order = torch.randperm(len(y), device=y.device)[:whole]
        batches = zip(x[order].split(recipe.batch), y[order].split(recipe.batch), strict=True)
        for inputs, labels in batches:
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
        """Train the first cell for one epoch."""
        self._trained(cells[0], replace(self.work.size.recipe, epochs=1))

    def train(self, cells: Sequence[Cell]) -> list[tuple[Cell, nn.Module]]:
        """Return the cells with their trained networks."""
        return [(cell, self._trained(cell, self.work.size.recipe)) for cell in cells]

    def _trained(self, cell: Cell, recipe: Recipe) -> nn.Module:
        torch.manual_seed(cell.seed)
        net = network(self.work.weights[cell.seed], cell.strength[0])
        self.fit(net, *self.arrays[cell.signal, cell.seed], recipe)
        return net

    @torch.no_grad()
    def read(self, trained: Sequence[tuple[Cell, nn.Module]]) -> list[tuple[float, float]]:
        """Return (training accuracy, test accuracy) of each cell, in evaluation mode."""
        accuracies = []
        for cell, net in trained:
            net.eval()
            examples = self.work.of(cell)
            train = _accuracy(net, examples.x, examples.y)
            accuracies.append((train, _accuracy(net, examples.test_x, examples.test_y)))
        return accuracies


def _accuracy(net: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    return float((net(torch.from_numpy(x)).argmax(dim=1).numpy() == y).mean())


def dataloader(work: Work, precision: str, lanes: int) -> TorchPeer:
    """Make the sequential peer, with torch's default threads."""
    return TorchPeer(work, precision, fit_from_loader)


def pool(work: Work, precision: str, lanes: int) -> TorchPeer:
    """Make the peer of one of the pool's processes: one thread, denormals are flushed first."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return TorchPeer(work, precision, fit_resident)

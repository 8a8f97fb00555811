"""Lightning's Trainer with `DataLoader` as a peer; what it would print, log or keep is off."""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
import torch.nn.functional as F
from peer_torch import TorchPeer
from speed_work import Work
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from membench.api import Recipe


class Module(lightning.LightningModule):
    """A network with its loss and its optimizer."""

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.net, self.recipe = net, recipe

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        inputs, labels = batch
        return F.cross_entropy(self.net(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.recipe.lr, momentum=self.recipe.momentum)


def fit(net: nn.Module, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    """Train in Lightning's mode for measuring its overhead.

    `barebones` has no logger, checkpoint, progress bar or summary.
    """
    loader = DataLoader(TensorDataset(x, y), batch_size=recipe.batch, shuffle=True, drop_last=True)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=recipe.epochs, barebones=True
    )
    trainer.fit(Module(net, recipe), loader)


def peer(work: Work, precision: str, lanes: int) -> TorchPeer:
    """Make the sequential peer, with torch's default threads."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Lightning would like more workers, and a longer epoch.
    warnings.filterwarnings("ignore", module="lightning")
    return TorchPeer(work, precision, fit)

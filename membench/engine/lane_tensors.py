"""The training data of a pack as tensors on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import register_dataclass


@dataclass(frozen=True, kw_only=True)
class LaneTensors:
    """Images that all lanes share on the device, and for each lane which of them it trains on."""

    images: Tensor  #: [N, c, h, w] uint8 or float32, raw; shared by all lanes
    rows: Tensor  #: [L, n] int64, rows of `images`
    labels: Tensor  #: [L, n] int64
    clean: Tensor  #: [L, n] bool
    mean: Tensor  #: [L, c], of each lane's own training images
    std: Tensor  #: [L, c]

    def of_lanes(self, lanes: slice | list[int]) -> LaneTensors:
        """Return the data of some lanes, in the given order; a slice copies nothing."""
        return LaneTensors(
            images=self.images,
            rows=self.rows[lanes],
            labels=self.labels[lanes],
            clean=self.clean[lanes],
            mean=self.mean[lanes],
            std=self.std[lanes],
        )

    def to(self, device: torch.device | str) -> LaneTensors:
        """Return the same data on another device."""
        return LaneTensors(
            images=self.images.to(device),
            rows=self.rows.to(device),
            labels=self.labels.to(device),
            clean=self.clean.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    def inputs(self, rows: Tensor, lanes: slice) -> Tensor:
        """Return the standardised images [l, m, c, h, w] at rows [l, m] for l of the lanes.

        `index_select` is used because `images[rows]` copies bytes one by one.
        """
        raw = self.images.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return standardise(raw, self.mean[lanes], self.std[lanes])


register_dataclass(LaneTensors)  # a compiled step takes its tensors one by one


def standardise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Standardise each lane's images with its own statistics.

    Args:
        x: [L, n, c, h, w] raw images.
        mean: [L, c].
        std: [L, c].

    Returns:
        [L, n, c, h, w] float32.
    """
    return (x.to(torch.float32) - mean[:, None, :, None, None]) / std[:, None, :, None, None]

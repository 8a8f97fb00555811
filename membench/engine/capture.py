"""A step as a CUDA graph, captured by hand: one launch a step instead of hundreds. The trainer uses it on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  #: eager steps before the capture, so that libraries have allocated their workspaces


class CapturedStep:
    """`step(order)` on tensors whose memory stays where it is.

    The capture itself is the strictest guard against host synchronisation: it fails at the first one. Only the epoch's
    order changes between replays; it is copied into a buffer of the graph's own.
    """

    def __init__(self, step: Callable[[Tensor], None], rehearse: Callable[[Tensor], None], order: Tensor) -> None:
        """
        Args:
            step: one step in place; reads its batch from the order that it is given.
            rehearse: the same on memory that does not matter, for the warm-up.
            order: [L, steps, batch] int64 on the GPU.

        Raises:
            RuntimeError: the step synchronises with the host, or does what cannot be captured.
        """
        self.order = order.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                rehearse(self.order)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step(self.order)

    def epoch(self, order: Tensor) -> None:
        """All steps of one epoch in the given order; returns before the GPU has done them."""
        self.order.copy_(order)
        for _ in range(order.shape[1]):
            self.graph.replay()

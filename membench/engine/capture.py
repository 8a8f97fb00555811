"""A step as a CUDA graph, captured by hand: one launch a step instead of hundreds. The trainer uses it on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  #: eager steps before the capture, so that libraries have allocated their workspaces


class CapturedStep:
    """`step(index)` on tensors whose memory stays where it is.

    The capture itself is the strictest guard against host synchronisation: it fails at the first one. Only the batch
    changes between replays; its index is copied into a buffer of the graph's own.
    """

    def __init__(self, step: Callable[[Tensor], None], rehearse: Callable[[Tensor], None], index: Tensor) -> None:
        """
        Args:
            step: one step in place, on the batch that it is given.
            rehearse: the same on memory that does not matter, for the warm-up.
            index: [L, batch] int64 on the GPU, contiguous.

        Raises:
            RuntimeError: the step synchronises with the host, or does what cannot be captured.
        """
        self.index = index.clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                rehearse(self.index)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step(self.index)

    def epoch(self, order: Tensor) -> None:
        """All steps of one epoch, order [L, steps, batch]; returns before the GPU has done them."""
        for index in order.unbind(1):
            self.index.copy_(index)
            self.graph.replay()

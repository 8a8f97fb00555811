"""A step recorded as a CUDA graph, which a GPU replays without Python and without launch costs.

What is recorded may be a compiled step (`membench.engine.compiled`) or the eager one; the graph is
what saves most of the time of a small step. Importing this module loads no compiler.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from membench.engine.spoilt import mark_process

BatchStep = Callable[[Tensor], None]  #: one step on the batch `index` [lanes, batch] int64

#: how CUDA and cuBLAS say it, in errors that are no `torch.OutOfMemoryError`
_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
WARMUP_STEPS = 3  #: eager steps before a capture, so that libraries have allocated their workspaces


class CapturedStep:
    """A step recorded as a CUDA graph, on tensors whose memory stays where it is.

    The capture is the strictest guard against host synchronisation: it fails at the first one. Only
    the batch changes between replays; its index is copied into a buffer that belongs to the graph.
    """

    def __init__(self, step: BatchStep, warmup: BatchStep, index: Tensor) -> None:
        """Capture a step. A failure leaves the current stream as it was, and a spoilt process.

        Args:
            step: one step in place, on the batch that it is given.
            warmup: the same on memory that does not matter; called before the capture.
            index: [L, batch] int64 on the GPU, contiguous.

        Raises:
            RuntimeError: the step synchronises with the host, or does what cannot be captured.
        """
        self.index = index.clone()
        current = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARMUP_STEPS):
                warmup(self.index)
        current.wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph):
                step(self.index)
        except BaseException:
            # `torch.cuda.graph` ends the capture before it gives the stream back, and raises there
            torch.cuda.set_stream(current)
            mark_process()
            raise

    def epoch(self, order: Tensor) -> None:
        """Take all steps of an epoch, [L, steps, batch]; returns before the GPU has done them."""
        for index in order.unbind(1):
            self.index.copy_(index)
            self.graph.replay()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is of memory, or came from one.

    The compiler wraps what is raised inside it, and the end of a failed capture raises anew.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, torch.OutOfMemoryError):
            return True
        if any(message in str(cause) for message in _OUT_OF_MEMORY):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False

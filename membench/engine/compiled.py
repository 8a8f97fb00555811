"""A compiled step called without its compiler: Dynamo looks each call up in a chain of guards, which a pack can skip.

Within a pack nothing that a guard asks about can change: the same tensors, updated in place, thousands of times. So the
lookup is made once, in a rehearsal, and its outcome kept: which program, and which tensor goes where.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._inductor.compile_fx import compile_fx
from torch._inductor.exc import InductorError
from torch.utils._pytree import tree_leaves

StepFunction = Callable[..., None]  #: of trees of tensors, in place


class CompiledStep:
    """`step(*trees)`, compiled by Inductor for each shape of its arguments."""

    def __init__(self, step: StepFunction, options: dict[str, Any]) -> None:
        self._options = options
        self._called: tuple[StepFunction, Sequence[Any]] = (step, ())
        self._step = torch.compile(step, backend=self._compile, fullgraph=True, dynamic=False)

    def bind(
        self, rehearsed: Sequence[Any], trees: Sequence[Any], index: Tensor
    ) -> Callable[[Tensor], None]:
        """One step on the trees `rehearsed`; then `f(index)`, the step on `trees`, which have the same shapes.

        Both have the tensor `index` among them, for which each call gives another.

        Raises:
            RuntimeError: the program reads a tensor that is not among its arguments. Compiling may raise anything.
        """
        try:
            self._step(*rehearsed)
            program, inputs = self._called
        finally:  # the inputs are a copy of a pack's state
            self._called = self._step, ()
        place = {id(leaf): i for i, leaf in enumerate(_leaves(rehearsed))}
        if not all(id(x) in place for x in inputs):
            raise RuntimeError("the compiled step reads a tensor that is not among its arguments")
        own = _leaves(trees)
        bound = [own[place[id(x)]] for x in inputs]
        return partial(_run_bound, program, bound, [i for i, x in enumerate(inputs) if x is index])

    def _compile(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> StepFunction:
        return partial(self._remember, lower(graph, inputs, self._options))

    def _remember(self, program: StepFunction, *inputs: Any) -> Any:
        """What Dynamo calls in the end."""
        self._called = program, inputs
        return program(*inputs)


def lower(
    graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]
) -> StepFunction:
    """What Inductor makes of a traced step; the tests put a quicker translator here.

    That of torch 2.14 stumbles over its own fusion of some loops (`KeyError: 'buf49'`), and is asked once more without.
    """
    try:
        return compile_fx(graph, inputs, config_patches=options)
    except InductorError as error:
        if not isinstance(error.inner_exception, KeyError):
            raise
        return compile_fx(
            graph, inputs, config_patches={**options, "cpp.max_horizontal_fusion_size": 1}
        )


def _leaves(trees: Sequence[Any]) -> list[Any]:
    return tree_leaves([vars(tree) if is_dataclass(tree) else tree for tree in trees])


def _run_bound(program: StepFunction, bound: list[Any], slots: list[int], index: Tensor) -> None:
    for slot in slots:
        bound[slot] = index
    program(*bound)


WARMUP_STEPS = (
    3  #: eager steps before the capture, so that libraries have allocated their workspaces
)


class CapturedStep:
    """`step(index)` on tensors whose memory stays where it is.

    The capture itself is the strictest guard against host synchronisation: it fails at the first one. Only the batch
    changes between replays; its index is copied into a buffer of the graph's own.
    """

    def __init__(
        self, step: Callable[[Tensor], None], rehearse: Callable[[Tensor], None], index: Tensor
    ) -> None:
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
            for _ in range(WARMUP_STEPS):
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

"""A step as a graph of operations: what the compiler gets, and what `membench check` looks at."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten
from torch.utils._pytree import tree_unflatten

StepFunction = Callable[..., Any]  #: called with trees of tensors, which it changes in place


def trace(step: StepFunction, trees: Sequence[Any]) -> torch.fx.GraphModule:
    """Run a step on fake tensors and record its operations.

    Args:
        step: a pure function of the tensors in its arguments, which it may change in place.
        trees: its arguments; their values are not read.

    Returns:
        The operations, as a function of the trees' leaves that returns nothing.

    Raises:
        Exception: of any kind. The step asks for the value of a tensor, or it reads a tensor that
        is not among its arguments.
    """
    leaves, structure = tree_flatten(list(trees))

    def step_of_leaves(*leaves: Tensor) -> tuple[()]:
        step(*tree_unflatten(leaves, structure))
        return ()

    graph: torch.fx.GraphModule = make_fx(step_of_leaves, tracing_mode="fake")(*leaves)
    return graph

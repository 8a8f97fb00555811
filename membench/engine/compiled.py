"""The stacked step as a compiled program, compiled once for all packs of a program.

Dynamo looks each call of a compiled function up in a chain of guards. Within a pack nothing that a
guard asks about can change: the same tensors are updated in place, thousands of times.
`CompiledStep.bind` makes the lookup once, on a trial call, and keeps its outcome: which program
runs, and which tensor goes where. On a GPU `membench.engine.capture` then records the program as a
CUDA graph.

Importing this module loads Dynamo and Inductor, which takes 2.4 s.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import is_dataclass
from functools import cache
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._inductor.compile_fx import compile_fx
from torch._inductor.exc import InductorError
from torch.utils._pytree import tree_leaves

from membench.engine.bf16 import Bfloat16MatmulPass
from membench.engine.capture import BatchStep
from membench.engine.step import Program

StepFunction = Callable[..., Any]  #: called with trees of tensors, which it changes in place

#: Lanes in one call of a compiled step on a CPU. More wait for memory; few and small ones for the
#: call itself, so there may be more as long as the weights of all fit into a core's own cache, a
#: megabyte.
GROUP_SIZE, L2_BYTES = 5, 1 << 20
MAX_PROGRAMS = 1 << 16  #: how many programs one process may compile


@dataclass(frozen=True, kw_only=True)
class LaneGroup:
    """Lanes that one call of a compiled program steps together."""

    lanes: slice
    step: BatchStep


def lane_groups(lane_count: int, lane_bytes: int) -> list[slice]:
    """Cut lanes into groups that step together, all of one size, since each size is a program.

    Args:
        lane_count: how many lanes there are.
        lane_bytes: bytes of one lane's weights.
    """
    best = max(GROUP_SIZE, L2_BYTES // lane_bytes)
    divisors = [size for size in range(1, lane_count + 1) if lane_count % size == 0]
    group_size = min(divisors, key=lambda size: max(size, best) / min(size, best))
    return [slice(start, start + group_size) for start in range(0, lane_count, group_size)]


@cache
def compiled_step(
    step: StepFunction, program: Program, on_cpu: bool, bfloat16: bool
) -> CompiledStep:
    """Return the compiled step of a program; all packs of the same program object share it.

    Args:
        step: `membench.engine.trainer.step_in_place`.
        program: its first argument.
        on_cpu: whether it runs on a CPU.
        bfloat16: whether its matrix products run in bfloat16.
    """
    options: dict[str, Any] = {}
    if on_cpu:  # a wrapper in C++ is compiled in 5.7 s (mlp), where one in Python takes 7.9
        options["cpp_wrapper"] = True
    if bfloat16:
        options["post_grad_custom_pre_pass"] = Bfloat16MatmulPass()
    return CompiledStep(partial(step, program), options)


def any_number_of_programs() -> AbstractContextManager[Any]:
    """Lift Dynamo's limit on recompilations.

    A worker meets every program of a suite; Dynamo takes them for recompilations of one function
    and stops at 8.
    """
    return torch._dynamo.config.patch(
        recompile_limit=MAX_PROGRAMS, accumulated_recompile_limit=MAX_PROGRAMS
    )


class CompiledStep:
    """`step(*trees)`, compiled by Inductor for each shape of its arguments."""

    def __init__(self, step: StepFunction, options: dict[str, Any]) -> None:
        """Wrap a step; it is compiled when `bind` calls it.

        Args:
            step: a function of trees of tensors, which it changes in place.
            options: Inductor's.
        """
        self._options = options
        self._last_call: tuple[StepFunction, Sequence[Any]] = (step, ())
        self._step = torch.compile(step, backend=self._compile, fullgraph=True, dynamic=False)

    def bind(self, trial: Sequence[Any], arguments: Sequence[Any], index: Tensor) -> BatchStep:
        """Take one step on `trial`; return `f(index)`, the step on `arguments` without any lookup.

        Args:
            trial: the arguments of the step that is taken now.
            arguments: the arguments of the returned function's steps, of the same shapes.
            index: a tensor among both, for which each call of the returned function gives another.

        Raises:
            RuntimeError: the program reads a tensor that is not among its arguments. Compiling may
            raise anything.
        """
        try:
            self._step(*trial)
            program, inputs = self._last_call
        finally:  # the inputs are a copy of a pack's state: let go of them
            self._last_call = self._step, ()
        positions = {id(leaf): i for i, leaf in enumerate(_leaves(trial))}
        if not all(id(tensor) in positions for tensor in inputs):
            raise RuntimeError("the compiled step reads a tensor that is not among its arguments")
        leaves = _leaves(arguments)
        bound = [leaves[positions[id(tensor)]] for tensor in inputs]
        index_slots = [i for i, tensor in enumerate(inputs) if tensor is index]
        return partial(_run_bound, program, bound, index_slots)

    def _compile(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> StepFunction:
        """Compile a traced graph: Dynamo's backend."""
        return partial(self._record_call, lower(graph, inputs, self._options))

    def _record_call(self, program: StepFunction, *inputs: Any) -> Any:
        """Remember the program and its inputs, then run it: what Dynamo calls in the end."""
        self._last_call = program, inputs
        return program(*inputs)


def lower(
    graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]
) -> StepFunction:
    """Compile a traced step with Inductor.

    Inductor of torch 2.14 fails on its own fusion of some loops (`KeyError: 'buf49'`); then it is
    asked again to fuse none of those. The tests replace this function by a quicker one.

    Args:
        graph: the traced step.
        inputs: tensors of the shapes that it will be called with.
        options: Inductor's.
    """
    try:
        return _inductor(graph, inputs, options)
    except InductorError as error:
        if not isinstance(error.inner_exception, KeyError):
            raise
        return _inductor(graph, inputs, {**options, "cpp.max_horizontal_fusion_size": 1})


def _inductor(
    graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]
) -> StepFunction:
    # its annotation also has what only ahead-of-time compilation returns
    program: Any = compile_fx(graph, inputs, config_patches=options)
    return program


def _leaves(trees: Sequence[Any]) -> list[Any]:
    return tree_leaves([vars(tree) if is_dataclass(tree) else tree for tree in trees])


def _run_bound(
    program: StepFunction, bound: list[Any], index_slots: list[int], index: Tensor
) -> None:
    for slot in index_slots:
        bound[slot] = index
    program(*bound)

"""The stacked step as a compiled program, compiled once for all packs of a program.

`torch.compile` reads a step's Python code and then looks each call up in a chain of guards. Neither
is needed here: a step is a pure function of the tensors in its arguments, so that running it once
on fake tensors traces the whole of it, in 0.2 s where reading it took 1 to 2 (`tracing`); and
within a pack the same tensors are updated in place, thousands of times, so that
`CompiledStep.bind` can say once which tensor goes where. Inductor compiles what was traced. On a
GPU `membench.engine.capture` then captures the program as a CUDA graph.

Importing this module loads Inductor, which takes 1 to 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config as inductor_config
from torch._inductor.compile_fx import compile_fx
from torch._inductor.cpu_vec_isa import valid_vec_isa_list
from torch._inductor.exc import CppCompileError
from torch._inductor.exc import InductorError
from torch.utils._pytree import tree_leaves

from membench.engine.bf16 import Bfloat16MatmulPass
from membench.engine.capture import BatchStep
from membench.engine.step import Program
from membench.engine.tracing import StepFunction
from membench.engine.tracing import trace

#: Lanes in one call of a compiled step on a CPU. More wait for memory; few and small ones for the
#: call itself, so there may be more as long as the weights of all fit into a core's own cache, a
#: megabyte.
GROUP_SIZE, L2_BYTES = 5, 1 << 20
#: Inductor's options on a CPU: a wrapper in C++, compiled apart from the loops, each with a header
#: of its own that is compiled once a machine, and no line numbers for a debugger. g++ takes 2.1 s
#: (mlp) where wrapper and loops in one file take 3.2; a wrapper in Python takes 2 s more again.
CPU_OPTIONS = {
    "cpp_wrapper": True,
    "cpp_wrapper_build_separate": True,
    "aot_inductor.enable_line_tables": False,
}


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
    if on_cpu:
        options.update(_known_options(CPU_OPTIONS))
    if bfloat16:
        options["post_grad_custom_pre_pass"] = Bfloat16MatmulPass()
    return CompiledStep(partial(step, program), options)


class CompiledStep:
    """`step(*trees)`, compiled by Inductor for each shape of its arguments."""

    def __init__(self, step: StepFunction, options: dict[str, Any]) -> None:
        """Wrap a step; it is compiled when `bind` calls it.

        Args:
            step: a function of trees of tensors, which it changes in place.
            options: Inductor's.
        """
        self._step = step
        self._options = options
        self._programs: dict[tuple[Any, ...], StepFunction] = {}

    def bind(self, trial: Sequence[Any], arguments: Sequence[Any], index: Tensor) -> BatchStep:
        """Take one step on `trial`; return `f(index)`, the step on `arguments` without any lookup.

        Args:
            trial: the arguments of the step that is taken now.
            arguments: the arguments of the returned function's steps, of the same shapes.
            index: a tensor among both, for which each call of the returned function gives another.

        Raises:
            Exception: of any kind. The step cannot be traced or compiled.
        """
        program = self._program(trial)
        program(*tree_leaves(list(trial)))
        bound = tree_leaves(list(arguments))
        index_slots = [i for i, leaf in enumerate(bound) if leaf is index]
        return partial(_run_bound, program, bound, index_slots)

    def _program(self, trees: Sequence[Any]) -> StepFunction:
        """Return the program for arguments of these shapes; its own arguments are their leaves."""
        leaves = tree_leaves(list(trees))
        shapes = tuple((leaf.shape, leaf.stride(), leaf.dtype, leaf.device) for leaf in leaves)
        if shapes not in self._programs:
            self._programs[shapes] = lower(trace(self._step, trees), leaves, self._options)
        return self._programs[shapes]


def lower(
    graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]
) -> StepFunction:
    """Compile a traced step with Inductor.

    It is asked again where it fails for a reason that is known and can be avoided. The tests
    replace this function by a quicker one.

    Args:
        graph: the traced step.
        inputs: tensors of the shapes that it will be called with.
        options: Inductor's.
    """
    try:
        return _inductor(graph, inputs, options)
    except InductorError as error:
        failure = error
    cause = failure.inner_exception
    if isinstance(cause, CppCompileError) and inductor_config.cpp.vec_isa_ok:
        # `worker_environ` has told it to trust the compiler with all that the processor can do.
        inductor_config.cpp.vec_isa_ok = None
        valid_vec_isa_list.cache_clear()
    elif isinstance(cause, KeyError):
        # torch 2.14 fails on its own fusion of some loops (`KeyError: 'buf49'`): fuse none of those
        options = {**options, "cpp.max_horizontal_fusion_size": 1}
    else:
        raise failure
    return _inductor(graph, inputs, options)


def compile_headers() -> None:
    """Compile the headers that all programs of a machine share, 11 s, with a very small program."""
    matrix = torch.zeros(16, 16)
    graph = trace(lambda x: x.mul_(2.0), [matrix])
    lower(graph, [matrix], _known_options(CPU_OPTIONS))


def _inductor(
    graph: torch.fx.GraphModule, inputs: list[Tensor], options: dict[str, Any]
) -> StepFunction:
    # its annotation also has what only ahead-of-time compilation returns
    program: Any = compile_fx(graph, inputs, config_patches=options)
    return program


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Leave out the options that this version of Inductor does not have."""
    known = inductor_config.get_config_copy()
    return {name: value for name, value in options.items() if name in known}


def _run_bound(
    program: StepFunction, bound: list[Any], index_slots: list[int], index: Tensor
) -> None:
    for slot in index_slots:
        bound[slot] = index
    program(*bound)

"""Many lanes of one program: stacked state, the compiled step, evaluation. The one place that mutates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from membench.api import Params
from membench.engine import optim
from membench.engine.compiled import CapturedStep
from membench.engine.counter import StepCounter
from membench.engine.counter import tree_bytes
from membench.engine.network import initial_buffers
from membench.engine.step import Program
from membench.engine.step import Tree
from membench.nn import cross_entropy
from membench.nn import one_hot

if TYPE_CHECKING:
    from membench.engine.compiled import CompiledStep


EVAL_BATCH = 500  #: examples in one evaluation pass
#: Lanes in one call of a compiled step on a CPU. More wait for memory; few and small ones for the call itself, so that
#: there may be more as long as the weights of all fill no more than a core's own cache of a megabyte.
GROUP_SIZE, L2_BYTES = 5, 1 << 20
MAX_PROGRAMS = 1 << 16  #: how many programs one process may compile
LaneGroup = tuple[
    slice, Callable[[Tensor], None]
]  #: which lanes move on together, and their step on a batch's index


@dataclass(frozen=True)
class LaneTensors:
    """The training data of a pack on the device: one pool of images, and for each lane which rows it trains on."""

    pool: Tensor  #: [N, c, h, w] uint8 or float32, raw
    rows: Tensor  #: [L, n] int64
    labels: Tensor  #: [L, n] int64
    clean: Tensor  #: [L, n] bool
    mean: Tensor  #: [L, c]
    std: Tensor  #: [L, c]


def standardise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """x [L, n, c, h, w] raw -> float32, each lane with its own statistics [L, c]."""
    return (x.to(torch.float32) - mean[:, None, :, None, None]) / std[:, None, :, None, None]


class Trainer:
    """L lanes of `program`; `train_epoch` moves them all on, `evaluate` reads them."""

    def __init__(
        self,
        program: Program,
        weights: list[dict[str, Tensor]],
        strengths: Tensor,
        keys: Tensor,
        data: LaneTensors,
    ) -> None:
        device = data.pool.device
        self.program, self.data = program, data
        self.t = torch.zeros((), dtype=torch.int32, device=device)
        initial = {k: torch.stack([w[k] for w in weights]).to(device) for k in weights[0]}
        self.fixed: Tree = {
            "initial": initial,
            "strengths": strengths,
            "key": keys,
            "std": data.std,
        }
        params = {k: v.clone() for k, v in initial.items()}
        states = vmap(program.initial_states, in_dims=(0, 0, None))(params, self.fixed, self.t)
        self.var: Tree = {
            "params": params,
            "slots": optim.init(program.recipe, params),
            "states": [clone_tree(s) for s in states],
            "buffers": initial_buffers(program.module, len(weights), device),
            "died": torch.full((len(weights),), -1, dtype=torch.int32, device=device),
        }
        self.strands: list[LaneGroup] = []  #: once compiled; the first one's clock is `t`
        self.graph: CapturedStep | None = None  #: on a GPU, once compiled
        self.at_once = (
            1 if device.type == "cpu" else len(weights)
        )  #: lanes in one pass of an evaluation

    def compile(self, order: Tensor) -> str:
        """From now on the step runs as one compiled program; "" or, where that cannot be done, why it stays eager.

        At torch's matmul precision `medium` a CPU that can multiplies in bfloat16 (`membench.engine.bf16`).
        The program is tried on a copy of the lanes: what fails half-way must leave no trace in the weights.
        """
        from membench.engine import bf16

        on_cpu = order.device.type == "cpu"
        program = compiled_program(self.program, on_cpu, on_cpu and bf16.is_supported())
        count = len(self.var["died"])
        groups = (
            lane_groups(count, tree_bytes(self.var["params"]) // count) if on_cpu else [slice(None)]
        )
        index = order[
            groups[0], 0
        ].contiguous()  # like every index that follows: programs insist on strides
        tried = self._arguments(self.t.clone(), index, groups[0])
        copies = (clone_tree(tried[0]), *tried[1:])
        graph = None
        try:
            # a worker meets every program of a suite; Dynamo takes them for recompilations of `_advance` and stops at 8
            with torch._dynamo.config.patch(
                recompile_limit=MAX_PROGRAMS, accumulated_recompile_limit=MAX_PROGRAMS
            ):
                strands = []
                for lanes in groups:
                    clock = self.t.clone() if strands else self.t
                    strands.append(
                        (lanes, program.bind(copies, self._arguments(clock, index, lanes), index))
                    )
            if not on_cpu:
                graph = CapturedStep(strands[0][1], program.bind(copies, copies, index), index)
        except Exception as error:  # whatever Dynamo or the C++ compiler raise: eager gives the same numbers, slower
            return f"ran uncompiled: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
        self.strands, self.graph = strands, graph
        return ""

    def _arguments(self, t: Tensor, index: Tensor, lanes: slice) -> tuple[Any, ...]:
        """Of `_advance`, after the program; the memory is the trainer's own."""
        own = lambda v: v[lanes]  # noqa: E731
        d = self.data
        data = LaneTensors(d.pool, *map(own, (d.rows, d.labels, d.clean, d.mean, d.std)))
        return tree_map(own, self.var), tree_map(own, self.fixed), data, index, t

    def step(self, index: Tensor) -> None:
        """One eager step of all lanes on the batch [L, batch]."""
        _step_in_place(self.program, self.var, self.fixed, self.data, index, self.t)

    def train_epoch(self, order: Tensor) -> None:
        """One epoch in the given order [L, steps, batch]; the tail that fills no batch is not in it."""
        if self.graph:
            self.graph.epoch(order)
            return
        for lanes, step in self.strands or [(slice(None), self.step)]:
            for index in order[lanes].transpose(0, 1).contiguous():
                step(index)

    @torch.no_grad()
    def readout(self) -> tuple[Params, Params]:
        """What is evaluated now, of all lanes: weights, and the running statistics that fit them."""
        params = vmap(self.program.readout, in_dims=(0, 0, None))(self.var, self.fixed, self.t)
        return params, self._statistics(params)

    @torch.no_grad()
    def evaluate(
        self, rows: Tensor, labels: Tensor, at: tuple[Params, Params] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Eval mode on rows [L, m] of the pool: right [L, m] bool, loss [L], finite [L].

        `at`: what `readout` gave, where several splits are read at once; by default it is asked.
        """
        params, buffers = at or self.readout()
        device = rows.device
        right, loss = (
            torch.empty_like(labels, dtype=torch.bool),
            torch.zeros(len(rows), device=device),
        )
        finite = _finite({**params, **buffers})
        for first in range(
            0, len(rows), self.at_once
        ):  # on a CPU one by one: a wider pass waits for memory
            lanes = slice(first, first + self.at_once)
            own = [{name: w[lanes] for name, w in tree.items()} for tree in (params, buffers)]
            for start in range(0, rows.shape[1], EVAL_BATCH):
                part = slice(start, start + EVAL_BATCH)
                x = standardise(
                    self._images(rows[lanes, part]), self.data.mean[lanes], self.data.std[lanes]
                )
                y, logits = labels[lanes, part], self._logits(*own, x)
                right[lanes, part] = logits.argmax(dim=2) == y
                losses = cross_entropy(
                    logits.flatten(0, 1), one_hot(y.flatten(), self.program.num_classes)
                )
                loss[lanes] += losses.reshape(y.shape).sum(dim=1)
                finite[lanes] &= torch.isfinite(logits).flatten(1).all(dim=1)
        return right, loss / rows.shape[1], finite

    def _images(self, rows: Tensor) -> Tensor:
        """rows [l, n] of the pool, raw; `pool[rows]` copies bytes one by one."""
        return self.data.pool.index_select(0, rows.flatten()).unflatten(0, rows.shape)

    def _logits(self, params: Params, buffers: Params, x: Tensor) -> Tensor:
        """[l, n, classes] for weights, running statistics and inputs stacked over l lanes."""
        if len(x) > 1:
            return vmap(self.program.logits)(params, x, buffers)
        alone = [{name: w[0] for name, w in tree.items()} for tree in (params, buffers)]
        return self.program.logits(alone[0], x[0], alone[1])[None]

    def _statistics(self, params: Params) -> Params:
        """Running statistics that fit the weights: those of training, or, for other weights than the trained ones,
        of one pass over the clean training images in batches of the recipe's size, as torch's `swa_utils.update_bn`
        takes them."""
        buffers, size = self.var["buffers"], self.program.recipe.batch
        if not buffers or not self.program.acting("readout"):
            return buffers
        d, anew = self.data, []
        for lane in range(len(d.rows)):
            rows = d.rows[lane : lane + 1, : d.rows.shape[1] // size * size]
            x = standardise(d.pool[rows], d.mean[lane : lane + 1], d.std[lane : lane + 1])[0]
            own = [{name: w[lane] for name, w in tree.items()} for tree in (params, buffers)]
            anew.append(self.program.statistics(own[0], x.unflatten(0, (-1, size)), own[1]))
        return {name: torch.stack([b[name] for b in anew]) for name in buffers}

    def counted(self) -> StepCounter:
        """What one step of all lanes asks for, counted on the meta device."""
        d = self.data
        data = LaneTensors(
            *(v.to("meta") for v in (d.pool, d.rows, d.labels, d.clean, d.mean, d.std))
        )
        index = torch.zeros(
            (len(d.rows), self.program.recipe.batch), dtype=torch.int64, device="meta"
        )
        with StepCounter() as counter:
            _step_in_place(
                self.program, _meta(self.var), _meta(self.fixed), data, index, _meta(self.t)
            )
        return counter


def lane_groups(count: int, weight: int) -> list[slice]:
    """Lanes that move on together, one's weights `weight` bytes: groups all equal, since each size is a program."""
    best = max(GROUP_SIZE, L2_BYTES // weight)
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    lanes = min(divisors, key=lambda n: max(n, best) / min(n, best))
    return [slice(start, start + lanes) for start in range(0, count, lanes)]


@cache
def compiled_program(program: Program, on_cpu: bool, halved: bool) -> CompiledStep:
    """The program's step, compiled; a process's packs share it, as long as the program is the same object."""
    # imported here: Dynamo and Inductor take 2.4 s to load, and eager packs never need them
    from membench.engine.bf16 import Bfloat16MatmulPass
    from membench.engine.compiled import CompiledStep

    # a wrapper in C++ is compiled in 5.7 s (mlp), where one in Python takes 7.9
    options: dict[str, Any] = {"cpp_wrapper": True} if on_cpu else {}
    options |= {"post_grad_custom_pre_pass": Bfloat16MatmulPass()} if halved else {}
    return CompiledStep(partial(_step_in_place, program), options)


def _step_in_place(
    program: Program, var: Tree, fixed: Tree, data: LaneTensors, index: Tensor, t: Tensor
) -> None:
    """One step of all lanes, in place; index [L, batch] int64, t 0-d int32."""
    x = standardise(data.pool[data.rows.gather(1, index)], data.mean, data.std)
    y = one_hot(data.labels.gather(1, index), program.num_classes)
    batch = {"x": x, "y": y, "index": index, "clean": data.clean.gather(1, index)}
    _copy_tree(var, vmap(program.advance, in_dims=(0, 0, 0, None))(var, fixed, batch, t))
    t.add_(1)


def _meta(tree: Any) -> Any:
    """The same shapes without memory."""
    return tree_map(lambda v: v.to("meta"), tree)


def clone_tree(tree: Any) -> Any:
    """Fresh memory for every leaf: a state may start as a view of the weights."""
    return tree_map(lambda v: v.clone(memory_format=torch.contiguous_format), tree)


def _copy_tree(old: Any, new: Any) -> None:
    """Write the new leaves over the old ones."""
    items = old.keys() if isinstance(old, dict) else range(len(old))
    for k in items:
        if isinstance(old[k], Tensor):
            old[k].copy_(new[k])
        else:
            _copy_tree(old[k], new[k])


def _finite(params: Params) -> Tensor:
    """[L] bool: all of a lane's weights are finite."""
    return torch.stack([torch.isfinite(v).flatten(1).all(dim=1) for v in params.values()]).all(
        dim=0
    )

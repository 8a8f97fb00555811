"""What a lane costs, counted on the meta device, where nothing is computed: FLOPs and memory."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from functools import partial

import torch
from torch.utils._pytree import tree_leaves

from membench.engine.counter import StepCounter
from membench.engine.program import Program
from membench.engine.trainer import CHUNK
from membench.engine.trainer import LaneData
from membench.engine.trainer import Trainer

ROOM = 0.8  #: share of a device's free memory that a pack may take


@cache
def relative_cost(program: Program, shape: tuple[int, ...]) -> float:
    """kappa: matrix FLOPs of the program's step over those of the plain step; one lane, on the meta device."""
    return counted(program, shape).flops / counted(replace(program, parts=()), shape).flops


@cache
def counted(program: Program, shape: tuple[int, ...]) -> StepCounter:
    """What one lane's step asks for; nothing is computed."""
    return _on_meta(program, shape).counted()


@cache
def lane_memory(program: Program, shape: tuple[int, ...]) -> int:
    """Bytes of a GPU that one more lane takes, at most.

    Its state twice, since a program is tried on a copy; and all that a step writes or, where that is more, a reading,
    as if nothing were fused and no memory given back before its end.
    """
    trainer = _on_meta(program, shape)
    state = sum(v.numel() * v.element_size() for v in tree_leaves((trainer.var, trainer.fixed)))
    with StepCounter() as reading:
        trainer.evaluate(trainer.data.rows[:, :CHUNK], trainer.data.labels[:, :CHUNK])
    return 2 * state + max(trainer.counted().bytes, reading.bytes)


def free_memory(device: torch.device) -> int | None:
    """Bytes that lanes may take on the device; None on a CPU, where packs are as the plan cuts them."""
    return int(ROOM * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def _on_meta(program: Program, shape: tuple[int, ...]) -> Trainer:
    """One lane without memory."""
    empty = partial(torch.zeros, device="meta")
    rows = empty((1, program.num_examples), dtype=torch.int64)
    data = LaneData(empty((1, *shape)), rows, rows, rows.bool(), *(empty((1, shape[0])) for _ in range(2)))
    weights = {name: p.detach() for name, p in program.module.named_parameters()}
    strengths = empty((1, max(1, len(program.parts))))
    return Trainer(program, [weights], strengths, empty((1, 1), dtype=torch.int32), data)

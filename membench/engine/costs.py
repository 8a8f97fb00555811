"""What a lane costs, counted on the meta device, where nothing is computed: FLOPs and memory."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from functools import partial

import torch

from membench.engine.counter import StepCounter
from membench.engine.counter import tree_bytes
from membench.engine.step import Program
from membench.engine.trainer import EVAL_BATCH
from membench.engine.trainer import LaneTensors
from membench.engine.trainer import Trainer

MEMORY_SHARE = 0.8  #: share of a device's free memory that a pack may take


@cache
def relative_cost(program: Program, shape: tuple[int, ...]) -> float:
    """kappa: matrix FLOPs of the program's step over those of the plain step; one lane, on the meta device."""
    return count_step(program, shape).flops / count_step(replace(program, parts=()), shape).flops


@cache
def count_step(program: Program, shape: tuple[int, ...]) -> StepCounter:
    """What one lane's step asks for; nothing is computed."""
    return _on_meta(program, shape).counted()


@cache
def lane_memory(program: Program, shape: tuple[int, ...]) -> int:
    """Bytes of a GPU that one more lane takes, its data apart.

    Its state twice, since a program is tried on a copy; and all that a step and a reading write, as if nothing were
    fused and no memory given back before the end.
    """
    trainer = _on_meta(program, shape)
    data, at = trainer.data, (trainer.var["params"], trainer.var["buffers"])
    with StepCounter() as reading:
        trainer.evaluate(data.rows[:, :EVAL_BATCH], data.labels[:, :EVAL_BATCH], at)
    return (
        2 * tree_bytes((trainer.var, trainer.fixed))
        + count_step(program, shape).bytes
        + reading.bytes
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that lanes may take on the device; None on a CPU, where packs are as the plan cuts them."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
        device
    )  # of the packs before
    return int(MEMORY_SHARE * (torch.cuda.mem_get_info(device)[0] + kept))


def _on_meta(program: Program, shape: tuple[int, ...]) -> Trainer:
    """One lane without memory."""
    empty = partial(torch.zeros, device="meta")
    rows = empty((1, program.num_examples), dtype=torch.int64)
    data = LaneTensors(
        empty((1, *shape)), rows, rows, rows.bool(), *(empty((1, shape[0])) for _ in range(2))
    )
    weights = {name: p.detach() for name, p in program.module.named_parameters()}
    strengths = empty((1, max(1, len(program.parts))))
    return Trainer(program, [weights], strengths, empty((1, 1), dtype=torch.int32), data)

"""The FLOPs and memory of a lane, counted on the meta device, where nothing is computed.

Only a step that cannot be taken there is counted on a CPU.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import replace
from functools import cache

import torch
from torch.utils._pytree import tree_map

from membench.engine.counter import StepCounter
from membench.engine.counter import tree_bytes
from membench.engine.evaluate import EVAL_BATCH
from membench.engine.lane_tensors import LaneTensors
from membench.engine.network import Shape
from membench.engine.step import Program
from membench.engine.trainer import Trainer
from membench.engine.trainer import step_in_place

#: What a step takes over what its tensors hold: torch's allocator rounds blocks up, to 2 MB each
#: from 1 MB on, and cannot use the gaps between them; libraries and compiled kernels take
#: workspaces; and a compiled step may run its operations in another order.
SPARE_MEMORY = 1.3
MEMORY_SHARE = 0.8  #: share of a device's free memory that a pack may take


@cache
def relative_cost(program: Program, shape: Shape) -> float | None:
    """Return kappa: matrix FLOPs of the program's step over those of the plain step; one lane.

    A function that makes a tensor without naming the device runs on a CPU, and not on the meta
    device: its step is counted on a CPU then.

    Returns:
        None if the step cannot be counted there either.
    """
    plain = count_step(replace(program, parts=()), shape).flops
    for device in ("meta", "cpu"):
        with suppress(Exception):  # a plugin's function may raise anything
            return count_step(program, shape, device).flops / plain
    return None


@cache
def count_step(program: Program, shape: Shape, device: str = "meta") -> StepCounter:
    """Count what one lane's step asks for."""
    return count_stacked_step(_empty_trainer(program, shape, device), device)


def count_stacked_step(trainer: Trainer, device: str = "meta") -> StepCounter:
    """Count what one step of all lanes of a trainer asks for; the trainer stays as it is."""
    data = trainer.data.to(device)
    index_shape = (len(data.rows), trainer.program.recipe.batch)
    index = torch.zeros(index_shape, dtype=torch.int64, device=device)
    trees = (trainer.state, trainer.constants, trainer.step_index)
    state, constants, step_index = tree_map(lambda leaf: leaf.to(device, copy=True), trees)
    with StepCounter() as counter:
        step_in_place(trainer.program, state, constants, data, index, step_index)
    return counter


@cache
def lane_memory(program: Program, shape: Shape) -> int:
    """Return the bytes of a GPU that one more lane takes, without its data.

    Its state counts twice, since a program is tried on a copy. A captured step keeps its memory
    while the lanes are evaluated, so what is alive at once in a step and in a reading adds up. It
    counts `SPARE_MEMORY` times.
    """
    trainer = _empty_trainer(program, shape, "meta")
    rows, labels = trainer.data.rows[:, :EVAL_BATCH], trainer.data.labels[:, :EVAL_BATCH]
    # running statistics take a batch at a time: one shows what all of them take
    trainer.data = replace(trainer.data, rows=trainer.data.rows[:, : program.recipe.batch])
    with StepCounter() as reading:
        trainer.evaluate(rows, labels)
    state_bytes = tree_bytes((trainer.state, trainer.constants))
    peaks = count_step(program, shape).peak_bytes + reading.peak_bytes
    return 2 * state_bytes + int(SPARE_MEMORY * peaks)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that lanes may take on a device; None on a CPU: packs are as planned."""
    if device.type != "cuda":
        return None
    # what earlier packs of this process have given back, and torch has not
    reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.get_per_process_memory_fraction(device) * total
    return int(MEMORY_SHARE * min(free + reusable, own))


def share_memory(device: torch.device, sharers: int) -> None:
    """Let this process take an equal share of a GPU's memory, and leave the rest to others."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1 / sharers, device)


def release_memory(device: torch.device) -> None:
    """Give back what a pack has held that did not fit into memory."""
    gc.collect()
    if device.type == "cuda":
        # after a capture that failed, torch 2.11 refuses: "captures_underway"
        with suppress(RuntimeError):
            torch.cuda.empty_cache()


def _empty_trainer(program: Program, shape: Shape, device: str) -> Trainer:
    """Return one lane of zeros; on the meta device it takes no memory."""
    rows = torch.zeros((1, program.sizes.num_examples), dtype=torch.int64, device=device)
    statistics = torch.zeros((1, shape[0]), device=device)
    data = LaneTensors(
        images=torch.zeros((1, *shape), device=device),
        rows=rows,
        labels=rows,
        clean=rows.bool(),
        mean=statistics,
        std=statistics,
    )
    weights = {}
    for name, parameter in program.module.named_parameters():
        weights[name] = torch.zeros_like(parameter.detach(), device=device)
    strengths = torch.zeros((1, max(1, len(program.parts))), device=device)
    keys = torch.zeros((1, 1), dtype=torch.int32, device=device)
    return Trainer(program, [weights], strengths, keys, data)

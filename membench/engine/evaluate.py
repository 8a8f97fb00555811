"""Evaluation of stacked lanes: no stage acts, batch norm goes by running statistics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from membench.api import Params
from membench.engine.lane_tensors import LaneTensors
from membench.engine.network import batch_norm_momenta
from membench.engine.step import Program
from membench.nn import cross_entropy
from membench.nn import one_hot

EVAL_BATCH = 500  #: examples in one evaluation pass


class Readout(NamedTuple):
    """The weights and statistics that are evaluated, stacked over lanes."""

    params: Params  #: the weights after the `readout` stages
    buffers: Params  #: the running statistics that fit them


class Evaluation(NamedTuple):
    """The results of one evaluation."""

    correct: Tensor  #: [L, m] bool
    loss: Tensor  #: [L] float32, the mean cross entropy
    finite: Tensor  #: [L] bool: all weights, running statistics and logits are finite


def evaluate(
    program: Program,
    readout: Readout,
    data: LaneTensors,
    rows: Tensor,
    labels: Tensor,
    lanes_per_pass: int,
) -> Evaluation:
    """Evaluate all lanes on examples of their own.

    Args:
        program: what the lanes share.
        readout: the weights and running statistics to evaluate.
        data: the images, and each lane's statistics of them.
        rows: [L, m] int64, rows of `data.images`.
        labels: [L, m] int64.
        lanes_per_pass: how many lanes go through the network in one call.
    """
    correct = torch.empty_like(labels, dtype=torch.bool)
    loss = torch.zeros(len(rows), device=rows.device)
    finite = _all_finite({**readout.params, **readout.buffers})
    for first in range(0, len(rows), lanes_per_pass):
        lanes = slice(first, first + lanes_per_pass)
        params = {name: w[lanes] for name, w in readout.params.items()}
        buffers = {name: b[lanes] for name, b in readout.buffers.items()}
        for start in range(0, rows.shape[1], EVAL_BATCH):
            examples = slice(start, start + EVAL_BATCH)
            x, y = data.inputs(rows[lanes, examples], lanes), labels[lanes, examples]
            logits = _logits(program, params, buffers, x)
            correct[lanes, examples] = logits.argmax(dim=2) == y
            targets = one_hot(y.flatten(), program.sizes.num_classes)
            losses = cross_entropy(logits.flatten(0, 1), targets)
            loss[lanes] += losses.reshape(y.shape).sum(dim=1)
            finite[lanes] &= torch.isfinite(logits).flatten(1).all(dim=1)
    return Evaluation(correct, loss / rows.shape[1], finite)


def running_statistics(
    program: Program, params: Params, buffers: Params, data: LaneTensors, lanes_per_pass: int
) -> Params:
    """Compute batch norm's running statistics for weights that are not the trained ones.

    One pass over the clean training images in batches of the recipe's size, all counted alike, as
    torch's `swa_utils.update_bn` does it.

    Args:
        program: what the lanes share.
        params: the weights, stacked over lanes.
        buffers: running statistics of the same shapes; their values are not read.
        data: each lane's training images.
        lanes_per_pass: how many lanes go through the network in one call.
    """
    size = program.recipe.batch
    count = data.rows.shape[1] // size
    totals = {name: torch.zeros_like(buffer) for name, buffer in buffers.items()}
    for first in range(0, len(data.rows), lanes_per_pass):
        lanes = slice(first, first + lanes_per_pass)
        own_params = {name: w[lanes] for name, w in params.items()}
        zeros = {name: torch.zeros_like(total[lanes]) for name, total in totals.items()}
        for batch in range(count):
            examples = slice(batch * size, (batch + 1) * size)
            x = data.inputs(data.rows[lanes, examples], lanes)
            for name, of_batch in _statistics(program, own_params, zeros, x).items():
                totals[name][lanes] += of_batch
    momenta = batch_norm_momenta(program.module)
    return {name: total / (momenta[name] * count) for name, total in totals.items()}


def _statistics(program: Program, params: Params, zeros: Params, x: Tensor) -> Params:
    """Return what one batch adds to running statistics that are zero, of l lanes.

    Args:
        program: what the lanes share.
        params: the lanes' weights.
        zeros: the statistics before the batch.
        x: [l, n, c, h, w], each lane's inputs.
    """
    if len(x) > 1:
        return vmap(program.batch_statistics)(params, zeros, x)
    own_params = {name: w[0] for name, w in params.items()}
    own_zeros = {name: zero[0] for name, zero in zeros.items()}
    own = program.batch_statistics(own_params, own_zeros, x[0])
    return {name: of_batch[None] for name, of_batch in own.items()}


def _logits(program: Program, params: Params, buffers: Params, x: Tensor) -> Tensor:
    """Return logits [l, n, num_classes] of l lanes' weights, running statistics and inputs."""
    if len(x) > 1:
        return vmap(program.logits)(params, x, buffers)
    own_params = {name: w[0] for name, w in params.items()}
    own_buffers = {name: b[0] for name, b in buffers.items()}
    return program.logits(own_params, x[0], own_buffers)[None]


def _all_finite(params: Params) -> Tensor:
    """Return [L] bool: whether all of a lane's values are finite."""
    by_tensor = [torch.isfinite(v).flatten(1).all(dim=1) for v in params.values()]
    return torch.stack(by_tensor).all(dim=0)

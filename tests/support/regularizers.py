"""Little runs, single steps and plain references, for the tests of the shipped regularizers."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from membench.api import Architecture
from membench.api import Params
from membench.api import Recipe
from membench.engine.lane import LaneView
from membench.engine.step import Step
from membench.engine.step import untapped
from support.engine import MLP
from support.engine import ToyRun
from support.engine import lane_data
from support.engine import one_lane
from support.engine import parts


def toy_run(
    name: str, *settings: tuple[float, ...], architecture: Architecture = MLP, **fields: Any
) -> ToyRun:
    """Lanes that differ in the strength alone: the same seed, images and labels."""
    lanes = len(settings)
    data = lane_data(1, n=24).of_lanes([0] * lanes)
    return ToyRun(parts(name), settings, architecture, data=data, seeds=(0,) * lanes, **fields)


def step_at(name: str, *strength: float, architecture: Architecture = MLP) -> Step:
    w = toy_run(name, strength, architecture=architecture)
    return one_lane(w.trainer(), w.orders()[0], t=2)


def call_stage(name: str, stage: str, strength: float, *tensors: Tensor, **fields: Any) -> Any:
    """The registered function on the test's own tensors."""
    step = step_at(name, strength)
    return getattr(step.program.parts[0], stage)(*tensors, step.lane(0, stage, **fields))


def lane_at(name: str, stage: str, strength: float) -> LaneView:
    """A lane that draws what the function drew."""
    return step_at(name, strength).lane(0, stage)


def plain_logits(step: Step, x: Tensor) -> Tensor:
    """Logits of the network without taps, at the step's weights."""
    return step.program.logits(step.params, x)


@cache
def trained_step(
    name: str, strength: float, architecture: Architecture = MLP, batch: int = 8, t: int = 5
) -> Step:
    """A step after three epochs, so that weights, state and momentum are not those of the start."""
    w = ToyRun(
        parts(name),
        ((strength,),),
        architecture,
        Recipe(lr=0.1, batch=batch),
        data=lane_data(1, n=24),
    )
    return one_lane(w.trained(epochs=3), w.orders()[0], t=t)


def variables(params: Params) -> Params:
    return {name: w.detach().clone().requires_grad_() for name, w in params.items()}


def logits_of(step: Step, params: Params, x: Tensor) -> Tensor:
    return functional_call(step.program.module, params, (x, untapped))


def mean_loss(step: Step, params: Params, rows: Tensor | None = None) -> Tensor:
    """Plain cross-entropy on some of the batch's rows."""
    rows = torch.arange(len(step.x)) if rows is None else rows
    return F.cross_entropy(logits_of(step, params, step.x[rows]), step.y[rows].argmax(1))


def loss_gradient(step: Step, params: Params | None = None, rows: Tensor | None = None) -> Params:
    params = variables(step.params if params is None else params)
    return dict(
        zip(
            params,
            torch.autograd.grad(mean_loss(step, params, rows), list(params.values())),
            strict=True,
        )
    )


def close(actual: Params, expected: Params, atol: float = 1e-5) -> bool:
    return all(
        torch.allclose(actual[name], expected[name], atol=atol, rtol=1e-4) for name in expected
    )


def matrices(params: Params) -> list[Tensor]:
    return [w.flatten(1) for w in params.values() if w.dim() > 1]


def with_state(step: Step, state: dict) -> Step:
    step = copy_of(step)
    step.states = [state]
    return step


def copy_of(step: Step) -> Step:
    twin = object.__new__(Step)
    twin.__dict__.update(step.__dict__)
    return twin

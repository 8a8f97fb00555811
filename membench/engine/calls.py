"""What is called from inside a step: a network's tap, `lane.forward` and `lane.gradient`. Made by `program.Step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from membench.api import STAGES
from membench.api import Params
from membench.rng import spell

if TYPE_CHECKING:
    from membench.engine.program import Step


def untapped(h: Tensor, kind: str = "hidden") -> Tensor:
    """The tap of evaluation and of attacks: nothing acts."""
    return h


class Taps:
    """The tap of one forward pass: every part's `hidden`, from left to right, at every call."""

    def __init__(
        self, step: Step, site: tuple[int, ...], index: Tensor, rows: Tensor | None, seen: list[Tensor] | None
    ) -> None:
        self.step, self.site, self.index, self.rows, self.seen = step, site, index, rows, seen
        self.count = 0

    def __call__(self, h: Tensor, kind: str = "hidden") -> Tensor:
        tap, self.count = self.count, self.count + 1
        for i, hidden in self.step.program.acting("hidden"):
            site = (*self.site, tap)
            h = hidden(h, self.step.lane(i, "hidden", site, self.rows, index=self.index, tap=tap, kind=kind))
        if self.seen is not None:
            self.seen.append(h)
        return h


def forward_of(step: Step, part: int, stage: str, params: Params, rows: Tensor | None = None) -> Callable[..., Tensor]:
    """`lane.forward` of one part at one stage; each call with `train=True` gets draws of its own.

    A function, not an object: no attribute of it leads to the step, which knows which examples are corrupted.
    """
    at_hand, calls = params, 0
    site = (1 + STAGES.index(stage), spell(step.program.parts[part].name))

    def forward(x: Tensor, params: Params | None = None, train: bool = False) -> Tensor:
        nonlocal calls
        params = at_hand if params is None else params
        if not train:
            return step.program.logits(params, x, step.buffers)
        calls += 1
        index = step.index if rows is None else step.index[rows]
        return step.program.forward(params, step.buffers, x, Taps(step, (*site, calls), index, rows, None))[0]

    return forward


def gradient_of(step: Step, part: int) -> Callable[..., Params]:
    """`lane.gradient` of one part: the parts to its left have acted on what it returns. A function, as `forward_of`."""

    def gradient(params: Params, rows: Tensor | None = None) -> Params:
        return step.gradient(params, part, rows)[0]

    return gradient

"""What a stage function sees of its run (`membench.api.Lane`): made anew for each call of each part's stage."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from membench.api import STAGES
from membench.engine import draws
from membench.errors import LaneError
from membench.rng import fold
from membench.rng import spell

COMMON = {
    "strength",
    "step",
    "steps",
    "progress",
    "lr",
    "num_classes",
    "num_examples",
    "pixel",
    "initial",
    "state",
}
DRAWS = ("uniform", "normal", "permutation")
#: The stages where each further field is valid; `Lane` in api.py says the same in words.
VALID = {
    "index": ("batch", "hidden", "loss", "penalty", "grads", "update"),
    "tap": ("hidden",),
    "kind": ("hidden",),
    "x": ("loss", "penalty", "grads", "update"),
    "y": ("penalty", "grads", "update"),
    "logits": ("grads", "update"),
    "params": ("loss",),
    "before": ("weights", "update"),
    "activations": ("loss", "penalty"),
    "forward": ("batch", "loss", "penalty"),
    "gradient": ("grads",),
    "clean": ("batch", "loss"),
}
NAMED = 255  #: the site of draws with a name; no stage has this number


@dataclass(frozen=True)
class Stream:
    """Where a lane's draws come from: this step's and part's key, and the site as integers known while tracing."""

    key: Tensor  #: [1] int32: h(h(seed, step), part)
    stage: str
    site: tuple[int, ...] = ()  #: the tap and the forward pass it belongs to
    rows: Tensor | None = None  #: the batch's rows that are computed, None = all


class LaneView:
    """One part's lane at one stage. Holds the fields that are valid there and nothing else."""

    def __init__(self, stream: Stream, fields: dict[str, Any]) -> None:
        self._stream = stream
        self._calls = 0
        for name, value in fields.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        stage = self.__dict__["_stream"].stage if "_stream" in self.__dict__ else "?"
        if name == "clean" and stage in VALID["clean"]:
            raise LaneError(
                "lane.clean: only a regularizer of group 'control' sees which examples are corrupted"
            )
        if name in VALID:
            raise LaneError(
                f"lane.{name} is not there in stage {stage!r}: it is in {', '.join(VALID[name])}"
            )
        if name == "state" and stage == "init":
            raise LaneError("lane.state is not there in stage 'init': init is what makes it")
        there = sorted(
            {*COMMON, *(field for field, stages in VALID.items() if stage in stages), *DRAWS}
            - {"clean"}
        )
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean lane.{near[0]}?" if near else f"there are {', '.join(there)}"
        raise LaneError(f"lane.{name} does not exist in stage {stage!r}: {hint}")

    def uniform(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """[*shape] float32 on [0, 1)."""
        return draws.uniform(self._key(name), tuple(shape), self._rows(shape))

    def normal(self, shape: tuple[int, ...], name: str | None = None) -> Tensor:
        """[*shape] float32, standard Gaussian."""
        return draws.normal(self._key(name), tuple(shape), self._rows(shape))

    def permutation(self, n: int, name: str | None = None) -> Tensor:
        """[n] int64; sorting 31 hashed bits, ties (n^2 / 2^32 of them) by position."""
        order = draws.bits(self._key(name), (n,)) & 0x7FFFFFFF
        return torch.argsort(order, stable=True)

    def _key(self, name: str | None) -> Tensor:
        if name is not None:
            return draws.chain_tensor(self._stream.key, fold((NAMED, spell(name))))
        site = fold((STAGES.index(self._stream.stage), *self._stream.site, self._calls))
        self._calls += 1
        return draws.chain_tensor(self._stream.key, site)

    def _rows(self, shape: tuple[int, ...]) -> Tensor | None:
        rows = self._stream.rows
        return rows if rows is not None and len(shape) and shape[0] == rows.shape[0] else None

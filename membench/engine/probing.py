"""The probes of a pack: what they carry through training, what they see of each lane, and the numbers that they give.

Measuring happens between epochs, on copies, lane by lane and outside of vmap; it cannot change what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from membench.api import Params
from membench.api import Recipe
from membench.api import Regularizer
from membench.engine import draws
from membench.engine.environment import precision
from membench.engine.lane import NAMED
from membench.engine.pack_data import PackData
from membench.engine.trainer import Trainer
from membench.engine.trainer import standardise
from membench.errors import MembenchError
from membench.probes import MAX_VALUES
from membench.probes import Metrics
from membench.probes import Probe
from membench.registry.validation import NAME
from membench.rng import fold
from membench.rng import spell

Value = float | tuple[float | None, ...] | None


@dataclass(frozen=True)
class LaneProbeData:
    """`membench.probes.ProbeData` of one lane."""

    x: Tensor
    y: Tensor
    wrong: Tensor
    clean: Tensor
    trained: Tensor
    val_x: Tensor
    val_y: Tensor


@dataclass(frozen=True)
class LaneProbeView:
    """`membench.probes.ProbeLane` of one lane at one checkpoint."""

    lanes: PackData
    trainer: Trainer
    lane: int
    params: Params
    buffers: Params  #: the running statistics that fit them
    recipe: Recipe
    epoch: int
    state: dict[str, Any]
    key: Tensor  #: [1] int32: h(h(lane, step), probe)

    @property
    def num_classes(self) -> int:
        return self.lanes.num_classes

    @property
    def num_examples(self) -> int:
        return self.trainer.program.num_examples

    @property
    def steps(self) -> int:
        return self.epoch * self.lanes.per_epoch

    @property
    def pixel(self) -> Tensor:
        return (self.trainer.program.pixel_scale / self.trainer.fixed["std"][self.lane])[
            :, None, None
        ]

    @property
    def initial(self) -> Params:
        return _copied(self.trainer.fixed["initial"], self.lane)

    @cached_property
    def order(self) -> Tensor:
        return torch.cat([self.lanes.order(epoch)[self.lane] for epoch in range(1, self.epoch + 1)])

    def forward(self, x: Tensor, params: Params | None = None) -> Tensor:
        return self.trainer.program.logits(
            self.params if params is None else params, x, self.buffers
        )

    def uniform(self, shape: tuple[int, ...], name: str) -> Tensor:
        return draws.uniform(self._key(name), tuple(shape))

    def normal(self, shape: tuple[int, ...], name: str) -> Tensor:
        return draws.normal(self._key(name), tuple(shape))

    def permutation(self, n: int, name: str) -> Tensor:
        return torch.argsort(draws.bits(self._key(name), (n,)) & 0x7FFFFFFF, stable=True)

    def _key(self, name: str) -> Tensor:
        return draws.chain_tensor(self.key, fold((NAMED, spell(name))))


def state_carrier(probe: Probe) -> Regularizer:
    """The part of the step that carries the probe's state and does nothing else."""
    return Regularizer(
        f"probe {probe.name}", (), group="probe", init=probe.init, update=probe.update
    )


class Probing:
    """What the probes of one pack measure of each of its lanes, checkpoint by checkpoint."""

    def __init__(self, probes: tuple[Probe, ...], lanes: PackData, recipe: Recipe) -> None:
        self.probes, self.lanes, self.recipe = probes, lanes, recipe
        self.parts = tuple(state_carrier(probe) for probe in probes if probe.init)
        self.found: list[dict[str, dict[str, list[Value]]]] = [
            {p.name: {} for p in probes} for _ in lanes.samples
        ]

    def strengths(self, own: Tensor) -> Tensor:
        """[L, parts] of the regularizer, with zeros for the probes' parts."""
        return (
            torch.cat([own, own.new_zeros((len(own), len(self.parts)))], dim=1)
            if self.parts
            else own
        )

    def read(self, trainer: Trainer, epoch: int, readout: tuple[Params, Params]) -> None:
        """Measure all lanes whose weights are finite, at what `Trainer.readout` gave."""
        due = [p for p in self.probes if p.at == "checkpoints" or epoch == self.recipe.epochs]
        if not due:
            return
        for lane in range(len(self.found)):
            params, buffers = _copied(readout, lane)
            if all(bool(torch.isfinite(w).all()) for w in params.values()):
                data = self._data(trainer, lane)
                for probe in due:
                    seen = self._seen(probe, trainer, lane, params, buffers, epoch)
                    self._measure(probe, data, seen)

    def _seen(
        self, probe: Probe, trainer: Trainer, lane: int, params: Params, buffers: Params, epoch: int
    ) -> LaneProbeView:
        key = draws.chain_tensor(trainer.fixed["key"][lane], trainer.t[None])
        key = draws.chain_tensor(key, spell(f"probe {probe.name}"))
        state = self._state(probe, trainer, lane)
        return LaneProbeView(
            self.lanes, trainer, lane, params, buffers, self.recipe, epoch, state, key
        )

    def _measure(self, probe: Probe, data: LaneProbeData, seen: LaneProbeView) -> None:
        with precision(compiled=False), torch.enable_grad():
            metrics = probe.measure(tree_map(Tensor.clone, seen.params), data, seen)
        for name, value in numbers(probe.name, metrics).items():
            self.found[seen.lane][probe.name].setdefault(name, []).append(value)

    def _state(self, probe: Probe, trainer: Trainer, lane: int) -> dict[str, Any]:
        if probe.init is None:
            return {}
        place = [part.name for part in trainer.program.parts].index(state_carrier(probe).name)
        return _copied(trainer.var["states"][place], lane)

    def _data(self, trainer: Trainer, lane: int) -> LaneProbeData:
        lanes, d, one = self.lanes, trainer.data, slice(lane, lane + 1)
        x, val_x = (
            standardise(d.pool[lanes.rows[split][one]], d.mean[one], d.std[one])[0]
            for split in ("train", "val")
        )
        flags = (lanes.samples[lane].wrong, lanes.samples[lane].clean, lanes.trained[lane])
        wrong, clean, trained = (
            torch.tensor(flag, device=x.device) for flag in flags
        )  # copies: samples are shared
        y, val_y = (lanes.labels[split][lane].clone() for split in ("train", "val"))
        return LaneProbeData(x, y, wrong, clean, trained, val_x, val_y)

    def stored(self, lane: int) -> dict[str, dict[str, tuple[Value, ...]]]:
        """`Record.probes` of one lane. Raises `MembenchError` for a metric that was not there at each checkpoint."""
        for probe, metrics in self.found[lane].items():
            if len({len(values) for values in metrics.values()}) > 1:
                raise MembenchError(
                    f"probe {probe!r}: measure must return the same metrics at every checkpoint"
                )
        return {
            p: {name: tuple(values) for name, values in found.items()}
            for p, found in self.found[lane].items()
        }


def numbers(probe: str, metrics: Metrics) -> dict[str, Value]:
    """What is kept of the metrics: plain numbers, six significant digits.

    Raises:
        MembenchError: they are not what `Probe.measure` promises.
    """
    if not isinstance(metrics, Mapping):
        raise MembenchError(
            f"probe {probe!r}: measure must return a dict of metrics, not a {type(metrics).__name__}"
        )
    return {_checked(probe, name): _number(probe, name, value) for name, value in metrics.items()}


def _checked(probe: str, name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise MembenchError(f"probe {probe!r}: illegal metric name {name!r}; write {NAME.pattern}")
    return name


def _number(probe: str, name: str, value: Any) -> Value:
    if isinstance(value, Tensor) and value.dim() <= 1 and value.numel() <= MAX_VALUES:
        plain = value.detach().to("cpu", torch.float64).tolist()
        return tuple(map(_rounded, plain)) if isinstance(plain, list) else _rounded(plain)
    if isinstance(value, (int, float)):
        return _rounded(float(value))
    what = (
        f"a tensor {list(value.shape)}"
        if isinstance(value, Tensor)
        else f"a {type(value).__name__}"
    )
    raise MembenchError(
        f"probe {probe!r}: {name} must be a number or a 1-d tensor of at most {MAX_VALUES}, not {what}"
    )


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if value - value == 0 else None


def _copied(tree: Any, lane: int) -> Any:
    """One lane's part of stacked tensors, in memory of its own."""
    return tree_map(lambda v: v[lane].clone(), tree)

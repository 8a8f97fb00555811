"""Run the probes of a pack: the states they carry through training, and their measurements.

Measuring happens between epochs, on copies, lane by lane and outside of vmap; it cannot change what
is trained.
"""

from __future__ import annotations

import math
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
from membench.engine import optim
from membench.engine.environment import precision
from membench.engine.evaluate import Readout
from membench.engine.lane import NAMED
from membench.engine.pack_data import PackData
from membench.engine.trainer import Trainer
from membench.errors import MembenchError
from membench.probes import MAX_VALUES
from membench.probes import Metrics
from membench.probes import Probe
from membench.registry.validation import NAME
from membench.rng import fold
from membench.rng import spell

Value = float | tuple[float | None, ...] | None  #: of one metric at one checkpoint


class Probing:
    """The probes of one pack, and what they measured of each of its lanes so far."""

    def __init__(self, probes: tuple[Probe, ...], data: PackData, recipe: Recipe) -> None:
        """Prepare the probes.

        Args:
            probes: in the order in which they measure.
            data: of the pack's lanes.
            recipe: how they are trained.
        """
        self.probes, self.data, self.recipe = probes, data, recipe
        #: parts of the step that carry the states of the probes that have one
        self.parts = tuple(state_carrier(probe) for probe in probes if probe.init)
        #: by lane: probe -> metric -> its values at the checkpoints so far
        self.results: list[dict[str, dict[str, list[Value]]]] = [
            {probe.name: {} for probe in probes} for _ in data.runs
        ]

    def strengths(self, strengths: Tensor) -> Tensor:
        """Append zeros for the probes' parts to a regularizer's strengths [L, parts]."""
        if not self.parts:
            return strengths
        zeros = strengths.new_zeros((len(strengths), len(self.parts)))
        return torch.cat([strengths, zeros], dim=1)

    def read(self, trainer: Trainer, epoch: int, readout: Readout) -> None:
        """Measure all lanes whose weights are finite.

        Args:
            trainer: the lanes after the epoch.
            epoch: how many epochs were taken.
            readout: what `trainer.readout` returned.
        """
        due = [p for p in self.probes if p.at == "checkpoints" or epoch == self.recipe.epochs]
        if not due:
            return
        for lane in range(len(self.results)):
            params = _copy_lane(readout.params, lane)
            if not all(bool(torch.isfinite(w).all()) for w in params.values()):
                continue
            data = self._lane_data(trainer, lane)
            for probe in due:
                view = LaneProbeView(
                    data=self.data,
                    trainer=trainer,
                    lane=lane,
                    params=params,
                    buffers=_copy_lane(readout.buffers, lane),
                    recipe=self.recipe,
                    epoch=epoch,
                    state=self._state(probe, trainer, lane),
                    key=_probe_key(probe, trainer, lane),
                )
                self._measure(probe, data, view)

    def stored(self, lane: int) -> dict[str, dict[str, tuple[Value, ...]]]:
        """Return `Record.probes` of one lane.

        Raises:
            MembenchError: a probe did not return the same metrics at every checkpoint.
        """
        stored = {}
        for probe, metrics in self.results[lane].items():
            if len({len(values) for values in metrics.values()}) > 1:
                raise MembenchError(
                    f"probe {probe!r}: measure must return the same metrics at every checkpoint"
                )
            stored[probe] = {name: tuple(values) for name, values in metrics.items()}
        return stored

    def _measure(self, probe: Probe, data: LaneProbeData, view: LaneProbeView) -> None:
        with precision(compiled=False), torch.enable_grad():
            metrics = probe.measure(tree_map(Tensor.clone, view.params), data, view)
        results = self.results[view.lane][probe.name]
        for name, value in numbers(probe.name, metrics).items():
            results.setdefault(name, []).append(value)

    def _state(self, probe: Probe, trainer: Trainer, lane: int) -> dict[str, Any]:
        """Return a copy of the state that a probe carries in one lane; {} where it has none."""
        if probe.init is None:
            return {}
        names = [part.name for part in trainer.program.parts]
        position = names.index(state_carrier(probe).name)
        state: dict[str, Any] = _copy_lane(trainer.state["states"][position], lane)
        return state

    def _lane_data(self, trainer: Trainer, lane: int) -> LaneProbeData:
        """Return the data of one lane; copies, because lanes share them."""
        tensors, run, one = trainer.data, self.data.runs[lane], slice(lane, lane + 1)
        device = tensors.images.device
        return LaneProbeData(
            x=tensors.inputs(self.data.rows["train"][one], one)[0],
            y=self.data.labels["train"][lane].clone(),
            wrong=torch.tensor(run.wrong, device=device),
            clean=torch.tensor(run.clean, device=device),
            trained=torch.tensor(self.data.trained[lane], device=device),
            val_x=tensors.inputs(self.data.rows["val"][one], one)[0],
            val_y=self.data.labels["val"][lane].clone(),
        )


@dataclass(frozen=True, kw_only=True)
class LaneProbeData:
    """One lane's examples, as `membench.probes.ProbeData` promises them to a probe."""

    x: Tensor
    y: Tensor
    wrong: Tensor
    clean: Tensor
    trained: Tensor
    val_x: Tensor
    val_y: Tensor


@dataclass(frozen=True, kw_only=True)
class LaneProbeView:
    """One lane at one checkpoint, as `membench.probes.ProbeLane` promises it to a probe."""

    data: PackData
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
        """The number of classes."""
        return self.data.num_classes

    @property
    def num_examples(self) -> int:
        """The size of the training set."""
        return self.trainer.program.sizes.num_examples

    @property
    def steps(self) -> int:
        """Optimizer steps taken so far."""
        return self.epoch * self.data.steps_per_epoch

    @property
    def pixel(self) -> Tensor:
        """One grey level of 0-255 in units of x, [c, 1, 1]."""
        std = self.trainer.constants["std"][self.lane]
        return (self.trainer.program.sizes.pixel_scale / std)[:, None, None]

    @property
    def initial(self) -> Params:
        """A copy of the weights at step 0."""
        initial: Params = _copy_lane(self.trainer.constants["initial"], self.lane)
        return initial

    @cached_property
    def order(self) -> Tensor:
        """The rows of x that each step so far trained on, [steps, batch] int64."""
        epochs = range(1, self.epoch + 1)
        return torch.cat([self.data.order(epoch)[self.lane] for epoch in epochs])

    @property
    def rates(self) -> Tensor:
        """The learning rate of each step so far, [steps] float64 on the CPU."""
        step = torch.arange(self.steps, dtype=torch.float64, device="cpu")
        return optim.rate(self.recipe, step, self.trainer.program.sizes.steps)

    def forward(self, x: Tensor, params: Params | None = None) -> Tensor:
        """Compute logits [k, num_classes] in evaluation mode; None = at the measured weights."""
        if params is None:
            params = self.params
        return self.trainer.program.logits(params, x, self.buffers)

    def uniform(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Draw uniformly from [0, 1); see `membench.probes.ProbeLane`."""
        return draws.uniform(self._key(name), tuple(shape))

    def normal(self, shape: tuple[int, ...], name: str) -> Tensor:
        """Draw from the standard Gaussian; see `membench.probes.ProbeLane`."""
        return draws.normal(self._key(name), tuple(shape))

    def permutation(self, n: int, name: str) -> Tensor:
        """Draw a permutation, [n] int64; see `membench.probes.ProbeLane`."""
        return draws.permutation(self._key(name), n)

    def _key(self, name: str) -> Tensor:
        return draws.chain_tensor(self.key, fold((NAMED, spell(name))))


def state_carrier(probe: Probe) -> Regularizer:
    """Return a part of the step that carries the probe's state and does nothing else."""
    return Regularizer(
        f"probe {probe.name}", (), group="probe", init=probe.init, update=probe.update
    )


def numbers(probe: str, metrics: Metrics) -> dict[str, Value]:
    """Return what is stored of the metrics: plain numbers, six significant digits.

    Args:
        probe: its name, for messages.
        metrics: what its `measure` returned.

    Raises:
        MembenchError: they are not what `Probe.measure` promises.
    """
    if not isinstance(metrics, Mapping):
        kind = type(metrics).__name__
        raise MembenchError(f"probe {probe!r}: measure must return a dict of metrics, not a {kind}")
    values = {}
    for name, value in metrics.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise MembenchError(
                f"probe {probe!r}: illegal metric name {name!r}; write {NAME.pattern}"
            )
        values[name] = _number(probe, name, value)
    return values


def _number(probe: str, name: str, value: Any) -> Value:
    if isinstance(value, Tensor) and value.dim() <= 1 and value.numel() <= MAX_VALUES:
        values = value.detach().to("cpu", torch.float64).tolist()
        if isinstance(values, list):
            return tuple(_rounded(v) for v in values)
        return _rounded(values)
    if isinstance(value, (int, float)):
        return _rounded(float(value))
    what = f"a {type(value).__name__}"
    if isinstance(value, Tensor):
        what = f"a tensor {list(value.shape)}"
    raise MembenchError(
        f"probe {probe!r}: {name} must be a number or a 1-d tensor of at most {MAX_VALUES},"
        f" not {what}"
    )


def _rounded(value: float) -> float | None:
    """Round to six significant digits; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _probe_key(probe: Probe, trainer: Trainer, lane: int) -> Tensor:
    """Return the key of a probe's draws in one lane at the present step."""
    key = draws.chain_tensor(trainer.constants["key"][lane], trainer.step_index[None])
    return draws.chain_tensor(key, spell(f"probe {probe.name}"))


def _copy_lane(tree: Any, lane: int) -> Any:
    """Copy one lane's part of stacked tensors."""
    return tree_map(lambda leaf: leaf[lane].clone(), tree)
